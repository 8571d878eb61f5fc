"""Copies a whole state from one database to another, SQLite or PostgreSQL, and marks the old one as moved.

Nobody writes to either meanwhile. The target changes in one transaction: a copy that is killed leaves it as it was. The
target is committed first and the mark second; a process killed in between leaves both usable, and the repeat of the command
replaces the copy.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Insert,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    inspect,
    literal,
    select,
    text,
)

from windsor_sync.errors import ConfigError, StateUnavailable
from windsor_sync.private import Access
from windsor_sync.state.audit_log import trail
from windsor_sync.state.connections import READ_OPTIONS, shown_url
from windsor_sync.state.database import Database, open_database, opened_as_it_is, upgrade_database
from windsor_sync.state.leases import require_nobody
from windsor_sync.state.moved import Moved, mark, moved, unmark
from windsor_sync.state.suppression_key import KeyPlace, key_place
from windsor_sync.state.suppressions import require_key
from windsor_sync.state.tables import audiences, audit_trail, installation, leases, metadata, rate_shares
from windsor_sync.state.upgrading import version_of

CHUNK_ROWS = 10_000
"""Rows in memory at a time."""

PASSING = frozenset({installation, leases, rate_shares})
"""Tables that have rows also where nothing was ever synced."""

Report = Callable[[str, int, int], None]
"""Takes what is being done, the rows done so far, and how many there are."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A state that was copied."""

    source: str
    target: str
    """both as URLs, without what may be secret"""
    rows: Mapping[str, int]
    """of each table"""
    has_replaced: bool
    """whether the target held an earlier copy"""
    key_at: str | None
    """the file or variable that has the key of the suppressions; None where none was used yet"""


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of a table; the order of its rows does not count, since databases differ in it."""

    rows: int = 0
    digest: int = 0

    def with_rows(self, rows: list[tuple[Any, ...]]) -> "_Content":
        """Return the content with these rows added."""
        hashes = (hashlib.blake2b(repr(row).encode(), digest_size=16).digest() for row in rows)
        added = sum(int.from_bytes(found) for found in hashes)
        return _Content(self.rows + len(rows), (self.digest + added) % 2**128)


def copy_state(
    source_url: str,
    target_url: str,
    report: Report = lambda *_: None,
    *,
    folder: Path | None = None,
    access: Access = Access.OWNER,
) -> Copied:
    """Copy every table of the state into the database at `target_url`, compare the two, and mark the source as moved.

    The target gets the tables it lacks. An earlier copy of the same state is replaced. Raises ConfigError when the target
    holds anything else, LeaseHeld when a run is writing on either side, StateUnavailable when trying again may help;
    the target is as it was then.
    The key of the suppressions goes along, from file to file. `folder`: the one of windsor.yaml.
    """
    with ExitStack() as opened:
        source = open_database(source_url, key_place(source_url, folder), access=access, may_have_moved=True)
        opened.callback(source.close)
        with _named_as_target():
            place = key_place(target_url, folder)
            _prepare(target_url, source, place, access)
            target = open_database(target_url, place, access=access, may_have_moved=True)
        opened.callback(target.close)
        _refuse_itself(source.engine, target.engine)
        key = require_key(source)
        with source.alone() as old:
            require_nobody(source, old)
            _refuse_other_home(moved(old), source.engine, target.engine)
            unmark(old)  # the copy has no mark
            with target.alone() as new:
                require_nobody(target, new)
                has_replaced = _holds_rows(new)
                if has_replaced:
                    _refuse_used(old, new)
                rows = _copy(old, new, report)
                if key is not None:
                    place.take(key)
            mark(old, target.engine.url)
        key_at = None if key is None else str(place)
        return Copied(shown_url(source.engine.url), shown_url(target.engine.url), rows, has_replaced, key_at)


def reopen(url: str, who: str) -> Moved | None:
    """Take the mark of a moved state back; returns what it said, None where there was none."""
    database = open_database(url, may_have_moved=True)
    try:
        with database.alone() as connection:
            found = moved(connection)
            if found is not None:
                unmark(connection)
                trail(connection, who=who, what="state reopen", subject=found.to, why=None)
            return found
    finally:
        database.close()


# -- rows ----------------------------------------------------------------------------------------------------


def _copy(old: Connection, new: Connection, report: Report) -> dict[str, int]:
    """Replace all rows of `new` by those of `old`, and compare what arrived; returns the rows of each table."""
    for table in reversed(metadata.sorted_tables):
        new.execute(delete(table))
    written = {table: _fill(old, new, table, report) for table in metadata.sorted_tables}
    for table, content in written.items():
        if _content(new, table, content.rows, report) != content:
            raise StateUnavailable(
                f"The copy of the table {table.name} is not what was read. The target was left as it was, and the state too. "
                "Run the command again; if it fails again, check the disk of the target."
            )
        restart_numbers(new, table)
    return {table.name: content.rows for table, content in written.items()}


def _fill(old: Connection, new: Connection, table: Table, report: Report) -> _Content:
    content = _Content()
    expected = old.execute(select(func.count()).select_from(table)).scalar_one()
    names = [_parameter(column) for column in table.columns]
    statement = _insert(table, new)
    for rows in _chunks(old, table):
        new.execute(statement, [dict(zip(names, row, strict=True)) for row in rows])
        content = content.with_rows(rows)
        report(f"copying {table.name}", content.rows, expected)
    return content


def _content(connection: Connection, table: Table, expected: int, report: Report) -> _Content:
    content = _Content()
    for rows in _chunks(connection, table):
        content = content.with_rows(rows)
        report(f"comparing {table.name}", content.rows, expected)
    return content


def _chunks(connection: Connection, table: Table) -> Iterator[list[tuple[Any, ...]]]:
    """All rows of the table, in any order; JSON as the text that it is stored as."""
    columns = [cast(column, Text) if _is_json(column) else column for column in table.columns]
    for rows in connection.execute(select(*columns).execution_options(yield_per=CHUNK_ROWS)).partitions():
        yield [tuple(row) for row in rows]


def _insert(table: Table, connection: Connection) -> Insert:
    is_postgresql = connection.dialect.name == "postgresql"
    values: dict[str, ColumnElement[Any]] = {}
    for column in table.columns:
        parameter = bindparam(_parameter(column), type_=Text() if _is_json(column) else column.type)
        # SQLite keeps JSON as text, and would make a number of what is cast to another type.
        values[column.name] = cast(parameter, column.type) if _is_json(column) and is_postgresql else parameter
    return insert(table).values(values)


def _parameter(column: Column[Any]) -> str:
    return f"of_{column.name}"


def _is_json(column: Column[Any]) -> bool:
    return isinstance(column.type, JSON)


def restart_audience_numbers(connection: Connection) -> None:
    """Let the next audience come after those that came with a number."""
    restart_numbers(connection, audiences)


def restart_numbers(connection: Connection, table: Table) -> None:
    """Let the next row that PostgreSQL numbers itself come after those that came with a number."""
    column = table.autoincrement_column
    if column is None or connection.dialect.name != "postgresql":
        return
    sequence = connection.execute(select(func.pg_get_serial_sequence(table.name, column.name))).scalar_one()
    if sequence is not None:
        following = connection.execute(select(func.coalesce(func.max(column), 0) + 1)).scalar_one()
        connection.execute(text(f"ALTER SEQUENCE {sequence} RESTART WITH {int(following)}"))


# -- what may be written over --------------------------------------------------------------------------------


def _prepare(target_url: str, source: Database, key: KeyPlace, access: Access) -> None:
    """Give the target the tables it lacks; another installation's stay at their version."""
    with opened_as_it_is(target_url) as engine:
        if version_of(engine) is not None:
            _refuse_other(engine, source.installation())
    upgrade_database(target_url, key, access=access)


