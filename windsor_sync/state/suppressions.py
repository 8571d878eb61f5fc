"""Suppressed users, kept by a hash whose key is not in the database: nobody can try ids against a copy of that alone.

The key is made where it is first needed. From then on the database has a check value of it, by which a key that is lost, or
another one, is noticed before anything is sent.
"""

from sqlalchemy import Connection, select, update

from windsor_sync.domain.suppression import Suppressed, SuppressionHash
from windsor_sync.errors import StoredFileError
from windsor_sync.state.database import Database
from windsor_sync.state.suppression_key import VARIABLE, KeyPlace, check_value
from windsor_sync.state.tables import installation, suppressions


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


def check_in(connection: Connection) -> str | None:
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
