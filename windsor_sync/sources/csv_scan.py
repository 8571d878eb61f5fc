"""A CSV file as DuckDB splits it. What DuckDB 2.0 does was tried, not assumed.

Split by several threads, it takes text inside quotation marks for rows where a buffer ends there; by one thread it is
right. A quotation mark that is never closed makes it drop the rest of the file without a word. A stray one swallows
the lines up to the next and is rejected as a single row. `ignore_errors` alone drops more rows than `store_rejects`.
It numbers rows, not lines, and counts blank lines before the header among them.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

import duckdb

from windsor_sync.errors import SnapshotError
from windsor_sync.sources.csv_text import Header
from windsor_sync.sources.refusal import AGAIN, unusable
from windsor_sync.sources.text import PlainText
from windsor_sync.storage.duckdb_engine import csv

MAX_REJECTS = 100_000
STRAY_QUOTE = "a stray quotation mark"
ESCAPED_QUOTE = 'a quotation mark is escaped by a backslash; CSV doubles it, so let the export write ""'
QUOTES = frozenset({STRAY_QUOTE, ESCAPED_QUOTE})
LOOKED_AT_BYTES, LOOKED_AT_ROWS = 1 << 16, 100


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A row that DuckDB could not split."""

    place: int
    """counted from 1 after the header, blank lines among the rows"""
    begins_at: int
    """byte of the file; blank lines before the row belong to it"""
    reason: str


@dataclass(frozen=True, slots=True)
class Counted:
    """The counts of one pass over a file."""

    rows: int
    lines: int
    """physical lines in these rows"""
    broken: tuple[BrokenRow, ...]


@dataclass(frozen=True, slots=True)
class Scan:
    """One way to read the file; every pass over it has to go the same way, to find the same rows."""

    text: PlainText
    header: Header
    in_parallel: bool

    @property
    def cells(self) -> list[str]:
        """Our names for the columns: the header may use one twice, or anything."""
        return [f"c{index}" for index in range(len(self.header.names))]

    @property
    def allows_short_rows(self) -> bool:
        """Whether cells may be missing at the end of a row."""
        return self.header.least_cells < len(self.header.names)

    @property
    def is_too_short(self) -> str:
        """Whether a row ends before the last cell that it must have, as SQL."""
        return f"c{self.header.least_cells - 1} IS NULL" if self.allows_short_rows else "FALSE"

    @property
    def table(self) -> str:
        """The rows as SQL."""
        columns = ", ".join(f"'{cell}': 'VARCHAR'" for cell in self.cells)
        # With a null text that no file can hold, null is a cell that is missing and '' one that is empty.
        padding = ", null_padding = true, nullstr = chr(0)" if self.allows_short_rows else ""
        return csv(
            str(self.text.path),
            f"header = true, skip = {self.header.blank_lines}, delim = ',', quote = '\"', escape = '\"', "
            f"columns = {{{columns}}}, parallel = {self.in_parallel}, store_rejects = true, "
            f"rejects_limit = {MAX_REJECTS}{padding}",
        )

    def count(self, connection: duckdb.DuckDBPyConnection) -> Counted:
        """Read the file once."""
        newlines = ", ".join(f"length({cell}) - length(replace({cell}, chr(10), ''))" for cell in self.cells)
        lines = "count(*)" if self.in_parallel else f"count(*) + coalesce(sum(list_sum([{newlines}])), 0)"
        self.forget_rejects(connection)
        scan = f"SELECT count(*), ({lines})::BIGINT, count(c0) FROM {self.table}"
        # Fetched to the end: that is when the rejects are entered.
        [(rows, row_lines, _)] = self._tried(lambda: connection.execute(scan).fetchall())
        rejects = connection.execute(
            "SELECT line, any_value(line_byte_position), min(error_type), any_value(column_idx) "
            "FROM reject_errors GROUP BY line ORDER BY line"
        ).fetchall()
        above = self.header.blank_lines + 1
        looked_at = {at - 1 for _, at, *_ in rejects[:LOOKED_AT_ROWS]}
        broken = (
            BrokenRow(line - above, at - 1, self._reason(kind, found, at - 1, looked_at))
            for line, at, kind, found in rejects
        )
        return Counted(rows, row_lines, tuple(broken))

    def forget_rejects(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Forget the rejected rows of earlier readings."""
        connection.execute("DROP TABLE IF EXISTS reject_errors")
        connection.execute("DROP TABLE IF EXISTS reject_scans")

    def has_rejects(self, connection: duckdb.DuckDBPyConnection) -> bool:
        """Whether a row was rejected since the last `forget_rejects`."""
        return bool(connection.execute("SELECT 1 FROM reject_errors LIMIT 1").fetchall())

    def pads_rows(self, connection: duckdb.DuckDBPyConnection) -> bool:
        """Whether some row writes out an empty last cell; then no row of this file is meant to be short."""
        found = f"SELECT 1 FROM {self.table} WHERE {self.cells[-1]} = '' LIMIT 1"
        return bool(self._tried(lambda: connection.execute(found).fetchall()))

    def _tried(self, read: Callable[[], list[Any]]) -> list[Any]:
        """The result of a query on the file; what DuckDB says of the file is not passed on, it quotes it."""
        try:
            return read()
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            mixes_line_endings = "invalid state" in str(error)
        if mixes_line_endings:
            raise mixed_line_endings(self.text.name)
        raise unusable(f"{self.text.name} cannot be read as CSV.", AGAIN)

    def _reason(self, kind: str, columns: int | None, begins_at: int, looked_at: Container[int]) -> str:
        if begins_at in looked_at and self._has_escaped_quote(begins_at):
            return ESCAPED_QUOTE
        if kind == "TOO MANY COLUMNS" and columns is not None and columns <= len(self.header.names):
            return f"more than {len(self.header.names)} cells"  # how many, the engine does not say
        if kind in {"MISSING COLUMNS", "TOO MANY COLUMNS"}:
            expected = len(self.header.names)
            return f"{columns} instead of {expected} cells" if columns != expected else f"more than {expected} cells"
        return "longer than 2 MB" if kind == "LINE SIZE OVER MAXIMUM" else STRAY_QUOTE

    def _has_escaped_quote(self, begins_at: int) -> bool:
        """Whether the line that begins there has a quotation mark behind a backslash, as MySQL, Hive and Spark write them."""
        if not self.text.quotes:
            return False
        with self.text.path.open("rb") as file:
            file.seek(begins_at)
            return b'\\"' in file.readline(LOOKED_AT_BYTES)


def mixed_line_endings(name: str) -> SnapshotError:
    """Return the refusal of a file in which not all lines end in the same way."""
    return unusable(f"{name} mixes line endings (\\n, \\r\\n or \\r).", "Save it with one kind of them.")
