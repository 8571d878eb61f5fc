"""Events on their way to Windsor: the outbox's columns, its rows as rows, and what is left of them.

It is some Parquet files in a folder, each a stretch of the rows, where the outbox of audiences is one; how far it got
lives in the ledger the same way.
"""

import json
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, NamedTuple

import duckdb

from windsor_sync.delivery.rows import PendingRow
from windsor_sync.diff import statement
from windsor_sync.diff.duckdb import Remains, acknowledged
from windsor_sync.domain.identity import Alias
from windsor_sync.domain.labels import counted
from windsor_sync.domain.progress import ShardProgress
from windsor_sync.segment.calls import Call, json_text
from windsor_sync.state.audiences import EVENTS
from windsor_sync.state.ledger import Head
from windsor_sync.state.stored_files import damaged
from windsor_sync.storage.duckdb_engine import open_stored, parquet_files

COLUMNS = {
    "seq": "BIGINT",
    "message": "VARCHAR",  # JSON text exactly as it is sent; NULL once its user was forgotten
    "call": "VARCHAR",
    "user_id": "VARCHAR",
    "anonymous_id": "VARCHAR",
    "previous_id": "VARCHAR",  # of an alias
    "message_id": "VARCHAR",
    "timestamp": "TIMESTAMP",  # UTC
    "status": "VARCHAR",  # send, held (an alias that waits for a person)
    "since_run": "INTEGER",  # the run that read it from the archive
}

CHUNK_ROWS = 8_192
"""Rows read at a time, and in a row group: none is unpacked twice."""

_PRIVATE_FIELDS = ("groupId", "traits", "properties", "context", "name", "category")


class _Row(NamedTuple):
    seq: int
    message: str | None
    call: str
    user_id: str | None
    anonymous_id: str | None
    previous_id: str | None


def pending_rows(
    files: Sequence[str], shard: ShardProgress, decided: Container[int], is_suppressed: Callable[[str], bool]
) -> Iterator[list[PendingRow]]:
    """Yield what is left to be sent of a shard, ascending, a chunk at a time (maybe an empty one)."""
    with open_stored() as connection:
        for start, end in shard.chunks(CHUNK_ROWS):
            rows = connection.execute(
                f"SELECT {', '.join(_Row._fields)} FROM {parquet_files(files)} "
                f"WHERE seq >= {start} AND seq < {end} AND status = 'send' ORDER BY seq"
            ).fetchall()
            found = [_Row(*row) for row in rows]
            left = (row for row in found if row.seq not in decided and not shard.has_answer(row.seq))
            yield [_row(shard.shard, row, is_suppressed) for row in left]


def _row(shard: int, row: _Row, is_suppressed: Callable[[str], bool]) -> PendingRow:
    user = row.anonymous_id if row.user_id is None else row.user_id
    named = (user, row.previous_id) if row.call == Call.ALIAS else (user,)
    if row.message is None or any(name is not None and is_suppressed(name) for name in named):
        return PendingRow(shard, row.seq, (), (), row.call, _ordering_keys(row))
    return PendingRow(
        shard, row.seq, (row.message.encode(),), _private(row, row.message), row.call, _ordering_keys(row)
    )


def _ordering_keys(row: _Row) -> tuple[str, ...]:
    """Return the ordering keys of an event; an alias can rename a user id as well as an anonymous id (facts §3.3)."""
    ordering_keys = (("u", row.user_id), ("a", row.anonymous_id), ("u", row.previous_id), ("a", row.previous_id))
    return tuple(dict.fromkeys(kind + name for kind, name in ordering_keys if name is not None))


def _private(row: _Row, text: str) -> tuple[str | None, ...]:
    message: dict[str, Any] = json.loads(text)
    said = [message.get(name) for name in _PRIVATE_FIELDS]
    return (row.user_id, row.anonymous_id, row.previous_id, *(json_text(one) for one in said if one))


OWED = """
    SELECT o.* FROM outbox_before o
    LEFT JOIN progress_before p ON o.seq >= p.first AND o.seq < p.last
    LEFT JOIN verdicts_before v ON o.seq = v.seq
    WHERE o.status = 'held' OR v.verdict = 'unanswered' OR (v.verdict IS NULL AND o.seq >= coalesce(p.position, 0))
"""
"""The rows that the next run takes over."""


