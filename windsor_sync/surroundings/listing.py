"""A look at what a folder holds, bounded: what is near is seen first, and no folder is too large to look at."""

import os
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from windsor_sync.sources.archive import DAY_MS
from windsor_sync.sources.parts import is_data

MOST_ENTRIES = 20_000
MOST_LEVELS = 4
ARCHIVE = "segment-logs"
"""how Segment names the folder in which its raw archive begins"""
OUR_STORE = frozenset({"snapshots", "outboxes"})
"""together they are a store of sealed files: what Windsor was told, never a source of it"""
NOT_OURS = frozenset({"node_modules", "site-packages", "__pycache__", "venv"})


@dataclass(frozen=True, slots=True)
class Entry:
    """A file."""

    name: str
    modified_at: datetime
    """UTC"""


@dataclass(slots=True)
class Listing:
    """Files by folder, both relative to where the look began; hidden, unfinished and temporary ones are not listed."""

    folders: dict[PurePosixPath, list[Entry]] = field(default_factory=dict)
    archives: set[PurePosixPath] = field(default_factory=set)
    closed: list[PurePosixPath] = field(default_factory=list)
    """folders that could not be read"""
    is_cut: bool = False
    """whether there was more than is looked at"""


def list_around(root: Path) -> Listing:
    """List what lies in `root` and a few levels below; links to folders are not followed."""
    found, seen, waiting = Listing(), 0, deque([PurePosixPath()])
    while waiting:
        folder, inside = waiting.popleft(), []
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    seen += 1
                    if seen > MOST_ENTRIES:
                        found.is_cut = True
                        return found
                    if inner := _taken_in(found, folder, entry):
                        inside.append(inner)
        except OSError:
            found.closed.append(folder)
        if not {inner.name for inner in inside} >= OUR_STORE:
            waiting += inside
    return found


def _taken_in(found: Listing, folder: PurePosixPath, entry: os.DirEntry[str]) -> PurePosixPath | None:
    """Note a file or an archive; return a folder that is to be looked into."""
    path = folder / entry.name
    if not is_data(entry.name):
        return None
    if not entry.is_dir(follow_symlinks=False):
        if entry.is_file():  # a link counts as what it leads to
            modified_at = datetime.fromtimestamp(entry.stat().st_mtime, UTC)
            found.folders.setdefault(folder, []).append(Entry(entry.name, modified_at))
        return None
    if entry.name == ARCHIVE:
        found.archives.add(path)
    elif _is_day(entry.name) and folder.parent.parts:  # {archive}/{source}/{day}
        found.archives.add(folder.parent)
    elif len(path.parts) <= MOST_LEVELS and entry.name not in NOT_OURS and not Path(entry.path, "pyvenv.cfg").exists():
        return path
    return None


def _is_day(name: str) -> bool:
    """Whether a folder is named as Segment names a day: milliseconds of UTC midnight."""
    return name.isascii() and name.isdigit() and len(name) == len("1700000000000") and int(name) % DAY_MS == 0
