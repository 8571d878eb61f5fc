"""Takes a person out of a stored file, and tells whether a file names them: snapshots, outboxes and known merges alike."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import duckdb

from windsor_sync.diff.duckdb import WRITTEN_AS
from windsor_sync.domain.change import BORROWED_EMAIL
from windsor_sync.domain.suppression import SuppressionHash, keyed_sql
from windsor_sync.state.stored_files import Named
from windsor_sync.storage.duckdb_engine import columns_of, open_stored, parquet, quoted

OUTBOX_BLANKS = (
    "identity", "user_id", "anonymous_id", "email", "value", "told_anonymous_id", "told_email", "told_value",
)  # fmt: skip

Ids = Collection[str]
"""All known ids of a person."""

_USER = "coalesce(user_id, anonymous_id)"
"""As in snapshots: a user goes by the anonymous id only where there is no other."""

EVENTS_BLANKS = ("user_id", "anonymous_id", "previous_id", "message")


def write_without(
    file: Named, location: str, ids: Ids, draft: Path, *, options: str, confirm: Callable[[], None]
) -> int | None:
    """Write a file again without the person; returns how many rows were theirs, and None when it does not name them.

    `confirm` is called before the writing: what is damaged must not get a checksum of its own.
    """
    with open_stored() as connection:
        touched, rows, without = _without(connection, file, location, ids)
        if not touched:
            return None
        confirm()
        connection.execute(f"COPY ({without}) TO {quoted(str(draft))} ({WRITTEN_AS}, {options})")
    return rows


def names_person(location: str, ids: Ids) -> bool:
    """Whether a snapshot or an outbox names the person."""
    with open_stored() as connection:
        return _count(connection, location, _theirs(connection, location, ids).touched) > 0


def names_hashed(location: str, hashes: Collection[str], hashing: SuppressionHash) -> bool:
    """Whether a file of merges has an id with one of these hashes."""
    salt, pads, listed = quoted(hashing.salt), tuple(map(quoted, hashing.pads)), _listed(hashes)
    condition = " OR ".join(
        f"{keyed_sql(f'sha256({salt} || {name})', *pads)} IN ({listed})" for name in ("id", "survivor")
    )
    with open_stored() as connection:
        return _count(connection, location, condition) > 0


def _without(connection: duckdb.DuckDBPyConnection, file: Named, location: str, ids: Ids) -> tuple[int, int, str]:
    """Return how many rows of a file name the person, how many of these are theirs, and the query of the file without them.

    A snapshot and known merges lose the rows. An outbox has them blanked, so that positions and books still hold. A row of
    another user stays, without the person's anonymous ids in it.
    """
    if file.is_of_merges:
        condition = f"id IN ({_listed(ids)}) OR survivor IN ({_listed(ids)})"
        rows = _count(connection, location, condition)
        return rows, rows, f"SELECT * FROM {parquet(location)} WHERE NOT ({condition})"
    theirs = _theirs(connection, location, ids)
    others = ", ".join(
        f"CASE WHEN user_id IS NULL THEN {name} ELSE {_lines_without(name, ids)} END AS {name}" for name in theirs.lines
    )
    touched = _count(connection, location, theirs.touched)
    rows = _count(connection, location, theirs.condition)
    if file.is_snapshot:
        query = f"SELECT * REPLACE ({others}) FROM {parquet(location)} WHERE ({theirs.condition}) IS NOT TRUE"
        return touched, rows, query
    kept = {name: _lines_without(name, ids) if name in theirs.lines else name for name in theirs.blanks}
    blanks = ", ".join(
        f"CASE WHEN {theirs.condition} THEN NULL ELSE {rest} END AS {name}" for name, rest in kept.items()
    )
    return touched, rows, f"SELECT * REPLACE ({blanks}) FROM {parquet(location)} ORDER BY seq"


@dataclass(frozen=True, slots=True)
class _Theirs:
    """The places at which a file names a person."""

    condition: str
    """which rows are about them, as SQL"""
    touched: str
    """which rows name them at all"""
    blanks: tuple[str, ...]
    """the columns that name the user of a row"""
    lines: tuple[str, ...]
    """those of these columns that hold anonymous ids of the row's user, one a line"""


def _theirs(connection: duckdb.DuckDBPyConnection, location: str, ids: Ids) -> _Theirs:
    is_theirs = f"{_USER} IN ({_listed(ids)})"
    columns = columns_of(connection, location)
    if "previous_id" in columns:  # forwarded events; an alias names two users
        is_theirs = f"({is_theirs} OR previous_id IN ({_listed(ids)}))"
        return _Theirs(is_theirs, is_theirs, EVENTS_BLANKS, ())
    lines = tuple(name for name in ("anonymous_id", "told_anonymous_id") if name in columns)
    names_them = (f"list_has_any(string_split({name}, chr(10)), [{_listed(ids)}])" for name in lines)
    blanks = (*OUTBOX_BLANKS, *({BORROWED_EMAIL} & columns))
    return _Theirs(is_theirs, " OR ".join((is_theirs, *names_them)), blanks, lines)


def _lines_without(name: str, ids: Ids) -> str:
    """Return a column of anonymous ids, one a line, without these ids, as SQL; NULL where none is left."""
    rest = f"list_filter(string_split({name}, chr(10)), lambda each: each NOT IN ({_listed(ids)}))"
    return f"nullif(array_to_string({rest}, chr(10)), '')"


def _listed(names: Collection[str]) -> str:
    """Return texts as a list in SQL; for no text, a list that matches nothing."""
    return ", ".join(map(quoted, names)) or "NULL"


def _count(connection: duckdb.DuckDBPyConnection, location: str, condition: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {parquet(location)} WHERE {condition}").fetchone()
    assert row is not None
    return int(row[0])