def define_event_ledger(connection: duckdb.DuckDBPyConnection, head: Head | None) -> None:
    """The tables outbox_before, progress_before and verdicts_before of the last run of events.

    Raises StoredFileError when a part of what is owed is not in the file store any more. The outbox of a run that owes
    nothing is not looked at.
    """
    if head and head.outbox is not None and not head.is_settled:
        _define_whole(connection, head)
    else:
        define_outbox(connection, "outbox_before", ())
    _define_answers(connection, head)


def _define_answers(connection: duckdb.DuckDBPyConnection, head: Head | None) -> None:
    define_table(connection, "progress_before", statement.PROGRESS, statement.progress_rows(head))
    define_table(connection, "verdicts_before", statement.VERDICTS, statement.verdict_rows(head))


def _define_whole(connection: duckdb.DuckDBPyConnection, head: Head) -> None:
    """A file that is gone from the folder would else be so many messages that nobody misses."""
    expected = max(shard.last for shard in head.shards)
    try:
        define_outbox(connection, "outbox_before", head.parts)
        row = connection.execute("SELECT count(*) FROM outbox_before").fetchone()
    except duckdb.IOException:  # one cannot be opened
        row = None
    if row != (expected,):
        raise damaged(EVENTS, str(head.outbox_path), f"does not have its {counted(expected, 'row')}")


def define_outbox(connection: duckdb.DuckDBPyConnection, name: str, files: Sequence[str]) -> None:
    """Define a view of the rows that an outbox's files have."""
    rows = f"SELECT * FROM {parquet_files(files)}" if files else statement.nobody(COLUMNS)
    connection.execute(f"CREATE VIEW {name} AS {rows}")


def define_table(
    connection: duckdb.DuckDBPyConnection, name: str, columns: dict[str, str], rows: list[tuple[object, ...]]
) -> None:
    """A small table of rows from the state."""
    values = ", ".join(f"unnest(?::{kind}[]) AS {column}" for column, kind in columns.items())
    given = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in columns]
    connection.execute(f"CREATE TABLE {name} AS SELECT {values}", given)


def acknowledged_aliases(head: Head, *, joins: bool = False) -> Iterator[list[Alias]]:
    """Yield the aliases of a run of events that Windsor acknowledged, in their order.

    With `joins`, an identify with a user id and an anonymous id counts as an alias.
    """
    if head.outbox is None or not head.parts:
        return
    identify = "call = 'identify' AND user_id IS NOT NULL AND anonymous_id IS NOT NULL"
    with open_stored() as connection:
        _define_whole(connection, head)
        _define_answers(connection, head)
        alias = "CASE WHEN o.call = 'alias' THEN o.previous_id ELSE o.anonymous_id END, o.user_id, o.call = 'identify'"
        merge = "call = 'alias' AND previous_id IS NOT NULL AND user_id IS NOT NULL"
        yield from acknowledged(connection, alias, f"{merge} OR {identify}" if joins else merge)


def remaining(head: Head) -> Remains:
    """Count what Windsor has not acknowledged of the last run of events.

    Withheld are aliases that wait for a person, and messages of users who were suppressed since.
    """
    if head.outbox is None:
        return Remains(0, 0, 0, 0)
    with open_stored() as connection:
        define_event_ledger(connection, head)
        row = connection.execute("""
            SELECT
                count(*) FILTER (o.status = 'send' AND (v.verdict IS NULL OR v.verdict = 'unanswered')),
                count(*) FILTER (o.status = 'held' OR v.verdict = 'suppressed'),
                count(*) FILTER (v.verdict = 'rejected'),
                count(*) FILTER (coalesce(v.in_doubt, FALSE)
                    OR (o.status = 'send' AND v.verdict IS NULL AND o.seq >= p.position AND o.seq < p.reach))
            FROM outbox_before o
            LEFT JOIN progress_before p ON o.seq >= p.first AND o.seq < p.last
            LEFT JOIN verdicts_before v ON o.seq = v.seq
            WHERE o.status = 'held' OR v.verdict <> 'delivered' OR (v.verdict IS NULL AND o.seq >= p.position)
        """).fetchone()
    assert row is not None
    return Remains(*row)
