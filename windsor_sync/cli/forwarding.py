"""`forward`: ordinary events."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from windsor_sync.cli.alerting import alerting
from windsor_sync.cli.options import as_json, load_settings
from windsor_sync.cli.output import echo, print_json, progress, run_as_json
from windsor_sync.cli.running import exit_status, reported, stopping
from windsor_sync.domain.labels import counted
from windsor_sync.report.terminal import print_table

if TYPE_CHECKING:
    from windsor_sync.domain.run import ForwardingRun

STEPS = {
    "received": "received",
    "carried": "carried over from earlier runs",
    "failed_on_ingest": "failed on ingest",
    "filtered_at_destination": "filtered at destination",
    "duplicates": "duplicates",
    "held": "held for a person",
    "awaiting_retry": "awaiting retry",
    "failed_delivery": "failed delivery",
    "delivered": "delivered",
}
"""Field of a delivery overview → column, in Segment's words as far as it has them."""


@click.command(short_help="Send new events of Segment's archive to Windsor, each once and in order.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), metavar="DAY", help="Only day folders from this day on.")
@click.option("--release-aliases", is_flag=True, help="Also send the alias messages that `alias: hold` keeps back.")
@as_json
@click.pass_obj
def forward_command(config: Path | None, since: datetime | None, release_aliases: bool, is_json: bool) -> int:
    """Forward page, screen, identify, track, group and alias messages that are new in the archive.

    Each file is read once, each message sent once; one user's messages go out in the order of their timestamps. What
    Windsor does not acknowledge stays owed and goes out first the next time. Ctrl-C stops in order: nothing is lost.

    \b
    Example:
      windsor-sync forward
      windsor-sync forward --since 2026-11-01
    """
    from windsor_sync.cli.opening import open_for_command
    from windsor_sync.delivery.cancel import CancelToken
    from windsor_sync.state.audit_log import this_person
    from windsor_sync.usecases.close_run import error_of
    from windsor_sync.usecases.forward import ForwardRequest, held_aliases
    from windsor_sync.usecases.forward import forward as forward_new

    request = ForwardRequest(
        f"by hand, {this_person()}", since.date() if since else None, releases_aliases=release_aliases
    )
    with (
        open_for_command(load_settings(config), sends=True) as workspace,
        progress() as view,
        stopping(CancelToken()) as stop,
        alerting(workspace) as watch,
    ):
        runs = forward_new(workspace, request, stop, on_progress=view, on_reading=view.reading)
        for run in runs:
            watch.ran(run)
        held = 0 if runs else held_aliases(workspace.database, workspace.registry)
    _show(runs, held, is_json=is_json)
    endings = [ending for run in runs if (ending := error_of(run))]
    return exit_status([reported("events", ending) for ending in endings])


def _show(runs: "list[ForwardingRun]", held: int, *, is_json: bool) -> None:
    from windsor_sync.events.books import overview_of
    from windsor_sync.events.late import late_sentence

    if is_json:
        print_json({"runs": [run_as_json(run) for run in runs]})
    elif not runs:
        waiting = f" Held for a person: {counted(held, 'alias message')}; --release-aliases sends what is held."
        echo(f"Nothing new in the archive.{waiting if held else ''}")
    else:
        title = ", ".join(run.run_id for run in runs[:2]) + (" …" if len(runs) > 2 else "")
        steps = overview_of(runs)
        rows = [(words, steps[step]) for step, words in STEPS.items()]
        print_table((title, "messages"), rows, numbers=frozenset({"messages"}))
        for run in runs:
            if late := run.intake.get("late"):
                echo(late_sentence(late, run.run_id).strip())
