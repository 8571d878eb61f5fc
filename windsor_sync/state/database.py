"""Opens the state database: SQLite in WAL mode by default, PostgreSQL by URL."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, OperationalError

from windsor_sync.errors import ConfigError
from windsor_sync.state import tables

BUSY_TIMEOUT_S = 60
"""How long a writer waits for another one before it gives up (SQLite has one writer at a time)."""


class Database:
    """Transactions on the state. `write()` is atomic and serialises writers; `read()` sees committed rows only."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One atomic transaction; rolled back when the block raises."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading, without holding up a writer."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
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
        """The identity of this state, made once; see `tables.installation`."""
        with self.read() as connection:
            found = connection.execute(select(tables.installation.c.id)).scalar()
        if found is None:
            with self.write() as connection:
                found = connection.execute(select(tables.installation.c.id)).scalar()
                if found is None:
                    found = uuid.uuid4().hex
                    connection.execute(insert(tables.installation).values(id=found))
        return str(found)

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Open the state at `url`, bringing a SQLite file up to date on the way.

    PostgreSQL is never migrated on the side: several machines use it, so `windsor-sync state upgrade` does that.
    Raises ConfigError when it cannot be reached or is not up to date.
    """
    engine = make_engine(url)
    database = Database(engine)
    try:
        if database.is_sqlite:
            upgrade(engine)
        else:
            _require_current(engine)
    except OperationalError as error:
        engine.dispose()
        raise ConfigError(
            f"The state database {_shown(url)} cannot be used: {type(error.orig).__name__}. Nothing was done. "
            "Check `state` in windsor.yaml: that the folder is writable, or that the server runs and accepts this user."
        ) from None
    return database


def make_engine(url: str) -> Engine:
    """An engine whose SQLite transactions take the write lock at once, instead of failing half-way through."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True, hide_parameters=True)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S}, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def upgrade(engine: Engine) -> None:
    """Apply the migrations that are missing; safe to call from several processes at once."""
    from alembic import command
    from alembic.runtime.migration import MigrationContext

    config, newest = _migrations()
    with engine.connect() as connection:
        if MigrationContext.configure(connection).get_current_revision() == newest:
            return
    with engine.begin() as connection:  # on SQLite this takes the write lock, and the second comer finds it done
        if engine.dialect.name != "sqlite":
            connection.execute(select(func.pg_advisory_xact_lock(0x77696E64)))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _require_current(engine: Engine) -> None:
    from alembic.runtime.migration import MigrationContext

    _, newest = _migrations()
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found != newest:
        raise ConfigError(
            f"The state database is at version {found or 'none'}, this windsor_sync needs {newest}. Nothing was done. "
            "Run `windsor-sync state upgrade` once, on one machine."
        )


def _migrations() -> tuple[Any, str | None]:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config, ScriptDirectory.from_config(config).get_current_head()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's "begin" event says BEGIN IMMEDIATE instead
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # a recorded reach must survive a power cut, or doubt would be lost
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _shown(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)


__all__ = ["Database", "IntegrityError", "make_engine", "open_database", "upgrade"]
