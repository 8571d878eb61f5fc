"""Tables of text for a terminal."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import click
from rich.cells import cell_len, chop_cells

from windsor_sync.errors import harmless

WIDTH = 100
MOST_NARROW = 20
GAP = "  "


def say(text: str) -> None:
    """A line for people, on standard error. By `print`: click writes past the bar and leaves its rest in the line."""
    print(harmless(text, keeps="\n"), file=sys.stderr, flush=True)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: frozenset[str] = frozenset()
) -> None:
    """A table with the columns in `numbers` aligned to the right; nothing is printed where there are no rows.

    Where a row does not fit its line, each row takes several lines, its words above its numbers, and every column stays below its
    header. No name and no number is ever torn apart, so each can be copied; only a name wider than the line is folded.
    """
    cells = [[f"{cell:,}" if isinstance(cell, int) else harmless(str(cell)) for cell in row] for row in rows]
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
    bands = _bands(widths, is_number, width)
    folded = [_folded(row, bands, widths, is_number, width) for row in (columns, *cells)]
    _print_ruled(folded[0], [line for row in folded[1:] for line in row])


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
        folded = textwrap.wrap(harmless(text, keeps="\n"), room, break_long_words=False, break_on_hyphens=False) or [""]
        lines += [f"{name:{label_width}}{GAP}{part}" for name, part in zip_longest([label], folded, fillvalue="")]
    _print_ruled([title], lines)


def _without_empty(columns: Sequence[str], cells: list[list[str]]) -> tuple[Sequence[str], list[list[str]]]:
    kept = [place for place in range(len(columns)) if any(row[place] for row in cells)]
    return [columns[place] for place in kept], [[row[place] for place in kept] for row in cells]


def _width() -> int:
    """Return the width of a line: a terminal's own, else 100."""
    return shutil.get_terminal_size((WIDTH, 0)).columns if sys.stdout.isatty() else WIDTH


def _print_ruled(head: Sequence[str], lines: Sequence[str]) -> None:
    rule = "─" * max(cell_len(line.rstrip()) for line in (*head, *lines))
    for line in ("", *head, rule, *lines, ""):
        click.echo(harmless(line.rstrip()))


def _line(cells: Sequence[str], widths: Sequence[int], is_number: Sequence[bool]) -> str:
    padded = [
        " " * (width - cell_len(cell)) + cell if right else cell + " " * (width - cell_len(cell))
        for cell, width, right in zip(cells, widths, is_number, strict=True)
    ]
    return GAP.join(padded)


def _bands(widths: Sequence[int], is_number: Sequence[bool], width: int) -> list[list[int]]:
    """Return which columns stand in which line of a row: words first, then numbers, as many a line as fit."""
    bands: list[list[int]] = []
    for wanted in (False, True):
        room = 0
        for place in (place for place, right in enumerate(is_number) if right is wanted):
            if room < widths[place] + len(GAP):
                bands.append([])
                room = width + (0 if wanted else len(GAP))  # numbers are set in by a gap
            bands[-1].append(place)
            room -= widths[place] + len(GAP)
    return bands


def _folded(
    cells: Sequence[str], bands: Sequence[Sequence[int]], widths: Sequence[int], is_number: Sequence[bool], width: int
) -> list[str]:
    """A row as lines, the same for every row and the header."""
    lines: list[str] = []
    for band in bands:
        line = _line(
            [cells[place] for place in band], [widths[place] for place in band], [is_number[place] for place in band]
        )
        lines += chop_cells(line.rstrip(), width) if not is_number[band[0]] else [GAP + line]
    return lines
