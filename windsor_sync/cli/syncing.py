"""`plan` and `sync`."""

import hashlib
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from windsor_sync.cli.options import as_json, audiences_or_all, chosen, load_settings
from windsor_sync.cli.output import masked, print_json, print_table, progress, run_as_json
from windsor_sync.errors import WindsorSyncError

if TYPE_CHECKING:
    from windsor_sync.dispatch import StopSwitch
    from windsor_sync.settings import Computation
    from windsor_sync.sync import Prepared

WORST_FIRST = (1, 2, 5, 8, 7, 6, 130, 3, 4)
"""Which exit status stands for several audiences that ended differently."""


@click.command(short_help="What sync would send; sends nothing.")
@audiences_or_all
@as_json
@click.option(
    "--messages",
    "messages_to",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Also write every message, one JSON a line, to this file (- for standard output).",
)
@click.pass_obj
def plan(config: Path | None, audiences: tuple[str, ...], is_all: bool, is_json: bool, messages_to: Path | None) -> int:
    """Show what a sync would send, and send nothing.

    Plan and sync share one path: the messages listed here are the messages a sync sends now.

    \b
    Example:
      windsor-sync plan --all
      windsor-sync plan vip_customer --messages vip.jsonl
    """
    from windsor_sync.sync import Request, planned
    from windsor_sync.workspace import open_workspace

    settings = load_settings(config)
    plans: list[dict[str, Any]] = []
    failures: list[WindsorSyncError] = []
    with open_workspace(settings) as workspace, _writer(messages_to) as write:
        for computation in chosen(settings, audiences, is_all=is_all):
            try:
                with planned(workspace, computation, Request()) as prepared:
                    plans.append(_described(prepared, write))
            except WindsorSyncError as error:
                failures.append(_reported(computation, error))
    if is_json:
        print_json({"plans": plans})
    elif messages_to is None or str(messages_to) != "-":
        _print_plans(plans)
    return _status(failures)


@click.command(short_help="Bring Windsor up to date: an initial sync first, then changes only.")
@audiences_or_all
@as_json
@click.pass_obj
def sync(config: Path | None, audiences: tuple[str, ...], is_all: bool, is_json: bool) -> int:
    """Tell Windsor what changed in each audience since it was last told.

    The first sync of an audience sends every member, later ones only the changes. What Windsor does not
    acknowledge stays owed and is sent by the next sync. Ctrl-C stops in order: nothing is lost.

    \b
    Example:
      windsor-sync sync --all
      windsor-sync sync "Order Completed Last 30days"
    """
    from windsor_sync.dispatch import StopSwitch
    from windsor_sync.settlement import error_of
    from windsor_sync.sync import Request
    from windsor_sync.sync import sync as sync_one
    from windsor_sync.workspace import open_workspace

    settings = load_settings(config)
    runs = []
    failures: list[WindsorSyncError] = []
    with open_workspace(settings) as workspace, progress() as view, _stopping(StopSwitch()) as stop:
        for computation in chosen(settings, audiences, is_all=is_all):
            if stop.is_pressed:
                break
            try:
                run = sync_one(workspace, computation, Request(), stop, view)
            except WindsorSyncError as error:
                failures.append(_reported(computation, error))
                continue
            runs.append(run)
            if ending := error_of(run):
                failures.append(_reported(computation, ending))
    if is_json:
        print_json({"runs": [run_as_json(run) for run in runs]})
    else:
        print_table(
            ("audience", "members", "entered", "exited", "updated", "delivered", "rejected", "withheld", "owed"),
            (
                (
                    run.audience,
                    run.books.members,
                    run.books.entered,
                    run.books.exited,
                    run.books.updated,
                    run.books.delivered,
                    run.books.rejected,
                    run.books.withheld,
                    run.books.owed,
                )
                for run in runs
            ),
            numbers=frozenset({"members", "entered", "exited", "updated", "delivered", "rejected", "withheld", "owed"}),
        )
    return _status(failures)


@contextmanager
def _stopping(stop: "StopSwitch") -> Iterator["StopSwitch"]:
    """Ctrl-C and SIGTERM ask for an orderly end; a second Ctrl-C ends at once."""

    def press(_number: int, _frame: object) -> None:
        if stop.is_pressed:
            raise KeyboardInterrupt
        click.echo("Stopping: waiting for answers that are under way. What is not sent stays owed.", err=True)
        stop.press()

    before = {number: signal.signal(number, press) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _writer(path: Path | None) -> Iterator[Any]:
    """A function that takes one encoded message."""
    if path is None:
        yield lambda _message: None
        return
    with click.open_file(str(path), "wb") as file:
        yield lambda message: file.write(message + b"\n")


def _described(prepared: "Prepared", write: Any) -> dict[str, Any]:
    """A plan in counts, with a digest of its messages; the messages themselves go to `write`."""
    digest = hashlib.sha256()
    count = 0
    example: dict[str, Any] | None = None
    for message in prepared.messages():
        write(message)
        digest.update(message + b"\n")
        count += 1
        example = example or masked(json.loads(message))
    tally = prepared.tally
    withheld = sum(getattr(tally, kind) for kind in prepared.ruling.held)
    return {
        "audience": str(prepared.known.key),
        "run_number": prepared.number,
        "taken_at": prepared.snapshot.taken_at.isoformat(),
        "rows_read": prepared.snapshot.rows_read,
        "members": prepared.snapshot.members,
        "left_out": dict(prepared.snapshot.left_out),
        "entered": tally.entered,
        "exited": tally.exited,
        "updated": tally.updated,
        "withheld": withheld,
        "withheld_because": list(prepared.ruling.reasons),
        "not_due": tally.deferred,
        "messages": count,
        "messages_sha256": digest.hexdigest(),
        "example": example,
    }


def _print_plans(plans: list[dict[str, Any]]) -> None:
    columns = ("audience", "members", "entered", "exited", "updated", "withheld", "messages")
    print_table(columns, [[plan[column] for column in columns] for plan in plans], numbers=frozenset(columns[1:]))
    for plan in plans:
        for reason in plan["withheld_because"]:
            click.echo(f"withheld: {reason} in {plan['audience']}")
        if plan["example"]:
            click.echo(f"{plan['audience']}: {json.dumps(plan['example'], ensure_ascii=False)}")
    click.echo("Nothing was sent.")


def _reported(computation: "Computation", error: WindsorSyncError) -> WindsorSyncError:
    click.echo(f"windsor-sync: {computation.key}: {error}", err=True)
    return error


def _status(failures: list[WindsorSyncError]) -> int:
    statuses = {failure.exit_status for failure in failures}
    return next((status for status in WORST_FIRST if status in statuses), 0)
