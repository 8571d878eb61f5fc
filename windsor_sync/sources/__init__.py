"""Outside data that says who is in an audience, or who has which value; each source yields the same canonical rows.

The rows, a DuckDB table or view called `rows`:

- line BIGINT: number of the row in its source, counted from 1
- user_id, anonymous_id, profile_id VARCHAR: as they are written, to the letter
- emails VARCHAR[]: trimmed, in the source's order; empty or null for none
- value VARCHAR: JSON text; null where there is no value. Of an audience: false for who is not a member, else null
- malformed VARCHAR: why the row cannot be used, or null

A row that names several user ids yields as many rows of the same number.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Protocol, TypedDict

import duckdb

from windsor_sync.errors import ConfigError
from windsor_sync.settings.patterns import literal
from windsor_sync.sources.beginning import FIRST_ROWS, first_rows
from windsor_sync.sources.engage_csv import EngageCsvSource
from windsor_sync.sources.files import SourceFile, files_of, newest
from windsor_sync.sources.joined import JoinedSource
from windsor_sync.sources.json_text import MaybeNumbers
from windsor_sync.sources.refusal import AGAIN, unusable
from windsor_sync.sources.text import scratch_folder_of
from windsor_sync.sources.text_tables import CsvSource, JsonLinesSource
from windsor_sync.sources.typed_tables import DataFrameSource, ParquetSource
from windsor_sync.sources.warehouse import (
    Connections,
    EngageTables,
    ProfilesSync,
    Query,
    Question,
    Wanted,
    WarehouseSource,
    engine_from_environment,
)
from windsor_sync.storage.duckdb_engine import open_duckdb

__all__ = [
    "Connections",
    "CsvSource",
    "DataFrameSource",
    "EngageCsvSource",
    "JoinedSource",
    "JsonLinesSource",
    "ParquetSource",
    "Source",
    "SourceFile",
    "WarehouseSource",
    "engine_from_environment",
    "look_into",
    "look_into_query",
    "newest",
    "open_source",
    "source_for",
]


class Source(Protocol):
    """A source of rows, as sealing needs it."""

    @property
    def origin(self) -> SourceFile | None:
        """The file, where it is one."""

    @property
    def columns(self) -> frozenset[str]:
        """Return which canonical columns the source has as columns of its own; known after `load`."""

    @property
    def numbers(self) -> MaybeNumbers | None:
        """The column whose values are texts that may be numbers; known after `load`."""

    @property
    def unit(self) -> str:
        """The unit that `physical_lines` counts: `line` or `row`."""

    def load(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Create `rows`. Raises SnapshotError when the source cannot be used."""

    def refuse_cut_short(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Raise SnapshotError if the last row is malformed: the rest may be missing. Asked where some row is."""

    def physical_lines(self, rows: Sequence[int]) -> tuple[int, ...]:
        """Return where rows, given by `line`, are in the file as an editor counts; to be asked on the engine of `load`."""

    def describe(self) -> str:
        """Return the name of the source, for a message."""


class SnapshotSettings(Protocol):
    """The source of a snapshot, as windsor.yaml says."""

    @property
    def path(self) -> str | None: ...
    @property
    def format(self) -> str | None: ...
    @property
    def columns(self) -> Mapping[str, str]: ...
    @property
    def taken_at(self) -> str | None: ...
    @property
    def consists_of(self) -> str | None: ...
    @property
    def connection(self) -> str | None: ...
    @property
    def query(self) -> str | None: ...
    @property
    def profiles_sync(self) -> str | None: ...
    @property
    def engage(self) -> str | None: ...
    @property
    def query_timeout(self) -> timedelta | None: ...


class SourceSettings(Protocol):
    """An audience or computed trait, as far as its source goes."""

    @property
    def name(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def computation_class(self) -> str: ...
    @property
    def identify_by(self) -> str: ...
    @property
    def snapshot(self) -> SnapshotSettings: ...


def source_for(
    computation: SourceSettings, path: str | None = None, connections: Connections = engine_from_environment
) -> Source:
    """The source of an audience or computed trait: its warehouse, its newest file, or the file at `path`.

    A warehouse is not connected to before the source is loaded. Raises SnapshotError when there is no such file.
    """
    settings = computation.snapshot
    found = path or settings.path
    if found is None:
        return _warehouse_source(computation, connections)
    # With a file of the pattern come those that belong to it there.
    is_part = path is not None and settings.path is not None and settings.consists_of is not None and path[-1] != "/"
    return open_source(
        settings.path if is_part and settings.path else found,
        at=path if is_part else None,
        consists_of=settings.consists_of,
        format=settings.format,
        columns=settings.columns,
        taken_at=settings.taken_at,
        **_keys(computation),
    )


def look_into(computation: SourceSettings, file: SourceFile) -> None:
    """Read the first rows of an audience's or computed trait's file by the rules of a sync.

    Raises SnapshotError for a file that cannot be used, as far as its beginning tells.
    """
    first = file.parts[0] if file.parts else file
    kind = computation.snapshot.format or _format(first.path)
    with (
        open_duckdb(*files_of(file)) as connection,
        first_rows(first, scratch_folder_of(connection), is_text=kind != "parquet") as path,
    ):
        pattern = path if path != first.path else literal(path)
        source = open_source(pattern, format=kind, columns=computation.snapshot.columns, **_keys(computation))
        try:
            source.load(connection)
        except duckdb.Error:  # what it says may quote the rows
            raise unusable(f"{first.path} is damaged: its first rows cannot be read.", AGAIN) from None


def look_into_query(computation: SourceSettings, connections: Connections) -> None:
    """Read the first rows that an audience's or computed trait's query returns, or its tables have, by the rules of a sync.

    Raises SnapshotError or ConfigError for a query that cannot be used, as far as these rows tell.
    """
    with open_duckdb() as connection:
        _warehouse_source(computation, connections).load(connection, FIRST_ROWS)


def _keys(computation: SourceSettings) -> "Keys":
    is_audience = computation.computation_class == "audience"
    return Keys(value_of=None if is_audience else computation.key, members_of=computation.key if is_audience else None)


def _warehouse_source(computation: SourceSettings, connections: Connections) -> WarehouseSource:
    settings = computation.snapshot
    is_audience = computation.computation_class == "audience"
    question: Question
    if settings.query is not None:
        keys = (None, computation.key) if is_audience else (computation.key, None)
        question = Query(settings.query, settings.columns, *keys)
    else:
        schema = settings.profiles_sync or settings.engage or ""
        wanted = Wanted(schema, computation.key, is_audience, settings.columns.get("value"))
        if settings.profiles_sync is not None:
            question = ProfilesSync(wanted)
        else:
            question = EngageTables(wanted, with_anonymous=computation.identify_by == "anonymous_id")
    return WarehouseSource(settings.connection or "", question, connections, settings.query_timeout)


class Keys(TypedDict):
    """The key whose values, or members, a source is asked for."""

    value_of: str | None
    members_of: str | None


def open_source(
    path: str,
    *,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    taken_at: str | None = None,
    value_of: str | None = None,
    members_of: str | None = None,
    consists_of: str | None = None,
    at: str | None = None,
) -> Source:
    """The newest file of a path or pattern: engage_csv, csv, jsonl or parquet, by default as its name ends.

    `value_of` is the key of the computed trait whose values are wanted; None for an audience, whose key is `members_of`.
    """
    found = newest(path, taken_at, consists_of=consists_of, at=at)
    keys = Keys(value_of=value_of, members_of=members_of)
    sources = [_source(file, format, columns, keys) for file in found.parts or (found,)]
    return JoinedSource(found, sources) if found.parts else sources[0]


def _source(file: SourceFile, format: str | None, columns: Mapping[str, str] | None, keys: Keys) -> Source:
    match format or _format(file.path):
        case "engage_csv":
            return EngageCsvSource(file, **keys)
        case "csv":
            return CsvSource(file, columns=columns, **keys)
        case "jsonl":
            return JsonLinesSource(file, columns=columns, **keys)
        case "parquet":
            return ParquetSource(file, columns=columns, **keys)
    raise ConfigError(
        f"It cannot be told from its name what kind of file {file.path} is. Nothing was sent. "
        "Set format: engage_csv, csv, jsonl or parquet."
    )


def _format(path: str) -> str | None:
    suffixes = PurePosixPath(path.lower()).suffixes
    if suffixes and suffixes[-1] in {".gz", ".bz2", ".xz", ".zst", ".zip"}:
        suffixes.pop()
    formats = {".csv": "engage_csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    return formats.get(suffixes[-1]) if suffixes else None
