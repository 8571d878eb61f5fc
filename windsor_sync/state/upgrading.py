"""Brings the state's tables to the version this windsor_sync needs; refuses a state that is ahead of it.

Every command compares one number, and hardly any migrates: Alembic is imported by those that do.
"""

import threading
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, func, inspect, select, text

from windsor_sync.errors import ConfigError
from windsor_sync.state.connections import READ_OPTIONS, shown_url
from windsor_sync.state.suppression_key import KeyPlace

VERSION_TABLE = "windsor_sync_version"
"""Alembic's own default is what Airflow uses: in a database shared by mistake each would take the other's for its own."""

_UPGRADE_LOCK = 0x77696E64
"""One number for PostgreSQL's advisory locks; no other program's."""

_one_thread = threading.Lock()  # Alembic keeps the migration under way in a module


MIGRATIONS = Path(__file__).parent / "migrations"


def needed_version() -> str:
    """The version this windsor_sync works with."""
    return known_versions()[-1]


@cache
def known_versions() -> list[str]:
    """Return the versions that there are, the newest last: a migration's file begins with the one that it leads to."""
    names = (path.name for path in (MIGRATIONS / "versions").iterdir() if path.suffix == ".py")
    return sorted(name.partition("_")[0] for name in names if name[0].isdigit())


def version_of(engine: Engine) -> str | None:
    """The version the tables have; None when there are none. Waits for no writer."""
    with engine.execution_options(**READ_OPTIONS[engine.dialect.name]).connect() as connection:
        return _version(connection)


def upgrade(engine: Engine, key: KeyPlace) -> None:
    """Apply the migrations that are missing, all or none; safe to call from several processes at once.

    Raises ConfigError when the state is of a newer windsor_sync, or needs a key of the suppressions and none can be made.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with _one_thread, engine.begin() as connection:  # SQLite's write lock is taken here: the second comer finds it done
        if engine.dialect.name != "sqlite":
            connection.execute(select(func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
        refuse_newer(engine, _version(connection))
        config.attributes["connection"] = connection
        config.attributes["key"] = key
        command.upgrade(config, "head")


def require_needed(engine: Engine, found: str | None) -> None:
    """Raise ConfigError unless `found` is the version this windsor_sync needs."""
    refuse_newer(engine, found)
    if found != needed_version():
        raise ConfigError(
            f"The state database {shown_url(engine.url)} is at version {found or 'none'}, this windsor_sync needs "
            f"{needed_version()}. Nothing was done. Run `windsor-sync state upgrade` once, on one machine."
        )


def refuse_newer(engine: Engine, found: str | None) -> None:
    """Raise ConfigError for a version this windsor_sync has never heard of."""
    if found is not None and found not in known_versions():
        raise ConfigError(
            f"The state database {shown_url(engine.url)} is at version {found}, of a newer windsor_sync; this one knows versions "
            f"up to {needed_version()}. Nothing was done. Install the newer windsor_sync on this machine too."
        )


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return found
