"""From unordered parts to an outbox: what is owed is carried over, repetitions are dropped, the rest is put in order.

All of it is done out of core by the embedded engine; what a message may be has been decided before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from windsor_sync.diff import statement
from windsor_sync.embedded import open_duckdb, quoted
from windsor_sync.events.outbox import CHUNK_ROWS, COLUMNS, OWED, define_ledger, define_table
from windsor_sync.events.parts import ASIDE, KEPT, LINES_PER_FILE
from windsor_sync.ledger import Head

_WRITTEN_AS = f"(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE {CHUNK_ROWS})"

# 128 bits of a messageId; two halves, because a Parquet file has no integer that wide.
_HALVES = "md5_number_upper(message_id) AS upper, md5_number_lower(message_id) AS lower"


@dataclass(frozen=True, slots=True)
class Seal:
    """What is sealed, and for which run."""

    parts: Path
    """the folder"""
    files: Sequence[str]
    """names, in the order of the archive"""
    holds_alias: bool
    releases_alias: bool
    seen: Sequence[str]
    previous: Head | None
    number: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """What became of the messages in the parts and of those carried over."""

    carried: int
    duplicates: int
    rows: int
    held: int


def seal(task: Seal, outbox: Path, seen: Path, aside: Path) -> Sealed:
    """Write the three files; see `intake.take_in`."""
    with open_duckdb() as connection:
        _define_parts(connection, task)
        _carry(connection, task)
        _find_repetitions(connection, task.seen)
        _write_outbox(connection, task, outbox)
        _copy(
            connection, f"SELECT {_HALVES} FROM read_parquet({quoted(str(outbox))}) WHERE message_id IS NOT NULL", seen
        )
        _copy(
            connection,
            f"SELECT name AS file, ordinal % {LINES_PER_FILE} AS line, code FROM aside "
            f"JOIN files ON position = ordinal // {LINES_PER_FILE} ORDER BY ordinal",
            aside,
        )
        return _counted(connection, outbox)


def _define_parts(connection: duckdb.DuckDBPyConnection, task: Seal) -> None:
    for kind, columns in (("kept", KEPT), ("aside", ASIDE)):
        is_any = next(task.parts.glob(f"{kind}-*.parquet"), None)
        parts = f"SELECT * FROM read_parquet({quoted(str(task.parts / kind))} || '-*.parquet')"
        connection.execute(f"CREATE VIEW {kind} AS {parts if is_any else statement.nobody(columns)}")
    define_table(connection, "files", {"position": "BIGINT", "name": "VARCHAR"}, list(enumerate(task.files)))


def _carry(connection: duckdb.DuckDBPyConnection, task: Seal) -> None:
    """What the last run owes; a user's blanked row goes on to be closed without being sent."""
    define_ledger(connection, task.previous)
    goes = "TRUE" if task.releases_alias else "message IS NULL"
    connection.execute(
        f"CREATE VIEW carried AS SELECT * REPLACE (CASE WHEN {goes} THEN 'send' ELSE status END AS status) FROM ({OWED})"
    )


def _find_repetitions(connection: duckdb.DuckDBPyConnection, seen: Sequence[str]) -> None:
    """The table `repeated`: which lines say what an earlier run, a carried message or an earlier line has said.

    Only the hashes of what was just read are kept in memory; those of the window stream past them.
    """
    connection.execute(f"CREATE TABLE ids AS SELECT ordinal, {_HALVES} FROM kept")
    files = ", ".join(quoted(location) for location in seen)
    before = f"SELECT upper, lower FROM read_parquet([{files}]) UNION ALL" if seen else ""
    connection.execute(f"""
        CREATE TABLE known AS SELECT DISTINCT upper, lower
        FROM ({before} SELECT {_HALVES} FROM carried) SEMI JOIN ids USING (upper, lower)
    """)
    connection.execute("""
        CREATE TABLE repeated AS
        SELECT ordinal FROM ids SEMI JOIN known USING (upper, lower)
        UNION
        SELECT ids.ordinal
        FROM (SELECT upper, lower, min(ordinal) AS first FROM ids GROUP BY upper, lower HAVING count(*) > 1) AS several
        JOIN ids USING (upper, lower) WHERE ids.ordinal > several.first
    """)


def _write_outbox(connection: duckdb.DuckDBPyConnection, task: Seal, outbox: Path) -> None:
    """By timestamp, then as in the archive; of equal times what was read earlier goes first."""
    status = "CASE WHEN call = 'alias' THEN 'held' ELSE 'send' END" if task.holds_alias else "'send'"
    columns = [name for name in COLUMNS if name != "seq"]
    fresh = {"timestamp": "make_timestamp(moment_us)", "status": status, "since_run": str(task.number)}
    chosen = ", ".join(f"{fresh.get(name, name)} AS {name}" for name in columns)
    _copy(
        connection,
        f"""
        SELECT row_number() OVER () - 1 AS seq, {", ".join(columns)} FROM (
            SELECT {chosen}, ordinal FROM kept ANTI JOIN repeated USING (ordinal)
            UNION ALL
            SELECT {", ".join(columns)}, seq - {1 << 62} AS ordinal FROM carried
            ORDER BY timestamp, ordinal
        )""",
        outbox,
    )


def _copy(connection: duckdb.DuckDBPyConnection, rows: str, path: Path) -> None:
    connection.execute(f"COPY ({rows}) TO {quoted(str(path))} {_WRITTEN_AS}")


def _counted(connection: duckdb.DuckDBPyConnection, outbox: Path) -> Sealed:
    row = connection.execute(f"""
        SELECT (SELECT count(*) FROM carried), (SELECT count(*) FROM repeated), count(*), count(*) FILTER (status = 'held')
        FROM read_parquet({quoted(str(outbox))})
    """).fetchone()
    assert row is not None
    return Sealed(*row)
