"""A CSV file split into rows, and the books kept over it: no line of the file goes missing unseen.

DuckDB splits (see csv_scan.py for what it gets wrong). So: one thread where a row may go over several lines, no file
with an open quotation mark, and rows are counted against physical lines; lines that no row accounts for were swallowed
by a broken row and count as broken.

Engage leaves out empty cells at the end of a row where they belong to numbered columns (`email_1`), so a row may be
shorter than the header, down to a width that the caller knows.
"""

import csv
import re
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import chain, islice, repeat

import duckdb

from windsor_sync.sources.csv_scan import QUOTES, Counted, Scan, mixed_line_endings
from windsor_sync.sources.csv_text import Header, blank_lines, records, refuse_open_quote
from windsor_sync.sources.refusal import AGAIN, unusable
from windsor_sync.sources.text import PlainText, lines_of_bytes

LOCATED = 100
"""For so many broken rows it is known where they stand; more are only counted."""
TAIL_BYTES = 4 << 20
RULE = re.compile(r"-{2,}")
TYPE = re.compile(
    r"String|U?Int\d+|Float\d+|Bool|UUID|Date(?:Time)?\d*"
    r"|(?:Nullable|LowCardinality|Array|FixedString|Decimal|DateTime64)\(.*\)"
)
FOOTER_BYTES, FOOTER_LINES = 4096, 6
FOOTER = re.compile(
    r'"?\(\d+ rows?( affected)?\)"?,*$|"?(grand |sub)?totals?\b[ :,"]|--+ ?(end|eof)\b'
    r"|\d+ rows? (selected|affected|returned|in set)\b"
    r'|"?(report )?generated (by|on|at)\b|"?confidential information\b',
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that could not be split."""

    row: int
    """counted from 1, without the header"""
    line: int
    """physical line in which it begins; 0 where nobody looked"""
    reason: str


@dataclass(frozen=True, slots=True)
class Split:
    """The result of splitting: the view `cells` (line, c0, c1, …) and the table `broken` (line, reason)."""

    text: PlainText
    header: Header
    rows: int
    """that could be split, too short ones among them"""
    rejects: tuple[Reject, ...]
    is_one_line_a_row: bool
    ends_broken: bool
    """whether the last row could not be split: the file is cut short"""
    scan: Scan
    """the scan that reads the file"""

    def physical_lines(self, rows: Sequence[int]) -> tuple[int, ...]:
        """Return where in the file these rows begin, lines counted from 1."""
        known = {reject.row: reject.line for reject in self.rejects if reject.line}
        return tuple(sorted({known.get(row) or self._physical_line(row) for row in rows}))

    def _physical_line(self, row: int) -> int:
        expected = row + self.header.lines
        if self.is_one_line_a_row:
            return expected
        try:
            begins = (first for first, _, record in records(self.text) if record)
            next(begins)  # the header
            return next((line for number, line in enumerate(begins, 1) if number == row), expected)
        except csv.Error:
            return expected


class Rows(Enum):
    """The way to know the rows of a file."""

    COUNTED = auto()
    ASSUMED = auto()
    """each line is taken for a row; after reading `cells`, ask `holds` whether that is true"""


def split(text: PlainText, header: Header, connection: duckdb.DuckDBPyConnection, rows: Rows = Rows.COUNTED) -> Split:
    """Count rows and broken rows against the lines of the file, and define `cells` and `broken`."""
    refuse_open_quote(text)
    _refuse_footer(text, header.lines)
    _refuse_second_header(text)
    if text.begins_with_return:
        _refuse_leading_return(text)
    if rows is Rows.ASSUMED:
        return _assumed(Scan(text, header, in_parallel=True), connection)
    scan = Scan(text, header, in_parallel=not text.has_quoted_newline)
    if scan.allows_short_rows and scan.pads_rows(connection):
        scan = replace(scan, header=replace(header, least_cells=len(header.names)))
    counted = scan.count(connection)
    if scan.in_parallel and _lines_missing(scan, counted):
        scan = replace(scan, in_parallel=False)
        counted = scan.count(connection)
    missing = _lines_missing(scan, counted)
    blank = blank_lines(text, header) if missing > 0 else []
    swallowed = max(missing - len(blank), 0)
    if missing < 0 or (swallowed and not counted.broken):
        if _has_lone_return(text):
            raise mixed_line_endings(text.name)
        raise unusable(f"{text.name} cannot be split into rows: {text.lines} lines make {counted.rows} rows.", AGAIN)
    rejects = tuple(_rejects(text, counted, blank))
    _define_cells(scan, rejects, connection)
    _define_broken(scan, rejects, swallowed, connection)
    is_one_line_a_row = missing == 0 and not text.has_quoted_newline
    return Split(text, header, counted.rows, rejects, is_one_line_a_row, _ends_broken(text, rejects, counted), scan)


def seems_one_row_a_line(text: PlainText, header: Header) -> bool:
    """Whether each line of a file may be a row, as far as its bytes and its header tell."""
    return not text.has_quoted_newline and header.least_cells == len(header.names) > 1


def holds(found: Split, connection: duckdb.DuckDBPyConnection, rows: int | None) -> bool:
    """Whether each line was a row of its own, in all that was read since a `split` that assumed it.

    `rows` is the number of rows that one reading found. Where it is None, the rows are counted here.
    """
    if found.scan.has_rejects(connection):
        return False
    if rows is not None:
        return rows == found.rows
    counted = found.scan.count(connection)
    return not counted.broken and _lines_missing(found.scan, counted) == 0


def _assumed(scan: Scan, connection: duckdb.DuckDBPyConnection) -> Split:
    scan.forget_rejects(connection)
    _define_cells(scan, (), connection)
    _define_broken(scan, (), 0, connection)
    return Split(scan.text, scan.header, scan.text.lines - scan.header.lines, (), True, False, scan)


def _has_lone_return(text: PlainText) -> bool:
    """Tell whether a carriage return stands anywhere but before a line feed."""
    with text.path.open("rb") as file:
        return any(b"\r" in line.removesuffix(b"\n").removesuffix(b"\r") for line in file)


def _refuse_leading_return(text: PlainText) -> None:
    """Refuse a row that begins with a carriage return, as pandas writes an id that does: it is taken for the end of a line."""
    quotes = 0
    with text.path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if quotes % 2 == 0 and line.startswith(b"\r") and line.strip(b"\r\n"):
                raise unusable(
                    f"{text.name} has a carriage return at the beginning of line {number}, outside quotation marks.",
                    "Put quotation marks around all cells when exporting (pandas: quoting=csv.QUOTE_ALL), or remove it.",
                )
            quotes += line.count(b'"')


def _refuse_footer(text: PlainText, header_lines: int) -> None:
    """A program's last words are no row: `(2 rows)`, `Total 12`, `-- end --`."""
    with text.path.open("rb") as file:
        file.seek(max(text.path.stat().st_size - FOOTER_BYTES, 0))
        last = file.read().decode(errors="replace").rstrip().splitlines()[-FOOTER_LINES:]
    before = text.lines - len(last)  # a header may have a column `total`
    found = (before + place for place, line in enumerate(last, start=1) if FOOTER.match(line))
    number = next((number for number in found if number > header_lines), None)
    if number is not None:
        raise unusable(
            f"{text.name} ends with a footer in line {number}, such as psql, sqlcmd or a report writes ((2 rows), Total …).",
            "Export it without (psql: \\pset footer off, or COPY … TO … CSV), or remove these lines.",
        )


def _refuse_second_header(text: PlainText) -> None:
    """Refuse a line below the header that is no row: dashes (sqlcmd), the types of the columns (ClickHouse)."""
    try:
        [_, (line, _, cells), *_] = [*islice((each for each in records(text) if each[2]), 2), (0, 0, [""])]
    except csv.Error:
        return
    if all(RULE.fullmatch(cell.strip()) for cell in cells) or all(TYPE.fullmatch(cell) for cell in cells):
        raise unusable(
            f"{text.name} has dashes or the types of its columns in line {line}, below its header, where the rows begin.",
            "Export it without (sqlcmd: filter the line of dashes out; ClickHouse: FORMAT CSVWithNames).",
        )


def refuse_cut_short(found: Split, connection: duckdb.DuckDBPyConnection) -> None:
    """Raise SnapshotError if the last row is broken: the rest of the file may be missing. Looks at the view `rows`."""
    if not some_row_is_readable(connection):
        return
    last, reason = found.rows + min(len(found.rejects), LOCATED), None
    if found.ends_broken:
        last, reason = found.rejects[-1].row, found.rejects[-1].reason
    elif last:
        at_end = "SELECT any_value(malformed) FROM rows WHERE line = ?"
        [(reason,)] = connection.execute(at_end, [last]).fetchall()
    if reason is not None:
        [line] = found.physical_lines([last])
        raise unusable(f"{found.text.name} is cut short: its last row, in line {line}, is broken ({reason}).", AGAIN)


def some_row_is_readable(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the view `rows` has a row that is not malformed: without one the file is not cut, it is of another kind."""
    return bool(connection.execute("SELECT 1 FROM rows WHERE malformed IS NULL LIMIT 1").fetchall())


def _lines_missing(scan: Scan, counted: Counted) -> int:
    """Lines of the file that are in no row, good or broken; a one-column file has rows for its blank lines too."""
    lines = scan.text.lines + (scan.text.blank_lines_at_end if len(scan.header.names) == 1 else 0)
    return lines - scan.header.lines - counted.lines - len(counted.broken)


def _rejects(text: PlainText, counted: Counted, blank: Sequence[int]) -> Iterator[Reject]:
    """The broken rows, with their numbers among all rows and the lines of the first of them."""
    lines = lines_of_bytes(text, (_first_byte(text, row.begins_at) for row in counted.broken[:LOCATED]))
    for row, line in zip(counted.broken, chain(lines, repeat(0)), strict=False):
        yield Reject(row.place - bisect(blank, line or text.lines), line, row.reason)


def _first_byte(text: PlainText, position: int) -> int:
    """Return where a row begins that has blank lines before it."""
    with text.path.open("rb") as file:
        file.seek(position)
        block = file.read(4096)
    return position + len(block) - len(block.lstrip(b"\r\n"))


def _define_cells(scan: Scan, rejects: tuple[Reject, ...], connection: duckdb.DuckDBPyConnection) -> None:
    # The number of a row is its place among the rows that could be split, and one more for each broken row before it.
    before = [f" + (place > {reject.row - number})::BIGINT" for number, reject in enumerate(rejects[:LOCATED], 1)]
    cells = ", ".join(f"nullif({cell}, '') AS {cell}" for cell in scan.cells)
    found = f"list_count([{', '.join(scan.cells)}])"
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW numbered AS SELECT place{''.join(before)} AS line, {cells}, "
        f"CASE WHEN {scan.is_too_short} THEN ({found}) || ' instead of {len(scan.cells)} cells' END AS too_short "
        f"FROM (SELECT row_number() OVER () AS place, * FROM {scan.table})"
    )
    connection.execute("CREATE OR REPLACE TEMP VIEW cells AS SELECT * FROM numbered WHERE too_short IS NULL")


def _define_broken(
    scan: Scan, rejects: tuple[Reject, ...], swallowed: int, connection: duckdb.DuckDBPyConnection
) -> None:
    connection.execute("CREATE OR REPLACE TEMP TABLE broken (line BIGINT, reason VARCHAR)")
    if scan.allows_short_rows:
        connection.execute("INSERT INTO broken SELECT line, too_short FROM numbered WHERE too_short IS NOT NULL")
    if rejects:
        columns = [[reject.row for reject in rejects], [reject.reason for reject in rejects]]
        connection.execute("INSERT INTO broken SELECT unnest(?), unnest(?)", columns)
        culprit = next((reject for reject in rejects if reject.reason in QUOTES), rejects[-1])
        connection.execute("INSERT INTO broken SELECT ?, ? FROM range(?)", [culprit.row, culprit.reason, swallowed])


def _ends_broken(text: PlainText, rejects: tuple[Reject, ...], counted: Counted) -> bool:
    if not rejects:
        return False
    if rejects[-1].line and rejects[-1].row == counted.rows + len(rejects):
        return True
    with text.path.open("rb") as file:
        file.seek(counted.broken[-1].begins_at)
        return b"\n" not in file.read(TAIL_BYTES).strip(b"\r\n")
