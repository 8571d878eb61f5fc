"""The last sync of each audience that began and left no run behind."""

from datetime import datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from windsor_sync.state.database import Database
from windsor_sync.state.tables import readings


def note_try(database: Database, destination: str, audience: str, at: datetime) -> None:
    """Record a sync that began and came to no run."""
    what = _prefix(destination) + audience
    try:
        with database.write() as connection:
            connection.execute(delete(readings).where(readings.c.what == what))
            connection.execute(insert(readings).values(what=what, read_at=at, entries=0))
    except IntegrityError:  # PostgreSQL: another task recorded it at the same moment
        return


def last_tries(database: Database, destination: str) -> dict[str, datetime]:
    """Return the last of them by trait key."""
    prefix = _prefix(destination)
    query = select(readings.c.what, readings.c.read_at).where(readings.c.what.startswith(prefix, autoescape=True))
    with database.read() as connection:
        return {str(row.what).removeprefix(prefix): row.read_at for row in connection.execute(query)}


def _prefix(destination: str) -> str:
    return f"tried\n{destination}\n"
