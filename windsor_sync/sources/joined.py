"""Several files that are one snapshot, as one source."""

import uuid
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import duckdb

from windsor_sync.sources.files import SourceFile
from windsor_sync.sources.json_text import MaybeNumbers
from windsor_sync.sources.parts import NAMED, unsure
from windsor_sync.sources.refusal import unusable
from windsor_sync.sources.text import scratch_folder_of
from windsor_sync.storage.duckdb_engine import parquet, quoted

if TYPE_CHECKING:
    from windsor_sync.sources import Source

ID = "coalesce(user_id, anonymous_id)"
ROWS = """
    SELECT line::BIGINT AS line, user_id::VARCHAR AS user_id, anonymous_id::VARCHAR AS anonymous_id,
        emails::VARCHAR[] AS emails, profile_id::VARCHAR AS profile_id, value::VARCHAR AS value,
        malformed::VARCHAR AS malformed
    FROM rows
"""


class JoinedSource:
    """The rows of several sources, one after another; each may have columns of its own, in its own order."""

    def __init__(self, file: SourceFile, sources: Sequence["Source"]) -> None:
        self.origin = file
        self.columns: frozenset[str] = frozenset()
        self.numbers: MaybeNumbers | None = None
        self.unit = sources[0].unit
        self._sources = sources
        self._begins: list[int] = []

    def describe(self) -> str:
        """Say what is read."""
        return f"{self.origin.path} ({len(self._sources)} files)"

    def load(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Define the view `rows`. Raises SnapshotError when one of the files cannot be used."""
        copies = [self._copy(source, connection) for source in self._sources]
        if self.origin.newest is not None:
            copies = [self._newest([copy for copy, _ in copies], connection, copies)]
        if self.origin.has_inferred_parts:
            self._refuse_overlap([copy for copy, _ in copies], connection)
        self._begins = [0, *accumulate(rows for _, rows in copies)]
        self.numbers = next((source.numbers for source in self._sources if source.numbers), None)
        selects = (
            f"SELECT * REPLACE (line + {begin} AS line) FROM {parquet(copy)}"
            for (copy, _), begin in zip(copies, self._begins, strict=False)
        )
        connection.execute(f"CREATE OR REPLACE TEMP VIEW rows AS {' UNION ALL '.join(selects)}")

    def refuse_cut_short(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Every file was looked at when it was read."""

    def physical_lines(self, rows: Sequence[int]) -> tuple[int, ...]:
        """Return where these rows are in the first file that has one of them; `unit` names that file from now on."""
        for source, (begin, end) in zip(self._sources, pairwise(self._begins), strict=True):
            here = [row - begin for row in rows if begin < row <= end]
            if here and source.origin:
                self.unit = f"{PurePosixPath(source.origin.path).name}, {source.unit}"
                return source.physical_lines(here)
        return ()

    def _newest(
        self, names: Sequence[str], connection: duckdb.DuckDBPyConnection, copies: Sequence[tuple[str, int]]
    ) -> tuple[str, int]:
        """The newest of files that each name its users, as snapshots of different times do; parts of one do not.

        Raises SnapshotError where it is not sure.
        """
        at = next(index for index, part in enumerate(self.origin.parts) if part.path == self.origin.newest)
        newest, others = names[at], [copy for index, copy in enumerate(names) if index != at]
        filled = [copy for copy in others if _users(connection, copy)]
        if (
            not filled
            or not _users(connection, newest)
            or not all(_mostly_same(connection, newest, copy) for copy in filled)
        ):
            rest = [part for part in self.origin.parts if part.path != self.origin.newest]
            raise unusable(*unsure(self.origin.parts[at], rest, is_dated=False))
        self._sources = [self._sources[at]]
        return copies[at]

    def _refuse_overlap(self, copies: Sequence[str], connection: duckdb.DuckDBPyConnection) -> None:
        """Files that name mostly the same users are snapshots of different times, whatever their names count."""
        ids = " UNION ALL ".join(f"SELECT DISTINCT hash({ID}) AS id FROM {parquet(copy)}" for copy in copies)
        sizes = [
            connection.execute(f"SELECT count(DISTINCT hash({ID})) FROM {parquet(copy)}").fetchall()[0][0]
            for copy in copies
        ]
        [(different,)] = connection.execute(f"SELECT count(DISTINCT id) FROM ({ids})").fetchall()
        if (sum(sizes) - different) * 2 >= max(1, min(filter(None, sizes), default=0)):
            names = ", ".join(PurePosixPath(part.path).name for part in self.origin.parts[:NAMED])
            raise unusable(
                f"{names}: their names count parts of one snapshot, but they name the same users, as several snapshots do.",
                "Set consists_of: all_files in the snapshot's section if they are one, or consists_of: one_file if each of them "
                "is one.",
            )

    def _copy(self, source: "Source", connection: duckdb.DuckDBPyConnection) -> tuple[str, int]:
        """The rows of one file beside the engine's spilled data, and the number of the last of them."""
        source.load(connection)
        copy = str(scratch_folder_of(connection) / f"{uuid.uuid4().hex}.parquet")
        connection.execute(f"COPY ({ROWS}) TO {quoted(copy)} (FORMAT parquet)")
        counts = f"SELECT coalesce(max(line), 0), count(malformed) FROM {parquet(copy)}"
        [(last, malformed)] = connection.execute(counts).fetchall()
        if malformed:
            source.refuse_cut_short(connection)
        self.columns |= source.columns
        return copy, int(last)


def _users(connection: duckdb.DuckDBPyConnection, copy: str) -> int:
    users_of = f"SELECT count(DISTINCT hash({ID})) FROM {parquet(copy)} WHERE {ID} IS NOT NULL"
    [(users,)] = connection.execute(users_of).fetchall()
    return int(users)


def _mostly_same(connection: duckdb.DuckDBPyConnection, copy: str, other: str) -> bool:
    """Whether two files have at least half of the smaller one's users in common."""
    ids = f"SELECT hash({ID}) AS id FROM {{}} WHERE {ID} IS NOT NULL"
    both = f"{ids.format(parquet(copy))} INTERSECT {ids.format(parquet(other))}"
    [(shared,)] = connection.execute(f"SELECT count(*) FROM ({both})").fetchall()
    return int(shared) * 2 >= min(_users(connection, copy), _users(connection, other))
