"""`runs`."""

from pathlib import Path

import click

from windsor_sync.cli.options import as_json, load_settings
from windsor_sync.cli.output import print_json, print_table, run_as_json
from windsor_sync.errors import ConfigError


@click.command(short_help="What the last runs did, or one run in full.")
@click.argument("run", required=False)
@click.option("--limit", default=20, show_default=True, help="How many runs to list.")
@as_json
@click.pass_obj
def runs(config: Path | None, run: str | None, limit: int, is_json: bool) -> int:
    """List the newest runs with their books, or show one run.

    Every row of a snapshot is a member or left out for a reason, and every change is delivered, rejected,
    withheld or owed: the numbers of a run add up.

    \b
    Example:
      windsor-sync runs
      windsor-sync runs --json --limit 5
    """
    from windsor_sync.runs import recent
    from windsor_sync.workspace import open_workspace

    settings = load_settings(config)
    with open_workspace(settings) as workspace:
        found = recent(workspace.database, destination=settings.destination.name, run_id=run, limit=limit)
        if run is not None and not found:
            raise ConfigError(f"There is no run {run}. `windsor-sync runs` lists the newest.")
        documents = [run_as_json(one) for one in found]
        if run is not None:
            documents[0]["rejections"] = [
                {"code": code, "message": message, "changes": count}
                for code, message, count in workspace.ledger.rejections(run)
            ]
    if is_json:
        print_json({"runs": documents})
    elif run is not None:
        print_table(("", run), [(name, _cell(value)) for name, value in documents[0].items()])
    else:
        columns = ("run", "state", "members", "entered", "exited", "updated", "delivered", "rejected", "owed")
        print_table(
            columns,
            [[document[column] for column in columns] for document in documents],
            numbers=frozenset(columns[2:]),
        )
    return 0


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)
