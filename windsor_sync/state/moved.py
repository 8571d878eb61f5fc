"""The mark of a state that was copied to another database: from then on nothing is read from it or written to it.

Two databases of one installation, both in use, would each tell Windsor what the other does not know of.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import URL, Connection, select, update

from windsor_sync.errors import ConfigError
from windsor_sync.state.connections import shown_url
from windsor_sync.state.tables import installation


@dataclass(frozen=True, slots=True)
class Moved:
    """The place to which a state was copied."""

    to: str
    """the new database's URL, without what may be secret"""
    at: datetime


def moved(connection: Connection) -> Moved | None:
    """Return the mark of the state, None where it has none."""
    row = connection.execute(select(installation.c.moved_to, installation.c.moved_at)).one()
    return None if row.moved_to is None else Moved(row.moved_to, row.moved_at)


def mark(connection: Connection, url: URL) -> None:
    """Mark the state as moved to the database at `url`."""
    connection.execute(update(installation).values(moved_to=shown_url(url), moved_at=datetime.now(UTC)))


def unmark(connection: Connection) -> None:
    """Take the mark back."""
    connection.execute(update(installation).values(moved_to=None, moved_at=None))


def require_unmoved(connection: Connection) -> None:
    """Raise ConfigError for a state that was moved."""
    found = moved(connection)
    if found is not None:
        raise ConfigError(
            f"The state {shown_url(connection.engine.url)} was moved to {found.to} on {found.at:%Y-%m-%d %H:%M} UTC. Nothing was "
            "done: a state that is used beside its copy would send again what the other one has sent. Write the new URL as "
            "`state` into windsor.yaml (into WINDSOR_SYNC_STATE where that is set). Only if the copy was never used: "
            "`windsor-sync state reopen`."
        )
