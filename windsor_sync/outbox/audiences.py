"""Sealed changes on their way to Windsor: the file's columns, how it is read, and how a row becomes messages.

An outbox is a Parquet file that never changes. How far it got lives in the ledger: a shard is a stretch of its
rows, `position` and `reach` are row numbers (`seq`).
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import duckdb

from windsor_sync.domain.change import BORROWED_EMAIL, FALSE_FIRST, Change
from windsor_sync.segment.calls import JsonValue, message_id
from windsor_sync.segment.identify import ComputationClass, EngageComputation, IdentifyTemplate, Identity
from windsor_sync.storage.duckdb_engine import columns_of, open_duckdb, open_stored, parquet, parquet_files, quoted

CHUNK_ROWS = 8_192
"""Rows read at a time: a few megabytes."""


class OutboxRow(NamedTuple):
    """A change as its message needs it."""

    seq: int
    user_id: str | None
    anonymous_id: str | None
    email: str | None
    value: str | None
    change: str
    since_run: int
    since_at: datetime


def read_rows(location: str, chunks: Iterable[tuple[int, int]], held: Sequence[str] = ()) -> Iterator[list[OutboxRow]]:
    """Yield the rows that may be sent of each chunk [start, end), ascending (maybe an empty one)."""
    blocked = ", ".join(quoted(kind) for kind in held) or "''"
    columns = ""
    with open_stored() as connection:
        for start, end in chunks:
            columns = columns or _columns(connection, location)
            rows = connection.execute(
                f"SELECT {columns} FROM {parquet(location)} "
                f"WHERE seq >= {start} AND seq < {end} AND status = 'send' "
                f"AND change NOT IN ({blocked}) ORDER BY seq"
            ).fetchall()
            yield [OutboxRow(*row) for row in rows]


def ids_in_row(files: Sequence[str], seq: int) -> tuple[str | None, str | None] | None:
    """Return user id and anonymous id of one row of an outbox; None when it was pruned meanwhile, or is damaged."""
    try:
        with open_duckdb() as connection:
            return connection.execute(
                f"SELECT user_id, anonymous_id FROM {parquet_files(files)} WHERE seq = {seq:d}"
            ).fetchone()
    except duckdb.Error:
        return None


def rows_by_user(location: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return some columns of all rows of an outbox, ordered by user."""
    query = f"SELECT {', '.join(columns)} FROM {parquet(location)} ORDER BY user_id, anonymous_id"
    with open_duckdb() as connection:
        return connection.execute(query).fetchall()


def _columns(connection: duckdb.DuckDBPyConnection, location: str) -> str:
    """Return the columns of an outbox that a message needs, as SQL; its own e-mail counts before a borrowed one."""
    columns = ", ".join(OutboxRow._fields)
    if BORROWED_EMAIL not in columns_of(connection, location):
        return columns
    return columns.replace("email", f"coalesce(email, {BORROWED_EMAIL}) AS email")


def count_held(location: str, held: Sequence[str]) -> int:
    """Return how many rows would be sent if their kinds were not `held`."""
    if not held:
        return 0
    with open_stored() as connection:
        rows = connection.execute(
            f"SELECT count(*) FROM {parquet(location)} "
            f"WHERE status = 'send' AND change IN ({', '.join(map(quoted, held))})"
        ).fetchall()
    return int(rows[0][0])


def count_protected(location: str) -> int:
    """Return how many rows are exits of users whose row in the snapshot could not be read."""
    with open_stored() as connection:
        query = f"SELECT count(*) FROM {parquet(location)} WHERE status = 'withheld'"
        [(rows,)] = connection.execute(query).fetchall()
    return int(rows)


def count_lost_zeros(location: str) -> tuple[int, int]:
    """Return how many told users with leading zeros in their id exit, and how many of them enter without the zeros."""
    rows = f"SELECT user_id, change, was_told FROM {parquet(location)}"
    with open_stored() as connection:
        connection.execute(
            f"CREATE TEMP TABLE zeros AS SELECT user_id FROM ({rows}) "
            "WHERE change = 'exited' AND was_told AND regexp_full_match(user_id, '0+[1-9][0-9]*')"
        )
        [(exited,)] = connection.execute("SELECT count(*) FROM zeros").fetchall()
        if not exited:
            return 0, 0
        [(without,)] = connection.execute(
            f"SELECT count(*) FROM zeros z JOIN ({rows}) n ON n.user_id = ltrim(z.user_id, '0') AND n.change = 'entered'"
        ).fetchall()
    return int(exited), int(without)


class Renderer:
    """Turns the rows of one audience's outbox into the identify calls Engage would send."""

    def __init__(self, computation: EngageComputation, *, installation: str, destination: str) -> None:
        self._computation = computation
        self._template = IdentifyTemplate(computation)
        self._scope = (installation, destination, str(computation.key))

    def messages(self, row: OutboxRow) -> tuple[bytes, ...]:
        """One message, or one an e-mail; the same change renders to the same bytes in every process."""
        emails = row.email.split("\n") if row.email else [None]
        return tuple(self._message(row, email) for email in emails)

    def _message(self, row: OutboxRow, email: str | None) -> bytes:
        value = self._value(row)
        identifier = message_id(
            *self._scope,
            f"[{_ascii_json(row.user_id)}, {_ascii_json(row.anonymous_id)}, {_ascii_json(email)}]",
            _ascii_json(value),
            str(row.since_run),
        )
        return self._template.render(
            Identity(
                row.user_id, row.anonymous_id if row.user_id is None or row.change == Change.MOVED else None, email
            ),
            value,
            message_id=identifier,
            timestamp=_aware(row.since_at),
        )

    def _value(self, row: OutboxRow) -> JsonValue:
        is_member = row.change not in FALSE_FIRST
        if self._computation.computation_class is ComputationClass.AUDIENCE:
            return is_member
        value: JsonValue = json.loads(row.value) if is_member and row.value is not None else None
        return value


def _ascii_json(value: JsonValue) -> str:
    """`json.dumps`, which sets up an encoder for everything but text; nearly every message names a boolean and a null."""
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    return json.dumps(value)


@lru_cache(maxsize=64)
def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)
