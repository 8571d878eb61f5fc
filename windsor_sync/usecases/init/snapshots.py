"""Finds the files of a folder that are snapshots, of what, and how they are to be read: the sources themselves are asked."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from windsor_sync.domain.labels import counted
from windsor_sync.errors import ConfigError, SnapshotError
from windsor_sync.segment.trait_keys import TraitKey, key_problem, trait_key
from windsor_sync.settings.choices import SnapshotFormat, format_of
from windsor_sync.settings.patterns import below
from windsor_sync.sources import newest
from windsor_sync.sources.contents import contents_of
from windsor_sync.sources.files import listings_kept
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
    with listings_kept():
        for group in groups.groups:
            found = _look(root, group)
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


def _look(root: Path, group: Group) -> FoundSnapshot | str:
    """The group as a snapshot, or why it is none."""
    key, format = trait_key(group.name), format_of(group.pattern)
    assert format is not None
    if problem := key_problem(key):
        return f"{group.pattern}: {problem}"
    try:
        file = newest(below(root, group.pattern), group.dated)
        contents = contents_of(file, format, key)
    except (SnapshotError, ConfigError) as error:
        text = str(error).replace(NO_STATE_YET, "").replace(f"{root}/", "")
        return text if text.startswith(group.pattern) else f"{group.pattern}: {text}"
    except OSError as error:
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
