"""Suppressed users, kept by a hash whose key is not in the database: nobody can try ids against a copy of that alone.

The key is made where it is first needed. From then on the database has a check value of it, by which a key that is lost, or
another one, is noticed before anything is sent.
"""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime

from sqlalchemy import delete, insert, select, update

from windsor_sync.domain.suppression import Suppressed, SuppressionHash
from windsor_sync.errors import StoredFileError
from windsor_sync.state.database import Database, Transaction
from windsor_sync.state.suppression_key import VARIABLE, KeyPlace, check_value
from windsor_sync.state.tables import installation, readings, suppressions

FORGET = "forget"
"""Origin of a suppression that a person asked for here: it is never taken back."""

SEGMENT = "segment"
"""Origin of a suppression that Segment's list holds."""

SEGMENTS_LIST = "Segment's suppression list"
_ROWS = 500  # a statement; SQLite takes 32,766 values


def suppressed_users(database: Database) -> Suppressed:
    """Return everybody of whom nothing may be sent; raises StoredFileError where the key is not the one that was used."""
    with database.read() as connection:
        hashes = frozenset(connection.execute(select(suppressions.c.user_hash)).scalars())
    return Suppressed(hashes, hash_in_use(database)) if hashes else Suppressed()


def hash_in_use(database: Database) -> SuppressionHash:
    """Return how users are hashed here, with a key that is made now where there is none yet.

    Raises StoredFileError where another key was used before, ConfigError where none can be made.
    """
    salt, key = database.installation(), require_key(database)
    return SuppressionHash(salt, _first_key(database) if key is None else key)


def require_key(database: Database) -> bytes | None:
    """Return the key that is in use, None before one was used; raises StoredFileError where it is not here."""
    with database.read() as connection:
        check = check_in(connection)
    if check is None:
        return None
    key = database.key.find()
    if key is None or check_value(key) != check:
        raise wrong_key(database.key)
    return key


def _first_key(database: Database) -> bytes:
    key = database.key.find() or database.key.make()
    with database.write() as connection:
        if check_in(connection) is None:
            connection.execute(update(installation).values(suppression_check=check_value(key)))
        elif check_in(connection) != check_value(key):  # another machine was faster
            raise wrong_key(database.key)
    return key


def check_in(connection: Transaction) -> str | None:
    """Return the check value of the key that is in use; None before one was used."""
    check: str | None = connection.execute(select(installation.c.suppression_check)).scalar_one()
    return check


def has_unkeyed_files(database: Database) -> bool:
    """Whether the file store may keep users of before there was a key."""
    with database.read() as connection:
        return bool(connection.execute(select(installation.c.has_unkeyed_files)).scalar_one())


def are_keyed(database: Database) -> None:
    """Note that the file store keeps nobody without a key any more."""
    with database.write() as connection:
        connection.execute(update(installation).values(has_unkeyed_files=False))


def wrong_key(place: KeyPlace) -> StoredFileError:
    """Return the error of a key that is lost, or is another one."""
    found = "another key than the one that was used" if place.find() else "no key"
    file = f"the file {place.file}, or " if place.file else ""
    return StoredFileError(
        f"The key of the suppressions is not here: {place} has {found}. Without it nobody can tell who was forgotten. Nothing "
        f"was sent. Bring the key back from where it was used or from a backup: into {file}the variable {VARIABLE} (in Airflow: "
        "the password of the connection windsor_suppressions). Only if it is lost for good: `windsor-sync recover --key`."
    )


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
    connection.execute(delete(readings).where(readings.c.what == SEGMENTS_LIST))
    connection.execute(insert(readings).values(what=SEGMENTS_LIST, read_at=moment, entries=entries))
    return len(new), len(gone)


def let_go_of_suppressions(connection: Transaction) -> None:
    """Let go of every suppression; Segment's list is read again before the next run."""
    connection.execute(delete(suppressions))
    connection.execute(delete(readings).where(readings.c.what == SEGMENTS_LIST))


def give_up_forgotten(connection: Transaction) -> int:
    """Let go of every suppression; returns how many users a person had asked to forget."""
    gone = connection.execute(delete(suppressions).where(suppressions.c.origin == FORGET)).rowcount
    let_go_of_suppressions(connection)
    return gone


def note_key(connection: Transaction, check: str | None) -> None:
    """Record the check value of the key that is in use; None where there is none any more."""
    connection.execute(update(installation).values(suppression_check=check))


def list_of_segment_read_at(database: Database) -> datetime | None:
    """Return when Segment's list was last read; None before the first time."""
    query = select(readings.c.read_at).where(readings.c.what == SEGMENTS_LIST)
    with database.read() as connection:
        moment: datetime | None = connection.execute(query).scalar_one_or_none()
    return moment


def _batches(users: set[str]) -> Iterator[list[str]]:
    rows = sorted(users)
    return (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))
