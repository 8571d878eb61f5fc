"""Connections to the state database: how long each waits, and what a writer that stands still may hold up."""

import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from windsor_sync.errors import ConfigError
from windsor_sync.private import Access, make_folder, open_new, tighten
from windsor_sync.settings.patterns import folder_and_text

BUSY_TIMEOUT_S = 60
"""How long a writer waits for another one before it gives up (SQLite has one writer at a time)."""

IDLE_TIMEOUT_S = 30
"""After how long PostgreSQL ends a transaction whose process stands still, so that its locks block nobody for ever."""

DRIVERS = {"sqlite": "pysqlite", "postgresql": "psycopg"}

BESIDE = ("", "-wal", "-shm", "-journal")
"""Endings of the files that SQLite makes of a state."""

READ_OPTIONS: dict[str, dict[str, object]] = {
    "sqlite": {"begins": "BEGIN"},
    "postgresql": {"begins": "read", "isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}
"""Execution options under which a transaction sees the state of one moment and takes no writer's lock."""

ALONE = {"begins": "alone"}
"""Execution options of a transaction beside which nobody else writes. SQLite has no other kind."""

ALONE_IDLE_TIMEOUT_S = 3600
"""The same as IDLE_TIMEOUT_S for such a transaction: it waits while another database takes or compares what it read."""

TO_SCRUB = 1
"""SQLite's `user_version` of a file that is to be written anew."""

_WRITERS_LOCK = 0x77696E65
"""Number of PostgreSQL's advisory lock that every writer shares, and that one who writes alone has for itself."""

# A server that vanished without a word is noticed before a lease runs out. The URL's own parameters win.
LIBPQ_TIMEOUTS = {
    "application_name": "windsor_sync",
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def make_engine(url: str, access: Access = Access.OWNER) -> Engine:
    """An engine whose writers are fenced off from each other on SQLite and PostgreSQL alike; connects to nothing yet.

    A SQLite file that does not exist is made, empty and for `access` alone: SQLite gives the files beside it the same mode.

    Raises ConfigError for another database, a driver that is not installed, or a folder that cannot be made.
    """
    parsed = parsed_url(url)
    return _sqlite(parsed, access) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)


def file_of(url: URL) -> Path | None:
    """The SQLite file of a URL; None for memory, SQLite's own kind of URL, or another database."""
    is_file = url.get_backend_name() == "sqlite" and url.database and not url.database.startswith((":", "file:"))
    return Path(str(url.database)) if is_file else None


def shown_url(url: URL) -> str:
    """The URL without what may be secret: its password, and its parameters, which can hold one."""
    return url.set(drivername=url.get_backend_name(), query={}).render_as_string(hide_password=True)


def parsed_url(url: str) -> URL:
    """Return the URL with our driver in it; raises ConfigError for another database."""
    try:
        parsed = _to_the_letter(url) or make_url(url)
    except ArgumentError:
        raise _not_ours() from None
    backend, _, driver = parsed.drivername.partition("+")
    if backend not in DRIVERS or driver not in ("", DRIVERS[backend]):
        raise _not_ours()
    return parsed.set(drivername=f"{backend}+{DRIVERS[backend]}")


def _to_the_letter(url: str) -> URL | None:
    """A SQLite file that counts from a folder in whose path SQLAlchemy would decode `%` and see parameters behind `?`."""
    start, _, pattern = url.partition(":///")
    folder, text = folder_and_text(pattern)
    if not folder or not start.startswith("sqlite"):
        return None
    parsed = make_url(f"{start}:///{text}")
    return parsed.set(database=f"{folder}/{parsed.database}")


def _not_ours() -> ConfigError:
    return ConfigError(
        "`state` in windsor.yaml names a database windsor_sync cannot use (not shown: it may hold a password). Nothing was "
        "done. Write sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE."
    )


# -- SQLite --------------------------------------------------------------------------------------------------


def _sqlite(url: URL, access: Access) -> Engine:
    if url.database:
        try:
            make_folder(Path(url.database).parent, access)
        except OSError as error:
            raise ConfigError(
                f"The folder for the state database {shown_url(url)} cannot be made: {error.strerror}. Nothing was done. "
                "Check `state` in windsor.yaml, and who may write there."
            ) from None
        if (file := file_of(url)) is not None:
            with suppress(OSError):  # it exists, or SQLite says why it cannot be made
                open_new(file, access).close()
            for ending in BESIDE:  # as an older version, or a restore, may have left them
                tighten(file.with_name(f"{file.name}{ending}"), access)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy's "begin" event says so
    with closing(connection.cursor()) as cursor:
        _switch_to_wal(cursor)
        cursor.execute("PRAGMA synchronous=FULL")  # a recorded reach must survive a power cut, or doubt would be lost
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA secure_delete=ON")  # what is deleted or replaced is no longer in the file


def _switch_to_wal(cursor: sqlite3.Cursor) -> None:
    """Put the file into WAL mode. While another process does the same, SQLite answers BUSY without waiting: we wait."""
    give_up_at = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)
        else:
            return


def scrub(engine: Engine) -> None:
    """Write a SQLite file anew where a migration asked for it, so that no free page holds what was replaced.

    What stands in its way (another process that reads, a full disk) leaves it to the next command.
    """
    if engine.dialect.name != "sqlite":
        return
    with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
        if cursor.execute("PRAGMA user_version").fetchone()[0] != TO_SCRUB:
            return
        with suppress(sqlite3.OperationalError):
            cursor.execute("VACUUM")
            is_busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if not is_busy:
                cursor.execute("PRAGMA user_version = 0")


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once, instead of failing when a transaction that began by reading comes to write."""
    begins = connection.get_execution_options().get("begins")
    connection.exec_driver_sql("BEGIN" if begins == "BEGIN" else "BEGIN IMMEDIATE")


# -- PostgreSQL ----------------------------------------------------------------------------------------------


def _postgresql(url: URL) -> Engine:
    timeouts = {name: value for name, value in LIBPQ_TIMEOUTS.items() if name not in url.query}
    try:
        engine = create_engine(
            url,
            pool_pre_ping=True,
            hide_parameters=True,
            isolation_level="READ COMMITTED",  # the lease's row is read again after a wait for its lock
            connect_args=timeouts,
        )
    except ImportError:
        raise ConfigError(
            "The state is on PostgreSQL, and its driver psycopg is not installed. Nothing was done. "
            "Install it with: pip install 'windsor-sync[postgres]'"
        ) from None
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _begin_postgresql(connection: Connection) -> None:
    """Bound the waits of a writing transaction (of this one only, for a pooler may hand the session to others)."""
    begins = connection.get_execution_options().get("begins")
    if begins == "read":
        return
    is_alone = begins == ALONE["begins"]
    idle_s = ALONE_IDLE_TIMEOUT_S if is_alone else IDLE_TIMEOUT_S
    connection.execute(
        text(
            "SELECT set_config('lock_timeout', :lock_ms, true), "
            "set_config('idle_in_transaction_session_timeout', :idle_ms, true), "
            f"pg_advisory_xact_lock{'' if is_alone else '_shared'}({_WRITERS_LOCK})"
        ),
        {"lock_ms": str(int(BUSY_TIMEOUT_S * 1000)), "idle_ms": str(int(idle_s * 1000))},
    )
