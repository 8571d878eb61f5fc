"""Lists the files around windsor.yaml that may be snapshots, and finds Segment's event archive. No file is opened."""

import os
import re
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

from windsor_sync.settings.choices import format_of
from windsor_sync.sources.names import is_data

MAX_FOLDERS, MAX_LEVELS = 1_000, 4
MAX_IN_FOLDER = 5_000
"""A larger folder is passed over whole: some of its names would make wrong patterns."""
ARCHIVE = "segment-logs"
"""how Segment names the folder in which its raw archive begins"""
OUR_STORE = frozenset({"snapshots", "outboxes"})
"""A folder with both is a store of sealed files: what Windsor was told, never a source of it."""
_OF_A_DAY = re.compile(r"\d{4}[-_.]?\d{2}[-_.]?\d{2}")
"""A pattern that names one day's folder never finds the next day's file."""
_NOT_PLAIN = re.compile(r"[*?\[\]@]|::")


@dataclass(slots=True)
class Discovery:
    """Files and folders that may matter to `init`; every path is relative to the folder of windsor.yaml."""

    files: dict[PurePosixPath, list[str]] = field(default_factory=dict)
    """folder → names of its files that have a format of snapshots, sorted; folders that are near come first"""
    archive: PurePosixPath | None = None
    unnamed: int = 0
    """files and folders that are left out because their names are not plain"""
    unseen: int = 0
    """folders that were not looked into: closed to this user, large, deep, of one day, or too many"""


def is_plain(name: str) -> bool:
    """Whether a pattern in windsor.yaml can have the name, and a terminal can show it.

    A name with an @ may be somebody's e-mail address, so it is repeated nowhere.
    """
    return name.isprintable() and not _NOT_PLAIN.search(name)


def discover(root: Path) -> Discovery:
    """List what lies in `root` and a few levels below. Links to folders are not followed."""
    found, waiting = Discovery(), deque([PurePosixPath()])
    while waiting and len(found.files) < MAX_FOLDERS:
        folder = waiting.popleft()
        if folder.name == ARCHIVE:
            found.archive = found.archive or folder
        elif (entries := _entries(root, folder)) is not None:
            waiting += _note(found, folder, entries)
        else:
            found.unseen += 1
    found.unseen += len(waiting)
    return found


def _entries(root: Path, folder: PurePosixPath) -> list[os.DirEntry[str]] | None:
    """Return what is in a folder; None where that is not looked at."""
    if len(folder.parts) > MAX_LEVELS or _OF_A_DAY.search(folder.name):
        return None
    try:
        with os.scandir(root / folder) as listed:
            entries = list(islice(listed, MAX_IN_FOLDER + 1))
    except OSError:
        return None
    return entries if len(entries) <= MAX_IN_FOLDER else None


def _note(found: Discovery, folder: PurePosixPath, entries: list[os.DirEntry[str]]) -> list[PurePosixPath]:
    """Note the files of a folder, and return the folders in it that are to be looked into."""
    # Methods of entries and paths raise for a link in a circle, and where this user may not look; os.path does not.
    paths = {entry.name: entry.path for entry in sorted(entries, key=lambda entry: entry.name) if is_data(entry.name)}
    files = [name for name, path in paths.items() if format_of(name) and os.path.isfile(path)]  # noqa: PTH113
    folders = [name for name, path in paths.items() if os.path.isdir(path) and not os.path.islink(path)]  # noqa: PTH112, PTH114
    if OUR_STORE.issubset(folders) or "pyvenv.cfg" in paths:
        return []
    found.files[folder] = files
    found.unnamed += sum(not is_plain(name) for name in [*files, *folders])
    return [folder / name for name in folders if is_plain(name)]
