"""From unordered parts to an outbox: what is owed is carried over, repetitions are dropped, the rest is put in order.

All of it is done out of core by the embedded engine; what a message may be has been decided before. First every message
gets its place, for which its keys are enough; then the outbox is written in stretches, side by side.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb

from windsor_sync.diff import statement
from windsor_sync.events.parts import ASIDE, KEPT, LINES_PER_FILE
from windsor_sync.outbox.events import CHUNK_ROWS, COLUMNS, OWED, define_event_ledger, define_outbox, define_table
from windsor_sync.state.ledger import Head
from windsor_sync.storage.duckdb_engine import open_stored, parquet_files, quoted

_WRITTEN_AS = f"FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE {CHUNK_ROWS}"

STRETCH_WEIGHT = 8 * CHUNK_ROWS
"""What goes into one file of the outbox; those of two files are in memory at a time."""

_WEIGHT = "1 + strlen(coalesce(message, '')) // 1024"
"""One for nearly every message, so that most files have as many rows as whole row groups; of a long one its KB."""

_AT_ONCE = 2

# 128 bits of a messageId; two halves, because a Parquet file has no integer that wide. (md5_number_upper and _lower come
# to the same, and take six times as long.)
_HALVES = """
    (md5_number(message_id) & 18446744073709551615)::UBIGINT AS upper, (md5_number(message_id) >> 64)::UBIGINT AS lower
"""

_CARRIED_ORDINAL = f"seq - {1 << 62}"
"""The place in the archive of a message carried over: before all that is read now."""


@dataclass(frozen=True, slots=True)
class Seal:
    """The input of a sealing, and the run it is for."""

    parts: Path
    """the folder"""
    files: Sequence[str]
    """names, in the order of the archive"""
    holds_alias: bool
    releases_alias: bool
    seen: Sequence[str]
    previous: Head | None
    number: int
    stamp: Callable[[str], str] = lambda _: ""
    """an option of COPY that says in a file whose it is; it takes the file's name in the outbox, or `seen` or `aside`"""


@dataclass(frozen=True, slots=True)
class SealedEvents:
    """The outcome of the messages in the parts and of those carried over."""

    carried: int
    duplicates: int
    rows: int
    held: int


def seal_events(task: Seal, outbox: Path, seen: Path, aside: Path) -> SealedEvents:
    """Write the outbox's files into its folder, and the two others; see `intake.take_in`."""
    with open_stored() as connection:
        _define_parts(connection, task)
        _carry(connection, task)
        _find_repetitions(connection, task.seen)
        _find_places(connection)
        _write_outbox(connection, task, outbox)
        _copy(
            connection,
            # Repetitions too: their file was read again today, and may be once more when its first run is forgotten.
            # What is held on is known by being carried, and would be written down by every run until it is released.
            f"SELECT upper, lower FROM ids UNION ALL SELECT {_HALVES} FROM carried WHERE status = 'send' AND message_id NOT NULL",
            seen,
            task.stamp("seen"),
        )
        _copy(
            connection,
            f"SELECT name AS file, ordinal % {LINES_PER_FILE} AS line, code FROM aside "
            f"JOIN files ON position = ordinal // {LINES_PER_FILE} ORDER BY ordinal",
            aside,
            task.stamp("aside"),
        )
        return _counted(connection, outbox)


def _define_parts(connection: duckdb.DuckDBPyConnection, task: Seal) -> None:
    for kind, columns in (("kept", KEPT), ("aside", ASIDE)):
        parts = [str(part) for part in sorted(task.parts.iterdir()) if part.name.startswith(f"{kind}-")]
        rows = f"SELECT * FROM {parquet_files(parts)}" if parts else statement.nobody(columns)
        connection.execute(f"CREATE VIEW {kind} AS {rows}")
    define_table(connection, "files", {"position": "BIGINT", "name": "VARCHAR"}, list(enumerate(task.files)))


