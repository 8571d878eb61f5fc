"""One reading of a warehouse: questions asked over one connection, answers streamed, errors in our words."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Executable, create_engine, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchTableError
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.types import TypeEngine

from windsor_sync.errors import ConfigError
from windsor_sync.sources.refusal import unusable
from windsor_sync.sources.warehouse_deadline import Deadline
from windsor_sync.sources.warehouse_errors import translated

CHUNK_ROWS = 10_000
"""Rows in memory at a time, on our side and in the driver."""

VARIABLE_PREFIX = "WINDSOR_CONNECTION_"

# Most drivers fetch a whole answer before they hand over its first row, unless they are asked for a cursor on the server.
STREAMED = {"stream_results": True, "max_row_buffer": CHUNK_ROWS}
# A server that vanished without a word is noticed; the URL's own parameters win.
LIBPQ_TIMEOUTS = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The result of a query: column names once, rows as they arrive."""

    names: tuple[str, ...]
    chunks: Iterator[Sequence[Sequence[Any]]]
    """read once; raises SnapshotError when the connection is lost before the last row"""


@dataclass(frozen=True, slots=True)
class Warehouse:
    """An open connection. Nothing is written: every transaction is rolled back, on PostgreSQL it is read-only."""

    connection: Connection
    place: str
    """the connection as messages name it"""
    deadline: Deadline

    def ask(self, question: str | Executable) -> QueryResult:
        """Ask for rows; a text goes to the database to the letter. Raises ConfigError or SnapshotError."""
        with self._asking():
            if isinstance(question, str):
                # Without parameters, so that no driver takes the % of a LIKE for one.
                result = self.connection.exec_driver_sql(question, None, {**STREAMED, "no_parameters": True})
            else:
                result = self.connection.execute(question, execution_options=STREAMED)
        if not result.returns_rows:
            raise unusable(f"The query at {self.place} returns no rows at all.", "Make it a SELECT.")
        return QueryResult(tuple(result.keys()), self._chunks(result))

    def columns_of(self, table: str, schema: str) -> dict[str, TypeEngine[Any]] | None:
        """The columns of a table with their types; None where there is no such table."""
        with self._asking():
            try:
                columns = inspect(self.connection).get_columns(table, schema=schema)
            except NoSuchTableError:
                return None
        return {column["name"]: column["type"] for column in columns} or None

    def schema_in_sql(self, schema: str) -> str:
        """A schema's name for use in a statement; `database.schema` is quoted part by part."""
        if "." not in schema:
            return schema
        quote = self.connection.dialect.identifier_preparer.quote
        return quoted_name(".".join(quote(part) for part in schema.split(".")), quote=False)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with self.deadline.kept(self.place), translated(self.place):
            yield

    def _chunks(self, result: Any) -> Iterator[Sequence[Sequence[Any]]]:
        while True:
            with self._asking():
                rows = result.fetchmany(CHUNK_ROWS)
            if not rows:
                return
            yield rows


@contextmanager
def opened(engine: Engine, place: str, limit: timedelta | None = None) -> Iterator[Warehouse]:
    """Connect, and let go of everything afterwards. Raises ConfigError or SnapshotError when that fails.

    All rows have to arrive within `limit`. After that the driver is told to cancel the query.
    """
    deadline = Deadline(limit)
    try:
        with translated(place, connecting=True):
            connection = engine.connect()
        with connection:
            if engine.dialect.name == "postgresql":
                connection.execution_options(postgresql_readonly=True)
            with deadline.running(connection):
                yield Warehouse(connection, place, deadline)
    finally:
        engine.dispose()


def variable_of(connection: str) -> str:
    """Return the environment variable that stands for one of Airflow's connections."""
    return VARIABLE_PREFIX + re.sub(r"\W", "_", connection, flags=re.ASCII).upper()


def engine_from_environment(connection: str) -> Engine:
    """The warehouse by the SQLAlchemy URL in the variable named after the connection; raises ConfigError without one."""
    variable = variable_of(connection)
    url = os.environ.get(variable, "").strip()
    if not url:
        raise ConfigError(
            f"There is no URL for connection {connection}. Nothing was sent. Set the environment variable {variable} to the "
            "warehouse's SQLAlchemy URL, such as postgresql+psycopg://USER:PASSWORD@HOST/DATABASE; in Airflow, add a "
            "connection of that id."
        )
    return _engine(url, variable)


def _engine(url: str, variable: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        is_libpq = parsed.drivername in ("postgresql+psycopg", "postgresql+psycopg2")
        timeouts = {name: value for name, value in LIBPQ_TIMEOUTS.items() if is_libpq and name not in parsed.query}
        return create_engine(parsed, connect_args=timeouts, hide_parameters=True)
    except ImportError as error:
        package = (error.name or "").split(".")[0] or "its driver"
        problem, remedy = (
            f"needs {package}, which is not installed",
            f"Install it (for example: pip install {package}).",
        )
    except (ArgumentError, ValueError):
        problem = "is no URL of a database that SQLAlchemy knows here (not shown: it may hold a password)"
        remedy = "Correct it, or install the SQLAlchemy dialect of that database."
    raise ConfigError(f"The variable {variable} {problem}. Nothing was sent. {remedy}")
