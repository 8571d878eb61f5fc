"""How results look: tables that fit 100 columns on a terminal, plain JSON for programs, progress on long work."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from windsor_sync.delivery.engine import Delivery
    from windsor_sync.runs import Run

WIDTH = 100
LOG_EVERY_S = 10.0


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: frozenset[str] = frozenset()
) -> None:
    """A table with the columns in `numbers` aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    for part in ("", table, ""):
        console.print(part)


def run_as_json(run: "Run") -> dict[str, Any]:
    """A run for programs; no user appears in it."""
    return {
        "run": run.run_id,
        "kind": run.kind,
        "trigger": run.trigger,
        "state": run.state.value,
        "started_at": run.started_at.isoformat(),
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        **(_audience_books(run) if run.intake is None else _events_books(run)),
        "sentence": run.sentence,
    }


def _audience_books(run: "Run") -> dict[str, Any]:
    return {
        "audience": run.audience,
        "taken_at": run.taken_at.isoformat(),
        "rows_read": run.books.rows_read,
        "left_out": dict(run.books.left_out),
        "changes": run.books.changes,
        **run.books.counts(),
    }


def _events_books(run: "Run") -> dict[str, Any]:
    from windsor_sync.events.books import overview

    assert run.intake is not None
    return {
        "files": run.intake["files"],
        **overview(run),
        "failed_on_ingest_by_code": run.intake["failed_on_ingest"],
        "filtered_by_code": run.intake["filtered"],
    }


class ProgressView:
    """Shows how a delivery goes: a bar with rate and time left on a terminal, a log line now and then elsewhere."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._tasks: dict[str, Any] = {}
        self._logged_at = time.monotonic()

    def __call__(self, run: "Run", delivery: "Delivery") -> None:
        """Take note of a checkpoint."""
        answered = delivery.delivered + delivery.rejected + delivery.unanswered
        if self._bar is not None:
            if run.run_id not in self._tasks:
                self._tasks[run.run_id] = self._bar.add_task(run.audience, total=run.books.changes)
            self._bar.update(self._tasks[run.run_id], completed=answered)
        elif time.monotonic() - self._logged_at >= LOG_EVERY_S:
            self._logged_at = time.monotonic()
            click.echo(f"{run.audience}: {answered:,} of {run.books.changes:,} changes answered", err=True)

    def reading(self, lines: int, files: int) -> None:
        """Take note of how far the reading of the event archive is."""
        if self._bar is not None:
            if "reading" not in self._tasks:
                self._tasks["reading"] = self._bar.add_task("reading the archive", total=None)
            self._bar.update(self._tasks["reading"], completed=lines)
        elif time.monotonic() - self._logged_at >= LOG_EVERY_S:
            self._logged_at = time.monotonic()
            click.echo(f"events: {lines:,} lines read in {files:,} files", err=True)


@contextmanager
def progress() -> Iterator[ProgressView]:
    """A progress view for the block."""
    if not sys.stderr.isatty():
        yield ProgressView(None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.progress import TaskProgressColumn as Share

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        Share(show_speed=True),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield ProgressView(bar)
