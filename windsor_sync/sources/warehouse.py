"""A snapshot from a warehouse: a query of your own, or the tables of Profiles Sync or Engage.

The answer is streamed, never whole in memory: from a cursor on the server into a table that DuckDB spills to disk. An
answer that breaks off is no snapshot.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count, islice
from typing import Any, NamedTuple, Protocol

import duckdb
from sqlalchemy import Engine

from windsor_sync.sources.columns import OURS, columns_among, hint, recognized
from windsor_sync.sources.csv_text import shown_columns
from windsor_sync.sources.files import SourceFile
from windsor_sync.sources.json_text import define_macros
from windsor_sync.sources.membership import Flag, define_rows, flag_of
from windsor_sync.sources.refusal import unusable
from windsor_sync.sources.warehouse_cells import (
    UnreadableCell,
    emails_text,
    flag_text,
    id_text,
    untyped_value_text,
    value_text,
)
from windsor_sync.sources.warehouse_schemas import Profile, Wanted, identified, profiles, users
from windsor_sync.sources.warehouse_session import CHUNK_ROWS, QueryResult, Warehouse, engine_from_environment, opened

__all__ = [
    "Connections",
    "EngageTables",
    "ProfilesSync",
    "Query",
    "Question",
    "Wanted",
    "WarehouseSource",
    "engine_from_environment",
]

Connections = Callable[[str], Engine]
"""From a connection's id to the warehouse behind it: `engine_from_environment`, or Airflow's connections."""


class Staged(NamedTuple):
    """One row on its way into DuckDB, all text."""

    line: int
    user_id: str | None = None
    anonymous_id: str | None = None
    emails: str | None = None
    profile_id: str | None = None
    value: str | None = None
    malformed: str | None = None


Found = tuple[frozenset[str], Iterator[Staged], Flag | None]


class Question(Protocol):
    """A query to a warehouse, and how its result becomes rows."""

    @property
    def subject(self) -> str:
        """Return the name of the source, for a message."""

    def rows(self, warehouse: Warehouse) -> Found:
        """Return which of our columns the answer has, its rows as they come, and which column may say who is a member."""


@dataclass(frozen=True, slots=True)
class Query:
    """Any SQL: each row is a member, or a user with a value; its columns are known by their names, in any case."""

    sql: str
    columns: Mapping[str, str]
    """ours → the query's, where the names differ"""
    value_of: str | None = None
    """the key of the computed trait whose values are wanted; None for an audience"""
    members_of: str | None = None
    """the key of the audience"""

    @property
    def subject(self) -> str:
        return "the query"

    def rows(self, warehouse: Warehouse) -> Found:
        answer = warehouse.ask(self.sql.rstrip().rstrip(";"))
        places = _places(answer.names, self.columns, self.value_of, self.members_of, warehouse.place)
        if self.value_of is not None:
            return frozenset(places), _rows(answer, places), None
        flag = flag_of(answer.names, self.members_of, self.columns, f"The query at {warehouse.place}")
        if flag is None:
            return frozenset(places), _rows(answer, places), None
        places["value"] = list(answer.names).index(flag.column)
        return frozenset(places), _rows(answer, places, flag_text), flag


@dataclass(frozen=True, slots=True)
class ProfilesSync:
    """The tables that Profiles Sync, or its dbt package, makes."""

    wanted: Wanted

    @property
    def subject(self) -> str:
        return f"{self.wanted.schema} (Profiles Sync)"

    def rows(self, warehouse: Warehouse) -> Found:
        return frozenset(OURS), _of_profiles(profiles(warehouse, self.wanted), self.wanted), None


@dataclass(frozen=True, slots=True)
class EngageTables:
    """The schema that Engage writes: `users`, or `identifies` where there is none or anonymous users count."""

    wanted: Wanted
    with_anonymous: bool = False

    @property
    def subject(self) -> str:
        return f"{self.wanted.schema} (Engage)"

    def rows(self, warehouse: Warehouse) -> Found:
        answer = None if self.with_anonymous else users(warehouse, self.wanted)
        if answer is None:
            return frozenset(OURS), _of_profiles(identified(warehouse, self.wanted), self.wanted), None
        places = {name: place for place, name in enumerate(answer.names)}
        return frozenset(places), _rows(answer, places), None


