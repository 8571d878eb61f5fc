"""A look at what a folder holds, bounded: what is near is seen first, and no folder is too large to look at."""

import os
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePosixPath

from windsor_sync.events.archive import DAY_MS
from windsor_sync.sources.names import is_data

MOST_ENTRIES = 20_000
MOST_IN_FOLDER = 10_000
"""A larger folder is passed over whole: its neighbours get their turn, and half of its names would make wrong patterns."""
MOST_LEVELS = 4
ARCHIVE = "segment-logs"
"""how Segment names the folder in which its raw archive begins"""
OUR_STORE = frozenset({"snapshots", "outboxes"})
"""together they are a store of sealed files: what Windsor was told, never a source of it"""
NOT_OURS = frozenset({"node_modules", "site-packages", "__pycache__", "venv"})


@dataclass(frozen=True, slots=True)
class ListedPath:
    """A file of a folder."""

    name: str
    modified_at: datetime
    """UTC"""


@dataclass(slots=True)
class Listing:
    """Files by folder, both relative to where the look began; hidden, unfinished and temporary ones are not listed."""

    folders: dict[PurePosixPath, list[ListedPath]] = field(default_factory=dict)
    archives: set[PurePosixPath] = field(default_factory=set)
    closed: set[PurePosixPath] = field(default_factory=set)
    """folders that could not be read"""
    large: list[PurePosixPath] = field(default_factory=list)
    """folders that were passed over because of their size"""
    is_cut: bool = False
    """whether there were more folders than are looked at"""


def list_around(root: Path) -> Listing:
    """List what lies in `root` and a few levels below; links to folders are not followed."""
    found, left, waiting = Listing(), MOST_ENTRIES, deque([PurePosixPath()])
    while waiting and not found.is_cut:
        folder = waiting.popleft()
        entries = _entries(found, root, folder, min(MOST_IN_FOLDER, left))
        if len(entries) > MOST_IN_FOLDER:
            found.large.append(folder)
        elif len(entries) > left:
            found.is_cut = True
        else:
            left -= len(entries)
            inside = [inner for entry in entries if (inner := _looked_at(found, folder, entry))]
            if not {inner.name for inner in inside} >= OUR_STORE:
                waiting += inside
    return found


def _entries(found: Listing, root: Path, folder: PurePosixPath, most: int) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, at most one beyond `most`."""
    try:
        with os.scandir(root / folder) as entries:
            return list(islice(entries, most + 1))
    except OSError:
        found.closed.add(folder)
        return []


def _looked_at(found: Listing, folder: PurePosixPath, entry: os.DirEntry[str]) -> PurePosixPath | None:
    """`_taken_in`, whatever is wrong with the entry: it hides none of its neighbours."""
    try:
        return _taken_in(found, folder, entry)
    except PermissionError:
        found.closed.add(folder)
    except OSError:
        pass  # gone meanwhile, or a link that leads round in a circle
    return None


def _taken_in(found: Listing, folder: PurePosixPath, entry: os.DirEntry[str]) -> PurePosixPath | None:
    """Note a file or an archive; return a folder that is to be looked into."""
    path = folder / entry.name
    if not is_data(entry.name):
        return None
    if not entry.is_dir(follow_symlinks=False):
        if entry.is_file():  # a link counts as what it leads to
            modified_at = datetime.fromtimestamp(entry.stat().st_mtime, UTC)
            found.folders.setdefault(folder, []).append(ListedPath(entry.name, modified_at))
        return None
    if entry.name == ARCHIVE:
        found.archives.add(path)
    elif _is_day(entry.name) and folder.parent.parts:  # {archive}/{source}/{day}
        found.archives.add(folder.parent)
    elif len(path.parts) <= MOST_LEVELS and entry.name not in NOT_OURS and not _is_environment(entry.path):
        return path
    return None


def _is_environment(folder: str) -> bool:
    """Whether Python packages live there; of a folder that is closed to us that cannot be said."""
    return os.path.exists(f"{folder}/pyvenv.cfg")  # noqa: PTH110  # Path.exists raises where this user may not look


def _is_day(name: str) -> bool:
    """Whether a folder is named as Segment names a day: milliseconds of UTC midnight."""
    return name.isascii() and name.isdigit() and len(name) == len("1700000000000") and int(name) % DAY_MS == 0
