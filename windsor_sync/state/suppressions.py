"""Users about whom nothing may be sent: each is kept as a hash, with who put it there."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime

from sqlalchemy import delete, insert, select

from windsor_sync.domain.suppression import Suppressed
from windsor_sync.state.database import Database, Transaction
from windsor_sync.state.tables import readings, suppressions

FORGET = "forget"
"""Origin of a suppression that a person asked for here: it is never taken back."""

SEGMENT = "segment"
"""Origin of a suppression that Segment's list holds."""

_SEGMENTS_LIST = "Segment's suppression list"
_ROWS = 500  # a statement; SQLite takes 32,766 values


def suppressed_hashes(database: Database) -> tuple[str, ...]:
    """Return the users who must not be told anything, as hex SHA-256 of the installation id and the user id."""
    with database.read() as connection:
        return tuple(connection.execute(select(suppressions.c.user_hash).order_by(suppressions.c.user_hash)).scalars())


def suppressed_users(database: Database) -> Suppressed:
    """Return the same, to ask of each user who is about to be told something."""
    return Suppressed(frozenset(suppressed_hashes(database)), database.installation())


def is_hash_suppressed(database: Database, user_hash: str) -> bool:
    """Whether nothing may be sent about the user with this hash."""
    query = select(suppressions.c.user_hash).where(suppressions.c.user_hash == user_hash)
    with database.read() as connection:
        return connection.execute(query).one_or_none() is not None


def forgotten_hashes(database: Database) -> list[str]:
    """Return the users whom a person asked to forget."""
    with database.read() as connection:
        query = select(suppressions.c.user_hash).where(suppressions.c.origin == FORGET)
        return list(connection.execute(query).scalars())


def suppress_for_good(connection: Transaction, hashes: Collection[str]) -> list[str]:
    """Suppress users whom Segment may not take off again; returns those who were not suppressed for good before."""
    query = select(suppressions.c.user_hash).where(
        suppressions.c.user_hash.in_(hashes), suppressions.c.origin == FORGET
    )
    fresh = sorted(set(hashes) - set(connection.execute(query).scalars()))
    for user_hash in fresh:  # replaces a suppression that came from Segment
        connection.execute(delete(suppressions).where(suppressions.c.user_hash == user_hash))
        connection.execute(insert(suppressions).values(user_hash=user_hash, origin=FORGET, at=datetime.now(UTC)))
    return fresh


def suppress_again(connection: Transaction, user_hash: str) -> bool:
    """Suppress a user whom the file store says was forgotten; returns whether the state did not know."""
    known = select(suppressions.c.user_hash).where(suppressions.c.user_hash == user_hash)
    if connection.execute(known).one_or_none() is not None:
        return False
    connection.execute(insert(suppressions).values(user_hash=user_hash, origin=FORGET, at=datetime.now(UTC)))
    return True


def adopt_list_of_segment(
    connection: Transaction, found: set[str], moment: datetime, *, entries: int
) -> tuple[int, int]:
    """Make the entries of Segment's origin those that were found; returns how many came and went."""
    known = {row.user_hash: row.origin for row in connection.execute(select(suppressions))}
    new = found - known.keys()
    gone = {user for user, origin in known.items() if origin == SEGMENT} - found
    for rows in _batches(new):
        values = [{"user_hash": user, "origin": SEGMENT, "at": moment} for user in rows]
        connection.execute(insert(suppressions), values)
    for rows in _batches(gone):
        connection.execute(delete(suppressions).where(suppressions.c.user_hash.in_(rows)))
    connection.execute(delete(readings).where(readings.c.what == _SEGMENTS_LIST))
    connection.execute(insert(readings).values(what=_SEGMENTS_LIST, read_at=moment, entries=entries))
    return len(new), len(gone)


def list_of_segment_read_at(database: Database) -> datetime | None:
    """Return when Segment's list was last read; None before the first time."""
    query = select(readings.c.read_at).where(readings.c.what == _SEGMENTS_LIST)
    with database.read() as connection:
        moment: datetime | None = connection.execute(query).scalar_one_or_none()
    return moment


def _batches(users: set[str]) -> Iterator[list[str]]:
    rows = sorted(users)
    return (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))