def _carry(connection: duckdb.DuckDBPyConnection, task: Seal) -> None:
    """Copy the messages that the last run owes; the blanked row of a forgotten user is copied to be closed, and is not sent."""
    define_event_ledger(connection, task.previous)
    goes = "TRUE" if task.releases_alias else "message IS NULL"
    connection.execute(
        f"CREATE VIEW carried AS SELECT * REPLACE (CASE WHEN {goes} THEN 'send' ELSE status END AS status) FROM ({OWED})"
    )


def _find_repetitions(connection: duckdb.DuckDBPyConnection, seen: Sequence[str]) -> None:
    """The table `repeated`: which lines say what an earlier run, a carried message or an earlier line has said.

    Only the hashes of what was just read are kept in memory; those of the window stream past them.
    """
    connection.execute(f"CREATE TABLE ids AS SELECT ordinal, {_HALVES} FROM kept")
    before = f"SELECT upper, lower FROM {parquet_files(seen)} UNION ALL" if seen else ""
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


def _find_places(connection: duckdb.DuckDBPyConnection) -> None:
    """The table `places`: by timestamp, then as in the archive; of equal times what was read earlier goes first."""
    connection.execute(f"""
        CREATE TABLE places AS
        SELECT
            row_number() OVER (ORDER BY moment_us, ordinal) - 1 AS seq, moment_us, ordinal,
            (sum(weight) OVER (ORDER BY moment_us, ordinal ROWS UNBOUNDED PRECEDING) - weight) // {STRETCH_WEIGHT} AS stretch
        FROM (
            SELECT moment_us, ordinal, {_WEIGHT} AS weight FROM kept ANTI JOIN repeated USING (ordinal)
            UNION ALL
            SELECT epoch_us(timestamp), {_CARRIED_ORDINAL}, {_WEIGHT} FROM carried
        )
    """)


def _write_outbox(connection: duckdb.DuckDBPyConnection, task: Seal, outbox: Path) -> None:
    """A file for each stretch; the times between which it lies spare the engine most of the other messages."""
    status = "CASE WHEN call = 'alias' THEN 'held' ELSE 'send' END" if task.holds_alias else "'send'"
    columns = [name for name in COLUMNS if name != "seq"]
    fresh = {"timestamp": "make_timestamp(moment_us)", "status": status, "since_run": str(task.number)}
    chosen = ", ".join(f"{fresh.get(name, name)} AS {name}" for name in columns)
    stretches = connection.execute(
        "SELECT stretch::BIGINT, min(moment_us), max(moment_us) FROM places GROUP BY stretch ORDER BY stretch"
    ).fetchall()

    def write(stretch: tuple[int, int, int]) -> None:
        number, earliest_us, latest_us = stretch
        between = f"BETWEEN {earliest_us} AND {latest_us}"
        rows = f"""
            SELECT seq, {", ".join(columns)} FROM (
                SELECT {chosen}, ordinal FROM kept WHERE moment_us {between}
                UNION ALL
                SELECT {", ".join(columns)}, {_CARRIED_ORDINAL} AS ordinal FROM carried WHERE epoch_us(timestamp) {between}
            ) JOIN (SELECT ordinal, seq FROM places WHERE stretch = {number}) USING (ordinal)
            ORDER BY seq
        """
        with connection.cursor() as cursor:
            name = f"{number:06d}.parquet"
            _copy(cursor, rows, outbox / name, task.stamp(name))

    connection.execute("SET threads = 1")  # each of the pool's is one more
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(write, stretches))


def _copy(connection: duckdb.DuckDBPyConnection, rows: str, path: Path, stamp: str) -> None:
    options = ", ".join(filter(None, (_WRITTEN_AS, stamp)))
    connection.execute(f"COPY ({rows}) TO {quoted(str(path))} ({options})")


def _counted(connection: duckdb.DuckDBPyConnection, outbox: Path) -> SealedEvents:
    """Count the rows of the file, not the rows that were meant for it."""
    define_outbox(connection, "written", sorted(map(str, outbox.iterdir())))
    row = connection.execute("""
        SELECT (SELECT count(*) FROM carried), (SELECT count(*) FROM repeated), count(*), count(*) FILTER (status = 'held')
        FROM written
    """).fetchone()
    assert row is not None
    return SealedEvents(*row)