class WarehouseSource:
    """The answer to one question, asked when it is loaded."""

    origin: SourceFile | None = None
    unit = "row"
    numbers = None
    """its types say what is a number"""

    def __init__(
        self,
        connection: str,
        question: Question,
        connections: Connections = engine_from_environment,
        query_timeout: timedelta | None = None,
    ) -> None:
        self.columns: frozenset[str] = frozenset()
        self._place = f"connection {connection}"
        self._question = question
        self._engine = partial(connections, connection)
        self._query_timeout = query_timeout

    def describe(self) -> str:
        """Say what is read."""
        return f"{self._question.subject} at {self._place}"

    def load(self, connection: duckdb.DuckDBPyConnection, most: int | None = None) -> None:
        """Define the view `rows`, of the first `most` rows where it is given.

        Raises ConfigError or SnapshotError for a warehouse that does not answer or return its last row in time.
        """
        define_macros(connection)
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE staged (line BIGINT, user_id VARCHAR, anonymous_id VARCHAR, emails VARCHAR, "
            "profile_id VARCHAR, value VARCHAR, malformed VARCHAR)"
        )
        with opened(self._engine(), self._place, self._query_timeout) as warehouse:
            self.columns, rows, flag = self._question.rows(warehouse)
            _stage(connection, islice(rows, most))
        is_flag = define_rows(connection, _select(is_json=flag is None), flag, self.describe())
        if flag and not is_flag and flag.column.lower() == "value":
            raise unusable(
                f"{self.describe()}: the column value of an audience says neither true nor false.",
                "Leave it out, and keep only the members with WHERE.",
            )

    def refuse_cut_short(self, connection: duckdb.DuckDBPyConnection) -> None:
        """An answer that breaks off was refused when it was read."""

    def physical_lines(self, rows: Sequence[int]) -> tuple[int, ...]:
        """Rows of the answer, counted from 1."""
        return tuple(sorted(set(rows)))


def _select(*, is_json: bool) -> str:
    """The canonical rows as SQL over `staged`."""
    value, bad = "value", "NULL"
    if is_json:
        value = "CASE WHEN is_json(value) THEN tidy_json(nullif(value, 'null')) END"
        bad = "CASE WHEN NOT is_json(value) THEN 'a value that is not JSON' END"
    return f"""
        SELECT line, user_id, anonymous_id, mails(string_split(emails, chr(10))) AS emails, profile_id,
            {value} AS value, coalesce(malformed, {bad}) AS malformed
        FROM staged
    """


def _stage(connection: duckdb.DuckDBPyConnection, rows: Iterator[Staged]) -> None:
    import pandas as pd

    while chunk := list(islice(rows, CHUNK_ROWS)):
        line, *texts = zip(*chunk, strict=True)
        # A declared text type: of a column of Python objects DuckDB would take a sample, and 00123 for a number.
        columns = {
            name: pd.array(cells, dtype="string[python]") for name, cells in zip(Staged._fields[1:], texts, strict=True)
        }
        connection.register("arrived", pd.DataFrame({"line": line, **columns}))
        connection.execute("INSERT INTO staged SELECT * FROM arrived")
        connection.unregister("arrived")


def _places(
    names: Sequence[str], mapping: Mapping[str, str], value_of: str | None, members_of: str | None, place: str
) -> dict[str, int]:
    """Return where each of our columns stands in the answer."""
    lowered = [name.lower() for name in names]
    keys = [key.lower() for key in (value_of, members_of) if key]
    meant = {ours: theirs.lower() for ours, theirs in mapping.items()}
    folded = list(recognized(lowered, f"The query at {place}", meant, keys))
    known = columns_among(folded, meant, value_of.lower() if value_of else None, mapping.keys())
    twice = [name for name in known.theirs.values() if folded.count(name) > 1]
    if twice:
        raise unusable(
            f"The query at {place} returns several columns called {', '.join(twice)}.", "Name them apart with AS."
        )
    if known.missing:
        raise unusable(
            f"The query at {place} returns no column {', '.join(known.missing)}: found {shown_columns(tuple(names))}.",
            "Name it with AS in the query, or in the snapshot's columns setting." + hint(tuple(names)),
        )
    return {ours: folded.index(name) for ours, name in known.found.items()}


def _rows(
    answer: QueryResult, places: Mapping[str, int], as_value: Callable[[Any], str | None] = value_text
) -> Iterator[Staged]:
    user_id, anonymous_id, email, profile_id, value = (places.get(ours, -1) for ours in OURS)
    numbers = count(1)
    for chunk in answer.chunks:
        for row in chunk:
            cells = (*row, None)  # a column that the answer lacks stands at -1
            ids = (cells[user_id], cells[anonymous_id])
            yield _row(next(numbers), ids, cells[email], cells[profile_id], as_value, cells[value])


def _row(
    line: int, ids: tuple[Any, Any], emails: Any, profile_id: Any, as_value: Callable[[Any], str | None], value: Any
) -> Staged:
    user_id = anonymous_id = None
    try:
        user_id, anonymous_id = map(id_text, ids)
        return Staged(line, user_id, anonymous_id, emails_text(emails), id_text(profile_id), as_value(value))
    except UnreadableCell as problem:
        return Staged(line, user_id, anonymous_id, malformed=str(problem))


def _of_profiles(found: Iterator[Profile], wanted: Wanted) -> Iterator[Staged]:
    """A row for each user id of a profile; one without any goes by its first anonymous id."""
    for line, profile in enumerate(found, start=1):
        as_value = untyped_value_text if profile.is_untyped else value_text
        value = None if wanted.is_audience else profile.value
        anonymous_id = next(iter(profile.ids["anonymous_id"]), None)
        for user_id in profile.ids["user_id"] or (None,):
            yield _row(line, (user_id, anonymous_id), profile.ids["email"], profile.profile_id, as_value, value)
