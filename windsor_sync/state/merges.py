"""The files that hold the known merges of a destination, changed by one process at a time."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from windsor_sync.state.database import Database, Transaction
from windsor_sync.state.stored_files import Placed, enter, strike
from windsor_sync.state.tables import merges


@dataclass(frozen=True, slots=True)
class KnownMerges:
    """The merges of a destination at one moment."""

    number: int = 0
    """of the newest change; 0 when no merge is known"""
    base: str | None = None
    """path below the file store, as `recent` is"""
    recent: str | None = None
    base_rows: int = 0

    @property
    def paths(self) -> tuple[str, ...]:
        """The files, the older one first."""
        return tuple(path for path in (self.base, self.recent) if path)


def merges_of(database: Database, destination: str) -> KnownMerges | None:
    """Return the merges that are known now; None where none were ever recorded, as by an older version."""
    with database.read() as connection:
        return _row(connection, destination)


def merging_destinations(database: Database) -> list[str]:
    """Return the destinations that have merges."""
    with database.read() as connection:
        return list(connection.execute(select(merges.c.destination)).scalars())


def named_merge_files(database: Database) -> set[str]:
    """Return the files of merges that any destination stands on."""
    with database.read() as connection:
        rows = connection.execute(select(merges.c.base, merges.c.recent))
        return {path for row in rows for path in row if path}


def swap_merges(
    database: Database,
    destination: str,
    before: KnownMerges,
    after: KnownMerges,
    owner: int | None,
    placed: Sequence[Placed],
) -> bool:
    """Make the state name other files, unless another process changed it meanwhile; returns whether it does."""
    try:
        with database.write() as connection:
            if not _write(connection, destination, after, instead_of=before.number):
                return False
            for path in set(before.paths) - set(after.paths):
                strike(connection, path)
            if owner is not None:
                enter(connection, owner, placed)
    except IntegrityError:  # PostgreSQL: another process wrote the first row at the same moment
        return False
    return True


def rebuild_merges(
    database: Database, destination: str, known: KnownMerges, kept: KnownMerges, owner: int, placed: Sequence[Placed]
) -> None:
    """Make the state name the files that are kept, whatever it named before."""
    with database.write() as connection:
        for path in (*known.paths, *kept.paths):
            strike(connection, path)
        _write(connection, destination, kept)
        enter(connection, owner, placed)


def _row(connection: Transaction, destination: str) -> KnownMerges | None:
    row = connection.execute(select(merges).where(merges.c.destination == destination)).one_or_none()
    return None if row is None else KnownMerges(row.number, row.base, row.recent, row.base_rows)


def _write(connection: Transaction, destination: str, after: KnownMerges, instead_of: int | None = None) -> bool:
    """Write the destination's row; with `instead_of`, only if it still has that number. Returns whether it was written."""
    if _row(connection, destination) is None:
        connection.execute(insert(merges).values(destination=destination, **asdict(after)))
        return True
    where = [merges.c.destination == destination]
    if instead_of is not None:
        where.append(merges.c.number == instead_of)
    return bool(connection.execute(update(merges).where(*where).values(**asdict(after))).rowcount)
