"""`export`: what became of every change, for other programs."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from windsor_sync.cli.options import as_json, load_settings
from windsor_sync.cli.output import echo, print_json, progress
from windsor_sync.errors import StoredFileError, harmless
from windsor_sync.report.terminal import say

if TYPE_CHECKING:
    from windsor_sync.usecases.export_log import Exported, LogTarget


@click.group(short_help="What became of every change, for other programs.")
def export_command() -> None:
    """Write what became of every change where other programs can query it.

    \b
    Example:
      windsor-sync export log --to log/
      windsor-sync export log --to warehouse --table ops.windsor_log
    """


@export_command.command("log", short_help="Write one row for each change, with its fate.")
@click.option(
    "--to",
    "place",
    metavar="PLACE",
    required=True,
    help="A folder, a .parquet file or a URL of an object store; with --table, a connection.",
)
@click.option("--table", metavar="[SCHEMA.]TABLE", help="Write into this table of the connection that --to names.")
@click.option("--days", type=click.IntRange(min=1), default=90, show_default=True, help="How far back.")
@as_json
@click.pass_obj
def log_command(config: Path | None, place: str, table: str | None, days: int, is_json: bool) -> int:
    """Write one row for each change of every ended run, with its user and its fate.

    Your name is written into the audit trail first. The command may run each hour: it skips runs that were exported before.
    A single .parquet file is written anew. Runs whose outboxes are not kept any more are left out (`state prune`). After Ctrl-C
    only whole runs are there. The rows have user ids and no e-mail; `forget` does not remove them from an export.

    With --table, --to is the name of a connection, as in `snapshot.connection` (docs: environments). The table is created if
    it does not exist.

    \b
    Example:
      windsor-sync export log --to windsor-log/
      windsor-sync export log --to s3://acme/windsor/log.parquet --days 30
      windsor-sync export log --to warehouse --table ops.windsor_log
    """
    from windsor_sync.cli.opening import open_for_command
    from windsor_sync.state.audit_log import this_person
    from windsor_sync.usecases.export_log import export_log

    if not place.strip() or (table is not None and not table.strip()):
        raise click.UsageError("--to and --table are names, and one of them is empty. Nothing was written.")
    if table and "://" in place:
        raise click.UsageError(
            "With --table, --to is the name of a connection, because a URL could show a password to others. Nothing was exported."
        )
    shown = harmless(f"table {table} at {place}" if table else place)
    with (
        open_for_command(load_settings(config)) as workspace,
        progress() as view,
        _target(place, table) as target,
    ):
        done = export_log(
            workspace,
            target,
            who=this_person(),
            place=shown,
            kept_days=days,
            on_run=lambda number, all_: view.count("runs", number, all_),
        )
    if is_json:
        print_json(asdict(done) | {"to": shown})
    else:
        _show(done, shown)
    return StoredFileError.exit_status if done.lost else 0


def _target(place: str, table: str | None) -> "AbstractContextManager[LogTarget]":
    from windsor_sync.cli.opening import warehouse
    from windsor_sync.usecases.export_targets import TableTarget, file_or_folder

    return nullcontext(TableTarget(warehouse(place), table, place)) if table else file_or_folder(place)


def _show(done: "Exported", place: str) -> None:
    from windsor_sync.domain.labels import counted

    before = (
        f" {counted(done.already, 'run')} {'was' if done.already == 1 else 'were'} there already."
        if done.already
        else ""
    )
    echo(
        f"{counted(done.rows, 'change')} of {counted(done.runs, 'run')} {'is' if done.rows == 1 else 'are'} in {place}.{before}"
    )
    if done.pruned:
        echo(f"Left out: {counted(done.pruned, 'run')} whose outboxes are not kept any more.")
    if done.lost:
        say(
            f"windsor-sync: The outboxes of {counted(len(done.lost), 'run')} are lost or damaged: {', '.join(done.lost)}. "
            "Their rows are not in the log. Run `windsor-sync audit`: it names the command that repairs the ledger."
        )
