"""Prints results: tables that fit 100 columns on a terminal, plain JSON for programs, progress on long work."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from windsor_sync.errors import harmless, without_secrets
from windsor_sync.report.terminal import say

if TYPE_CHECKING:
    from windsor_sync.delivery.bounds import Delivery
    from windsor_sync.domain.run import ForwardingRun, Run

LOG_EVERY_S = 10.0


class Verbosity:
    """The setting of how much is printed."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Print as usual."""
        self.is_quiet = self.is_verbose = False
        self.results: Any = None
        """where JSON goes while nothing else is printed"""


level = Verbosity()


def echo(text: str, **options: Any) -> None:
    """Print a text on standard output; of what its names hold nothing is obeyed."""
    if level.is_quiet and options.get("err"):
        return
    click.echo(harmless(text, keeps="\n"), **options)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = without_secrets(json.dumps(value, indent=2, ensure_ascii=not is_utf8, default=_plain))
    if harmless(text, keeps="\n") != text:
        text = without_secrets(
            json.dumps(value, indent=2, default=_plain)
        )  # the same document, with every such character escaped
    click.echo(text, file=level.results)


def _plain(value: object) -> str:
    """A moment or a day as ISO 8601 has it, everything else as text."""
    return value.isoformat() if isinstance(value, date) else str(value)


def run_as_json(run: "Run") -> dict[str, Any]:
    """A run for programs; no user appears in it."""
    from windsor_sync.domain.run import ForwardingRun

    return {
        "run": run.run_id,
        "kind": run.kind,
        "trigger": run.trigger,
        "state": run.state.value,
        "started_at": run.started_at.isoformat(),
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        **(_events_books(run) if isinstance(run, ForwardingRun) else _audience_books(run)),
        "sentence": run.sentence,
    }


def _audience_books(run: "Run") -> dict[str, Any]:
    return {
        "audience": run.audience,
        "taken_at": run.taken_at.isoformat(),
        "rows_read": run.books.rows_read,
        "left_out": dict(run.books.left_out),
        "emails_left_out": run.options.get("emails_left_out", 0),
        "without_email": run.options.get("without_email", 0),
        "changes": run.books.changes,
        **run.books.counts(),
    }


def _events_books(run: "ForwardingRun") -> dict[str, Any]:
    from windsor_sync.events.books import overview

    return {
        "files": run.intake["files"],
        **overview(run),
        "failed_on_ingest_by_code": run.intake["failed_on_ingest"],
        "filtered_by_code": run.intake["filtered"],
        "late_lines": run.intake.get("late", {}).get("lines", 0),
        "late_files": run.intake.get("late", {}).get("files", []),
    }


class ProgressView:
    """Shows how a delivery goes: a bar with rate and time left on a terminal, a log line now and then elsewhere."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._tasks: dict[str, tuple[Any, float]] = {}
        self._logged_at = time.monotonic()

    def __call__(self, run: "Run", delivery: "Delivery") -> None:
        """Take note of a checkpoint."""
        answered = delivery.delivered + delivery.rejected + delivery.unanswered
        total = run.options.get("to_send", run.books.changes)  # without what is withheld or left for later
        title, unit = run.title, f"{run.unit}s"
        if self._bar is not None:
            self._show(run.run_id, title, answered, total, unit)
        elif self._is_time_to_log():
            say(f"{title}: {answered:,} of {total:,} {unit} answered")

    def reading(self, lines: int, files: int) -> None:
        """Take note of how far the reading of the event archive is."""
        if self._bar is not None:
            self._show("reading", "reading the archive", lines, None, "lines")
        elif self._is_time_to_log():
            say(f"events: {lines:,} lines read in {files:,} files")

    def rows(self, title: str, done: int, total: int) -> None:
        """Take note of how many rows of a table are done."""
        if self._bar is not None:
            self._show(title, title, done, total, "rows")
        elif self._is_time_to_log():
            say(f"{title}: {done:,} of {total:,} rows")

    def count(self, title: str, done: int, total: int) -> None:
        """Take note of how many things of a kind are done."""
        if self._bar is not None:
            self._show(title, title, done, total, "")
        elif self._is_time_to_log():
            say(f"{title}: {done:,} of {total:,}")

    def _show(self, name: str, title: str, done: int, total: int | None, unit: str) -> None:
        now = time.monotonic()
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(title, total=total, amount="", rate=""), now
        task, began = self._tasks[name]
        amount = f"{done:,} {unit}" if total is None else f"{done:,} of {total:,} {unit}"
        rate = f"{done / (now - began):,.0f} {unit}/s" if now > began else ""
        self._bar.update(task, completed=done, amount=amount, rate=rate)

    def _is_time_to_log(self) -> bool:
        if level.is_quiet or (not level.is_verbose and time.monotonic() - self._logged_at < LOG_EVERY_S):
            return False
        self._logged_at = time.monotonic()
        return True


@contextmanager
def progress() -> Iterator[ProgressView]:
    """A progress view for the block."""
    if level.is_quiet or level.is_verbose or not sys.stderr.isatty():
        yield ProgressView(None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    columns = (
        TextColumn(
            "{task.description}", markup=False, table_column=Column(max_width=24, no_wrap=True, overflow="ellipsis")
        ),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[amount]}", markup=False),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    # A sentence beside the bar stays whole, so that its command can be copied.
    console = Console(stderr=True, soft_wrap=True)
    with Progress(*columns, console=console) as bar:
        yield ProgressView(bar)
