"""Which files of a folder are snapshots, of what, and how they are to be read: the sources themselves are asked."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from windsor_sync.domain.labels import counted
from windsor_sync.errors import ConfigError, SnapshotError
from windsor_sync.segment.trait_keys import TraitKey, key_problem, trait_key
from windsor_sync.settings.choices import SnapshotFormat, format_of
from windsor_sync.settings.patterns import below
from windsor_sync.sources import newest, open_source
from windsor_sync.sources.beginning import first_rows
from windsor_sync.storage.duckdb_engine import open_duckdb
from windsor_sync.usecases.init.grouping import Group, groups_in
from windsor_sync.usecases.init.listing import Listing

MOST_OPENED = 50
MOST_ROWS_A_USER, FEW_ROWS = 2, 20
"""more rows for a user are no snapshot, but nothing is said of a file with few rows"""
NO_STATE_YET = " Nothing was sent; the last good snapshot stands."


@dataclass(frozen=True, slots=True)
class FoundSnapshot:
    """Files that windsor.yaml can have as the snapshot of an audience or computed trait."""

    name: str
    key: TraitKey
    is_trait: bool
    pattern: str
    """relative to where the look began"""
    format: SnapshotFormat
    by_anonymous_id: bool
    """whether its rows name no other id"""
    files: int
    taken_at: datetime
    """of the newest; UTC"""
    dated: str | None
    """the date in the names of the files, as strptime reads it"""


@dataclass(frozen=True, slots=True)
class FoundSnapshots:
    """The result of looking at every group of files."""

    usable: tuple[FoundSnapshot, ...]
    """those with the newest files first, each trait key once"""
    problems: tuple[str, ...]
    """why others cannot be used, a sentence each"""
    unopened: int
    """groups of files beyond what is looked at"""


def snapshots_in(root: Path, listing: Listing) -> FoundSnapshots:
    """Look at the newest file of each group; no name that is found can harm windsor.yaml or a terminal."""
    groups = groups_in(listing, MOST_OPENED)
    usable: dict[TraitKey, FoundSnapshot] = {}
    problems = [
        f"{str(path)!a}: windsor.yaml cannot name it (a control character, or one that patterns use): rename it"
        for path in groups.odd
    ]
    if groups.personal:
        files = counted(groups.personal, "file")
        problems.append(f"{files} with an e-mail address in the name: no audience is called so; rename what is one")
    with open_duckdb() as connection:
        for group in groups.groups:
            found = _look(root, group, connection)
            if isinstance(found, str):
                problems.append(found)
            elif found.key in usable:
                kept = usable[found.key].pattern
                problems.append(f"{group.pattern}: has the trait key {found.key}, as the newer {kept} has: rename one")
            elif found.name.casefold() in (one.name.casefold() for one in usable.values()):
                problems.append(f"{group.pattern}: but for capitals its name is that of a newer one: rename one")
            else:
                usable[found.key] = found
    return FoundSnapshots(tuple(usable.values()), tuple(problems), groups.more)


def _look(root: Path, group: Group, connection: duckdb.DuckDBPyConnection) -> FoundSnapshot | str:
    """The group as a snapshot, or why it is none."""
    key, format = trait_key(group.name), format_of(group.pattern)
    assert format is not None
    if problem := key_problem(key):
        return f"{group.pattern}: {problem}"
    try:
        file = newest(below(root, group.pattern), group.dated)
        with first_rows(file.parts[0] if file.parts else file, is_text=format is not SnapshotFormat.PARQUET) as path:
            contents = _read(path, format, key, connection)
    except (SnapshotError, ConfigError) as error:
        text = str(error).replace(NO_STATE_YET, "").replace(f"{root}/", "")
        return text if text.startswith(group.pattern) else f"{group.pattern}: {text}"
    except (duckdb.Error, OSError) as error:
        return f"{group.pattern}: the newest file cannot be read ({type(error).__name__})"
    if contents.rows and not contents.users:
        return f"{group.pattern}: no row of it names a user"
    if contents.rows > MOST_ROWS_A_USER * contents.users and contents.rows >= FEW_ROWS:
        return f"{group.pattern}: has many rows for each user, as a table of events has, and no snapshot"
    return FoundSnapshot(
        group.name,
        key,
        contents.has_values,
        group.pattern,
        format,
        contents.by_anonymous_id,
        group.files,
        file.taken_at,
        group.dated,
    )


@dataclass(frozen=True, slots=True)
class _Contents:
    """The facts that the rows of a file show."""

    rows: int
    users: int
    """different ones"""
    has_values: bool
    """values of a computed trait; true and false mean an audience"""
    by_anonymous_id: bool


def _read(path: str, format: SnapshotFormat, key: TraitKey, connection: duckdb.DuckDBPyConnection) -> _Contents:
    if not _has_values(path, format, key, connection):
        open_source(path, format=format, members_of=key).load(connection)
        return _counted(connection, has_values=False)
    return _counted(connection, has_values=True)


def _has_values(path: str, format: SnapshotFormat, key: TraitKey, connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the file has values of a computed trait; true and false are an audience's."""
    try:
        open_source(path, format=format, value_of=key).load(connection)
    except SnapshotError:
        return False
    others = "SELECT count(*) FILTER (value NOT IN ('true', 'false')) FROM (FROM rows LIMIT 100_000)"
    [(others,)] = connection.execute(others).fetchall()
    return bool(others)


def _counted(connection: duckdb.DuckDBPyConnection, *, has_values: bool) -> _Contents:
    [(rows, different, users, strangers)] = connection.execute(
        "SELECT count(*), count(DISTINCT coalesce(user_id, anonymous_id)), count(user_id), count(anonymous_id) "
        "FROM (FROM rows LIMIT 100_000)"
    ).fetchall()
    return _Contents(rows, different, has_values, bool(strangers and not users))
