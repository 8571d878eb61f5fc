"""Looking back: `runs`, `why` and `audit`."""

import json
from dataclasses import asdict
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
    elif not documents:
        click.echo(f"No run has been made at {settings.destination.name} yet. Run: windsor-sync sync --all")
    elif run is not None:
        print_table(("", run), [(name, _cell(value)) for name, value in documents[0].items()])
    else:
        columns = ("run", "state", "members", "entered", "exited", "updated", "delivered", "rejected", "owed")
        same = {"rejected": "failed_delivery", "owed": "awaiting_retry"}  # as the steps of forwarded events are called
        print_table(
            columns,
            [[one.get(name, one.get(same.get(name, ""), "")) for name in columns] for one in documents],
            numbers=frozenset(columns[2:]),
        )
    return 0


@click.command(short_help="Why a user is, or is not, in an audience.")
@click.argument("user")
@click.option("--audience", metavar="AUDIENCE", help="Only this one (default: every audience ever synced).")
@as_json
@click.pass_obj
def why(config: Path | None, user: str, audience: str | None, is_json: bool) -> None:
    """Tell a user's story: every change that was planned for them, what became of it, and what stands now.

    USER is a user id, or an anonymous id of someone without one.

    \b
    Example:
      windsor-sync why 00123
      windsor-sync why 00123 --audience vip_customer
    """
    from windsor_sync.why import why as accounts_of
    from windsor_sync.workspace import open_workspace

    settings = load_settings(config)
    with open_workspace(settings) as workspace:
        wanted = None
        if audience is not None:
            (computation,) = settings.find([audience])
            wanted = [workspace.registry.find(computation).audience_id or -1]
        accounts = accounts_of(workspace, user, wanted)
    if is_json:
        print_json({"accounts": [{**asdict(account), "sentence": account.sentence} for account in accounts]})
        return
    if not accounts:
        click.echo("No audience was ever synced. Run: windsor-sync sync --all")
    for account in accounts:
        click.echo(f"{account.name} ({account.audience}): {account.sentence}")
        for step in account.steps:
            said = f" ({step.code}{f': {step.message}' if step.message else ''})" if step.code else ""
            click.echo(
                f"  {step.started_at:%Y-%m-%d %H:%M} UTC  {step.change} → {json.dumps(step.value)}  {step.fate}{said}"
            )


@click.command(short_help="Check what is recorded against what is there.")
@click.option("--repair", is_flag=True, help="Close the books of runs that died; sends nothing.")
@as_json
@click.pass_obj
def audit(config: Path | None, repair: bool, is_json: bool) -> int:
    """Check that every run ended and its books balance, and that the files the ledger stands on are whole.

    \b
    Example:
      windsor-sync audit
      windsor-sync audit --repair
    """
    from windsor_sync.audit import audit as look
    from windsor_sync.workspace import open_workspace

    with open_workspace(load_settings(config)) as workspace:
        found = look(workspace, repair=repair)
    if is_json:
        print_json({"irregularities": [asdict(one) for one in found]})
    else:
        for one in found:
            click.echo(f"{'mended' if one.is_mended else 'found'}: {one.audience}: {one.text} {one.remedy}")
        if not found:
            click.echo("Everything is as it should be.")
    return 0 if all(one.is_mended for one in found) else 1


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)
