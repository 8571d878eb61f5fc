"""A CSV file split into rows by DuckDB, and the books kept over it: no line of the file goes missing unseen.

What DuckDB 2.0 does was tried, not assumed. Split by several threads, it takes text inside quotation marks for rows
where a buffer ends there; by one thread it is right. A quotation mark that is never closed makes it drop the rest of
the file without a word. A row with a stray quotation mark swallows the lines up to the next one and is rejected as
one. So: one thread where a row goes over several lines, no file with an open quotation mark, and physical lines are
counted against rows.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import duckdb

from windsor_sync.embedded import quoted
from windsor_sync.sources.refusal import unusable
from windsor_sync.sources.text import AGAIN, PlainText, line_of_byte

MAX_REJECTS = 100_000
LOCATED = 100
"""Row numbers are exact up to this many broken rows, physical line numbers of broken rows are known for as many."""

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


@dataclass(frozen=True, slots=True)
class Header:
    """The first row."""

    names: tuple[str, ...]
    lines: int
    """physical lines up to its end"""
    blank_lines: int
    """before it"""


@dataclass(frozen=True, slots=True)
class Split:
    """What came of splitting: the view `cells` (line, c0, c1, …) and the table `broken` (line, reason)."""

    text: PlainText
    header: Header
    rows: int
    """that could be split"""
    broken: int
    """rows that could not, and lines that they swallowed"""
    broken_lines: dict[int, int]
    """physical line of the first broken rows, by row number"""
    is_one_line_a_row: bool
    ends_broken: bool
    """whether the last row is a broken one: the file is cut short"""

    def physical_lines(self, rows: Sequence[int]) -> tuple[int, ...]:
        """Where in the file these rows begin, lines counted from 1."""
        return tuple(sorted({self.broken_lines.get(row) or self._physical_line(row) for row in rows}))

    def _physical_line(self, row: int) -> int:
        if self.is_one_line_a_row:
            return row + self.header.lines
        records = (line for line, record in _records(self.text) if record)
        next(records)
        return next((line for number, line in enumerate(records, 1) if number == row), row + self.header.lines)


@dataclass(frozen=True, slots=True)
class _Pass:
    rows: int
    lines: int
    """physical lines in these rows"""
    rejects: tuple[tuple[int, int, str], ...]
    """row number, position in bytes, reason"""


def read_header(text: PlainText) -> Header:
    """Read the names of the columns. Raises SnapshotError where the file is no CSV with commas."""
    before = 0
    for line, record in _records(text):
        if record and record[0] is not None:
            _refuse_other_formats(text, record)
            return Header(tuple(name.strip() for name in record), _lines_to(text, line), before)
        before += 1
    raise unusable(f"{text.name} is empty: it does not even hold a header.", AGAIN)


def split(text: PlainText, header: Header, connection: duckdb.DuckDBPyConnection) -> Split:
    """Count rows and broken rows against the lines of the file, and define `cells` and `broken`."""
    if text.quotes % 2:
        _refuse_open_quote(text)
    in_parallel = not text.has_quoted_newline
    counted = _count(text, header, connection, in_parallel)
    missing = _lines_missing(text, header, counted)
    if in_parallel and missing:
        in_parallel = False
        counted = _count(text, header, connection, in_parallel)
        missing = _lines_missing(text, header, counted)
    blank = 0 if missing <= 0 or len(header.names) == 1 else _blank_lines(text) - header.blank_lines
    if missing < 0:
        raise unusable(
            f"{text.name} cannot be split into rows: {counted.rows} rows were found in {text.lines} lines.", AGAIN
        )
    _define(text, header, connection, in_parallel, counted, swallowed=missing - blank)
    return Split(
        text=text,
        header=header,
        rows=counted.rows,
        broken=len(counted.rejects) + missing - blank,
        broken_lines={row: _line_at(text, position) for row, position, _ in counted.rejects[:LOCATED]},
        is_one_line_a_row=missing == 0 and not text.has_quoted_newline,
        ends_broken=bool(counted.rejects) and _is_last(text, counted.rejects[-1][1]),
    )