def _refuse_other(target: Engine, ours: str) -> None:
    """Raise ConfigError when the target has another installation's rows."""
    with target.execution_options(**READ_OPTIONS[target.dialect.name]).connect() as connection:
        names = set(inspect(connection).get_table_names())
        theirs = connection.execute(select(installation.c.id)).scalar_one_or_none()
        if theirs != ours and _holds_rows(connection, names):
            raise ConfigError(
                f"The database {shown_url(target.url)} holds the state of another installation. Nothing was done. Name a "
                "database without tables."
            )


def _holds_rows(connection: Connection, names: set[str] | None = None) -> bool:
    """Whether anything was ever synced there; `names`: of the tables that there are, when some may be missing."""
    asked = [table for table in metadata.sorted_tables if table not in PASSING]
    if names is not None:
        asked = [table for table in asked if table.name in names]
    return any(
        connection.execute(select(literal(1)).select_from(table).limit(1)).first() is not None for table in asked
    )


def _refuse_itself(source: Engine, target: Engine) -> None:
    """Raise ConfigError when both are one database, whatever their URLs."""
    if _identity(source) == _identity(target):
        raise ConfigError(
            f"{shown_url(target.url)} is the database that holds the state now. Nothing was done. Name another database."
        )


def _identity(engine: Engine) -> object:
    if engine.dialect.name == "sqlite":
        found = Path(str(engine.url.database)).stat()
        return found.st_dev, found.st_ino
    here = text("SELECT pg_postmaster_start_time(), oid FROM pg_database WHERE datname = current_database()")
    with engine.connect() as connection:
        return tuple(connection.execute(here).one())


def _refuse_other_home(before: Moved | None, source: Engine, target: Engine) -> None:
    """Raise ConfigError for a state that was moved to another database before: the newer state is there."""
    if before is not None and before.to != shown_url(target.url):
        raise ConfigError(
            f"The state {shown_url(source.url)} was moved to {before.to} before. Nothing was done. Write that URL as `state` "
            "into windsor.yaml and copy from there. Only if that copy was never used: `windsor-sync state reopen`."
        )


def _refuse_used(old: Connection, new: Connection) -> None:
    """Raise ConfigError when the copy in `new` was used since, so that it knows what `old` does not."""
    tokens = {row.resource: row.token for row in old.execute(select(leases.c.resource, leases.c.token))}
    has_run = any(
        row.token > tokens.get(row.resource, 0) for row in new.execute(select(leases.c.resource, leases.c.token))
    )
    if has_run or not _deeds(new) <= _deeds(old):
        raise ConfigError(
            f"The copy in {shown_url(new.engine.url)} has been used since it was made. Nothing was done: what Windsor was told "
            "from there would be forgotten. Write its URL as `state` into windsor.yaml to go on with it, or name another "
            "database."
        )


def _deeds(connection: Connection) -> set[tuple[Any, ...]]:
    """Return the acts of people: approved, forgot, retired."""
    columns = (audit_trail.c.at, audit_trail.c.who, audit_trail.c.what, audit_trail.c.subject)
    return {tuple(row) for row in connection.execute(select(*columns))}


@contextmanager
def _named_as_target() -> Iterator[None]:
    """Let a sentence about the target's URL name the option it comes from."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(str(error).replace("`state` in windsor.yaml", "the URL of --to")) from None
