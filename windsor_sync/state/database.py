"""The state database: SQLite in WAL mode by default, PostgreSQL by URL. Its errors are translated here."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, select, update
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from windsor_sync.errors import ConfigError, StateUnavailable
from windsor_sync.private import Access
from windsor_sync.state import tables
from windsor_sync.state.connections import ALONE, READ_OPTIONS, make_engine, scrub, shown_url
from windsor_sync.state.moved import require_unmoved
from windsor_sync.state.suppression_key import KeyPlace, key_place
from windsor_sync.state.upgrading import needed_version, require_needed, upgrade, version_of

# SQLite's names for what can be over when it is tried again, and for what lasts until somebody mends it. Any other error
# is a defect of ours.
_PASSING = ("SQLITE_BUSY", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_LOCKED", "SQLITE_PROTOCOL")
_LASTING = ("SQLITE_CANTOPEN", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_READONLY")


Transaction = Connection
"""A block of `write()` or `read()`: modules of this room put statements to it, all others pass it on."""

StateRow = Row[Any]
"""A row of one of our tables."""


class Database:
    """Transactions on the state. `write()` is atomic and serialises writers; `read()` sees one committed moment."""

    def __init__(self, engine: Engine, key: KeyPlace) -> None:
        self.engine = engine
        self.key = key
        self._reading = engine.execution_options(**READ_OPTIONS[engine.dialect.name])
        self._alone = engine.execution_options(**ALONE)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One atomic transaction; rolled back when the block raises. Raises StateUnavailable.

        Raises ConfigError once the state was moved, so that a process which opened it earlier does not go on beside the copy.
        """
        with self._in_reach(), self.engine.begin() as connection:
            require_unmoved(connection)
            yield connection

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """Write in a transaction beside which nobody else writes, in a state that was moved too. Raises StateUnavailable."""
        with self._in_reach(), self._alone.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """The state as it is now, unmoved by what others commit meanwhile; holds up no writer. Raises StateUnavailable."""
        with self._in_reach(), self._reading.connect() as connection:
            yield connection

    @property
    def is_sqlite(self) -> bool:
        """Whether the state is one local file."""
        return self.engine.dialect.name == "sqlite"

    def now(self, connection: Connection) -> datetime:
        """The database's clock, so that workers on several machines agree about leases."""
        if self.is_sqlite:
            return datetime.now(UTC)
        now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return now.astimezone(UTC)

    def installation(self) -> str:
        """The identity of this state, made with its tables; see `tables.installation`."""
        with self.read() as connection:
            return str(connection.execute(select(tables.installation.c.id)).scalar_one())

    def emails_from(self) -> str:
        """Return the setting `emails_from` where windsor.yaml does not say it; see `tables.installation`."""
        with self.read() as connection:
            return connection.execute(select(tables.installation.c.emails_from)).scalar_one() or "own"

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()

    @contextmanager
    def _in_reach(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            if not _is_trouble(error, _PASSING + _LASTING):
                raise
            raise _out_of_reach(self.engine, error) from None


def take_identity(connection: Transaction, installation: str) -> None:
    """Make this state go on as another one that was lost."""
    connection.execute(update(tables.installation).values(id=installation))


def open_database(
    url: str, key: KeyPlace | None = None, *, access: Access = Access.OWNER, may_have_moved: bool = False
) -> Database:
    """Open the state at `url`, bringing a SQLite file up to date on the way.

    `key`: where the key of the suppressions is, if not beside the SQLite file or in the environment.

    PostgreSQL is never migrated on the side: several machines use it, so `windsor-sync state upgrade` does that.
    Raises ConfigError when it cannot be used, is not up to date or was moved, StateUnavailable when trying again may help.
    """
    engine, key = make_engine(url, access), key or key_place(url)
    with _usable(engine):
        found = version_of(engine)
        if engine.dialect.name == "sqlite" and found != needed_version():
            upgrade(engine, key)
        else:
            require_needed(engine, found)
        scrub(engine)
        database = Database(engine, key)
        if not may_have_moved:
            with database.read() as connection:
                require_unmoved(connection)
    return database


def upgrade_database(url: str, key: KeyPlace | None = None, *, access: Access = Access.OWNER) -> tuple[str | None, str]:
    """Bring the state at `url` up to date, on either database: (version before, version now).

    Raises ConfigError when it cannot be used, StateUnavailable when trying again may help.
    """
    engine = make_engine(url, access)
    with _usable(engine):
        found = version_of(engine)
        upgrade(engine, key or key_place(url))
        scrub(engine)
    engine.dispose()
    return found, needed_version()


@contextmanager
def opened_as_it_is(url: str) -> Iterator[Engine]:
    """Hand out the database at `url` for the block, whatever tables it has. Raises as `upgrade_database` does."""
    engine = make_engine(url)
    with _usable(engine):
        yield engine
    engine.dispose()


@contextmanager
def _usable(engine: Engine) -> Iterator[None]:
    """Say of a database that cannot be opened what to do about it, and let go of it."""
    try:
        yield
    except DBAPIError as error:
        engine.dispose()
        if _is_trouble(error, _PASSING):
            raise _out_of_reach(engine, error) from None
        raise ConfigError(
            f"The state database {shown_url(engine.url)} cannot be used: {_reason(engine, error)}. Nothing was done. "
            "Check `state` in windsor.yaml: it needs a database of its own, in which this user may write and make tables."
        ) from None
    except Exception:
        engine.dispose()
        raise


def _is_trouble(error: DBAPIError, sqlite_names: tuple[str, ...]) -> bool:
    """Whether the database is the trouble, rather than what we asked of it."""
    name = getattr(error.orig, "sqlite_errorname", None)  # None on PostgreSQL
    if name is not None:
        return str(name).startswith(sqlite_names)
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


def _out_of_reach(engine: Engine, error: DBAPIError) -> StateUnavailable:
    return StateUnavailable(
        f"The state database {shown_url(engine.url)} is out of reach: {_reason(engine, error)}. What was recorded before stands, "
        "and what cannot be recorded is not sent. Run it again when the database answers; if it never does, check `state` in "
        "windsor.yaml."
    )


def _reason(engine: Engine, error: DBAPIError) -> str:
    """The database's own words: the first line, since the others can repeat a row."""
    words = (str(error.orig).strip().splitlines() or [type(error.orig).__name__])[0]
    password = engine.url.password
    return words.replace(str(password), "***") if password else words
