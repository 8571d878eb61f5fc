"""How results look: tables that fit 100 columns on a terminal, plain JSON for programs, progress on long work."""

import json
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import click
from rich.cells import cell_len, chop_cells

if TYPE_CHECKING:
    from windsor_sync.delivery.engine import Delivery
    from windsor_sync.runs import Run

WIDTH = 100
MOST_NARROW = 20
GAP = "  "
LOG_EVERY_S = 10.0


def say(text: str) -> None:
    """A line for people, on standard error. By `print`: click writes past the bar and leaves its rest in the line."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    click.echo(json.dumps(value, indent=2, ensure_ascii=not is_utf8, default=str))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: frozenset[str] = frozenset()
) -> None:
    """A table with the columns in `numbers` aligned to the right; nothing is printed where there are no rows.

    Where a row does not fit its line, every row's words get a line of their own above its numbers: no name and no number
    is ever cut or torn apart, so each can be copied.
    """
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    if not cells:
        return
    columns, cells = _without_empty(columns, cells)
    width = _width()
    is_number = [column in numbers for column in columns]
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    if sum(widths) + len(GAP) * (len(widths) - 1) <= width:
        lines = [_line(row, widths, is_number) for row in (columns, *cells)]
        _print_ruled(lines[:1], lines[1:])
        return
    titled = [_titled(row, widths, is_number, width) for row in (columns, *cells)]
    _print_ruled(titled[0], [line for row in titled[1:] for line in row])


def with_moved(columns: Sequence[str], documents: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the columns, with `moved` and `moved_from` after `updated` where a document counts any."""
    moved = [name for name in ("moved", "moved_from") if any(one.get(name) for one in documents)]
    place = columns.index("updated") + 1
    return (*columns[:place], *moved, *columns[place:])


def print_pairs(title: str, pairs: Iterable[tuple[str, str]]) -> None:
    """One thing in full: what is said of it on the left, folded text on the right."""
    known = list(pairs)
    label_width = max(len(label) for label, _ in known)
    lines = []
    for label, text in known:
        room = max(MOST_NARROW, _width() - label_width - len(GAP))
        folded = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
        lines += [f"{name:{label_width}}{GAP}{part}" for name, part in zip_longest([label], folded, fillvalue="")]
    _print_ruled([title], lines)


def _without_empty(columns: Sequence[str], cells: list[list[str]]) -> tuple[Sequence[str], list[list[str]]]:
    kept = [place for place in range(len(columns)) if any(row[place] for row in cells)]
    return [columns[place] for place in kept], [[row[place] for place in kept] for row in cells]


def _width() -> int:
    """The columns that there are: a terminal's own, else 100."""
    return shutil.get_terminal_size((WIDTH, 0)).columns if sys.stdout.isatty() else WIDTH


def _print_ruled(head: Sequence[str], lines: Sequence[str]) -> None:
    rule = "─" * max(cell_len(line.rstrip()) for line in (*head, *lines))
    for line in ("", *head, rule, *lines, ""):
        click.echo(line.rstrip())


def _line(cells: Sequence[str], widths: Sequence[int], is_number: Sequence[bool]) -> str:
    padded = [
        " " * (width - cell_len(cell)) + cell if right else cell + " " * (width - cell_len(cell))
        for cell, width, right in zip(cells, widths, is_number, strict=True)
    ]
    return GAP.join(padded)


def _titled(cells: Sequence[str], widths: Sequence[int], is_number: Sequence[bool], width: int) -> list[str]:
    """A row as lines: its words, as many a line as fit, then its numbers likewise."""
    lines: list[str] = []
    is_new_line = True
    for cell in (cell for cell, right in zip(cells, is_number, strict=True) if not right and cell):
        if lines and cell_len(lines[-1] + GAP + cell) <= width:
            lines[-1] += GAP + cell
        else:
            lines += chop_cells(cell, width)
    for cell, size, _ in (each for each in zip(cells, widths, is_number, strict=True) if each[2]):
        number = GAP + " " * (size - cell_len(cell)) + cell
        if is_new_line or cell_len(lines[-1] + number) > width:
            lines.append("")
        lines[-1] += number
        is_new_line = False
    return lines


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
        "emails_left_out": run.options.get("emails_left_out", 0),
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
        title, unit = (run.audience, "changes") if run.intake is None else ("events", "messages")
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
        if time.monotonic() - self._logged_at < LOG_EVERY_S:
            return False
        self._logged_at = time.monotonic()
        return True


@contextmanager
def progress() -> Iterator[ProgressView]:
    """A progress view for the block."""
    if not sys.stderr.isatty():
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
