"""Reads the members of a sealed snapshot, for a person who may see them."""

from collections.abc import Iterator
from typing import Any

from windsor_sync.storage.duckdb_engine import open_stored, parquet

ROWS_AT_A_TIME = 5_000


def members_of(location: str) -> Iterator[tuple[Any, ...]]:
    """Yield user id, anonymous id and value of each member."""
    with open_stored() as connection:
        found = connection.execute(f"SELECT user_id, anonymous_id, value FROM {parquet(location)}")
        while rows := found.fetchmany(ROWS_AT_A_TIME):
            yield from rows


def users_with_email(location: str, email: str, limit: int) -> list[str]:
    """Return the ids of at most so many members who have an e-mail, whatever its letters' case."""
    with open_stored() as connection:
        rows = connection.execute(
            f"SELECT DISTINCT coalesce(user_id, anonymous_id) AS id FROM {parquet(location)} "
            "WHERE list_contains(string_split(lower(email), chr(10)), lower(?)) ORDER BY id LIMIT ?",
            [email, limit],
        ).fetchall()
    return [user for (user,) in rows]
