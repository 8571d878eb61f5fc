"""Reads a CSV file with Python's csv module: its header, its blank lines, whether its quotation marks are closed.

It reads a million rows a second, so only the header is read always; the rest is for files in which something is odd.
"""

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice

from windsor_sync.errors import harmless
from windsor_sync.sources.columns import folded
from windsor_sync.sources.refusal import AGAIN, unusable
from windsor_sync.sources.text import PlainText
from windsor_sync.storage.duckdb_engine import quoted

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
NEVER_CLOSED = "\0"
"""A line that no file holds: one with NUL bytes was refused before."""

USUAL_NAMES = frozenset({"key", "user_id", "anonymous_id", "email", "external_ids", "profile_id", "value"})
LOOKS_LIKE_A_NAME = re.compile(r"(?!(?:.*\d){4})[A-Za-z][\w .-]{0,63}")
MOST_NAMES = 30
MOST_LINES_ABOVE = 20
HEADER_AGAIN = "the header again"
"""Why a row that is nobody's cannot be used."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first row."""

    names: tuple[str, ...]
    lines: int
    """physical lines up to its end"""
    blank_lines: int
    """before it"""
    least_cells: int
    """how many cells a row must have at least"""


def read_header(text: PlainText) -> Header:
    """Read the names of the columns. Raises SnapshotError for a file that is not CSV with commas."""
    try:
        for blank_lines, (first, last, record) in enumerate(records(text)):
            if record:
                _refuse_other_formats(text, first, record)
                names = tuple(name.strip() for name in record)
                return Header(names, last, blank_lines, least_cells=len(names))
    except csv.Error:
        raise unusable(f"{text.name} has no header in its first line.", AGAIN) from None
    raise unusable(f"{text.name} is empty: it does not hold a header.", AGAIN)


def header_again(header: Header) -> str:
    """Whether a row, as `cells`, is the header over again, as SQL: files were put together that each had one."""
    first, *others = list(enumerate(header.names))[:MOST_NAMES]
    same = [f"coalesce(c{place}, '') = {quoted(name)}" for place, name in others]
    # A file put together may have its mark of UTF-8 again, too.
    return " AND ".join([f"c0 IN ({quoted(first[1])}, {quoted(chr(0xFEFF) + first[1])})", *same])


def records(text: PlainText) -> Iterator[tuple[int, int, list[str]]]:
    """The rows, each with its first and last line; a blank line is an empty row. May raise csv.Error."""
    with text.path.open(encoding="utf-8-sig", newline="\n") as file:
        reader = csv.reader(file)
        first = 1
        for record in reader:
            yield first, reader.line_num, record
            first = reader.line_num + 1


def blank_lines(text: PlainText, header: Header) -> list[int]:
    """The blank lines between the header and the last row."""
    blank = []
    try:
        for line, _, record in records(text):
            if not record and header.lines < line <= text.lines:
                blank.append(line)
    except csv.Error:
        pass  # the rest will count as swallowed: too strict rather than too lax
    return blank


def refuse_open_quote(text: PlainText) -> None:
    """Raise SnapshotError, naming the line, if a quotation mark is opened and never closed."""
    if text.quotes % 2 == 0:
        return
    begin = 1
    try:
        with text.path.open(encoding="utf-8-sig", newline="\n") as file:
            reader = csv.reader(chain(file, [NEVER_CLOSED]))
            for record in reader:
                if record == [NEVER_CLOSED]:
                    return  # the odd mark stands inside a cell without quotation marks
                if NEVER_CLOSED not in "".join(record):
                    begin = reader.line_num + 1
    except csv.Error:
        pass  # longer than the module takes: that is the row which is never closed
    finding = f"{text.name} is cut short or damaged: the quotation mark opened in line {begin} is never closed."
    raise unusable(finding, AGAIN)


def shown_columns(names: Sequence[str]) -> str:
    """Column names for a message; what may be data, of a file without a header, is not shown."""
    is_known = bool(USUAL_NAMES & set(names))
    if len(names) == 1 and not is_known:  # a file of ids without a header
        return "one column of another name"
    if not is_known and not all(LOOKS_LIKE_A_NAME.fullmatch(name) for name in names):
        return f"{len(names)} cells that do not look like column names"
    fitting = [name for name in names if name in USUAL_NAMES or LOOKS_LIKE_A_NAME.fullmatch(name)]
    shown = f"the columns {', '.join(map(harmless, fitting[:MOST_NAMES]))}" + (
        ", …" if len(fitting) > MOST_NAMES else ""
    )
    others = len(names) - len(fitting)
    return f"{shown} and {others} that do not look like names" if others else shown


def refuse_late_header(text: PlainText, names: Collection[str]) -> None:
    """Raise SnapshotError if a row that names the user stands below other lines: a title, a comment, `sep=,`."""
    with suppress(csv.Error):
        for line, _, record in islice(records(text), 1, MOST_LINES_ABOVE):
            if any(folded(cell) in names for cell in record):
                raise unusable(
                    f"{text.name} names its columns in line {line}, and not in its first line.",
                    "Remove the lines above (a title, a comment, sep=), or export it without.",
                )


def _refuse_other_formats(text: PlainText, line: int, record: list[str]) -> None:
    if record[0].lstrip().startswith(("{", "[")):
        raise unusable(
            f"{text.name} is JSON: line {line} begins with {record[0].lstrip()[0]} where a CSV file names its columns.",
            "Set format: jsonl for one object a line, or export CSV.",
        )
    separator = next((name for mark, name in SEPARATORS.items() if len(record) == 1 and mark in record[0]), None)
    if separator:
        finding = f"{text.name} separates its columns with {separator} in line {line}, not with commas."
        raise unusable(finding, "Save it with commas.")
