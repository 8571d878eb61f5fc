"""Tells what the rows of a file are: members or values, of how many users."""

from dataclasses import dataclass

import duckdb

from windsor_sync.errors import SnapshotError
from windsor_sync.segment.trait_keys import TraitKey
from windsor_sync.settings.choices import SnapshotFormat
from windsor_sync.sources import open_source
from windsor_sync.sources.beginning import first_rows
from windsor_sync.sources.files import SourceFile, files_of
from windsor_sync.sources.text import scratch_folder_of
from windsor_sync.storage.duckdb_engine import open_duckdb


@dataclass(frozen=True, slots=True)
class Contents:
    """The facts that the rows of a file show."""

    rows: int
    users: int
    """different ones"""
    has_values: bool
    """values of a computed trait; true and false mean an audience"""
    by_anonymous_id: bool


def contents_of(file: SourceFile, format: SnapshotFormat, key: TraitKey) -> Contents:
    """Return what the first rows of a file are. Raises SnapshotError for a file that cannot be used."""
    first, is_text = file.parts[0] if file.parts else file, format is not SnapshotFormat.PARQUET
    try:
        with (
            open_duckdb(*files_of(file)) as connection,
            first_rows(first, scratch_folder_of(connection), is_text=is_text) as path,
        ):
            has_values = _has_values(path, format, key, connection)
            if not has_values:
                open_source(path, format=format, members_of=key).load(connection)
            return _counted(connection, has_values=has_values)
    except duckdb.Error as error:
        raise SnapshotError(f"the newest file cannot be read ({type(error).__name__})") from None


def _has_values(path: str, format: SnapshotFormat, key: TraitKey, connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the file has values of a computed trait; true and false are an audience's."""
    try:
        open_source(path, format=format, value_of=key).load(connection)
    except SnapshotError:
        return False
    others = "SELECT count(*) FILTER (value NOT IN ('true', 'false')) FROM (FROM rows LIMIT 100_000)"
    [(others,)] = connection.execute(others).fetchall()
    return bool(others)


def _counted(connection: duckdb.DuckDBPyConnection, *, has_values: bool) -> Contents:
    [(rows, different, users, strangers)] = connection.execute(
        "SELECT count(*), count(DISTINCT coalesce(user_id, anonymous_id)), count(user_id), count(anonymous_id) "
        "FROM (FROM rows LIMIT 100_000)"
    ).fetchall()
    return Contents(rows, different, has_values, bool(strangers and not users))
