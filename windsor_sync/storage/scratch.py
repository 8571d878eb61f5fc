"""Scratch folders: where data of users stands while a command works on it. Each is private, and names the process it is of.

A folder is made new, under a name that nobody knows before, and only this user may look into it. It is gone when its block
ends. What a killed process leaves is removed by the next command of any kind, on the same machine; a folder of a process that
cannot be judged from here (another machine or container) is removed when nobody has written to it for a day.
"""

import json
import os
import re
import secrets
import shutil
import stat
import string
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from windsor_sync.storage.process import can_be_judged, has_died, mark_of_this_process

PREFIX = "windsor-sync-scratch-"

ABANDONED_S = 24 * 60 * 60.0
"""After how long without a write a folder counts as left behind, where its process cannot be judged."""

MAKING_S = 60.0
"""Longer than a process takes to make its folder."""

QUIET_S = 60 * 60.0
"""After how long without a write a person may have such a folder removed."""

_NAME = re.compile(rf"{PREFIX}[a-z0-9_]{{8}}(\.[a-z]+)?")
_OWNER = "owner"
_INSIDE = "files"
"""What the block is given. It is made last."""
_MOST_OWNER_BYTES = 64 * 1024

_stores: set[str] = set()
_alive: set[Path] = set()


@dataclass(frozen=True, slots=True)
class Scratch:
    """A scratch folder that is there, whoever made it."""

    path: Path
    mark: str | None
    """of its process; None where none is named"""
    stores: frozenset[str]
    """the file stores that the process had opened when it made the folder"""
    is_used: bool
    """whether anything could be in it; a process that is killed while it makes the folder leaves it without"""

    @property
    def is_left(self) -> bool:
        """Whether nobody works in it any more."""
        if self.is_judged:
            return has_died(self.mark)
        return self.quiet_s > (ABANDONED_S if self.is_used else MAKING_S)

    @property
    def is_judged(self) -> bool:
        """Whether it can be told from here if its process lives."""
        return can_be_judged(self.mark)

    @property
    def is_ours(self) -> bool:
        """Whether it is of this very process."""
        return self.mark is not None and self.mark == mark_of_this_process()

    @property
    def process(self) -> str:
        """The process as a person names it: machine and number."""
        if self.mark is None:
            return "a process that is not named"
        machine, *_, pid, _ = self.mark.split(" ")
        return f"process {pid} on {machine}"

    @property
    def quiet_s(self) -> float:
        """Return for how many seconds nobody has written to the folder."""
        return time.time() - _written_at(self.path)

    @property
    def is_there(self) -> bool:
        """Whether it has not been removed."""
        return self.path.exists()

    def remove(self) -> None:
        """Remove it with all that is in it; what cannot be removed stays, for the next command."""
        _remove(self.path)


def works_on(store: str) -> None:
    """Let every scratch folder that this process makes from now on say that data of this file store may be in it."""
    _stores.add(store)


@contextmanager
def scratch_folder(root: Path | None = None, suffix: str = "", *, at: Path | None = None) -> Iterator[Path]:
    """Make a folder for this block alone, in the temporary folder or in `root`; raises OSError where none can be made.

    `suffix` ends its name, and says what kind of file is made in it. A name that `new_scratch_path` gave, `at`, may be used
    again and again; where something stands at that place, FileExistsError is raised.
    """
    folder = _made(root, suffix, at)
    if at is None:  # what an engine spills is for no other engine
        _alive.add(inside(folder))
    try:
        yield inside(folder)
    finally:
        _alive.discard(inside(folder))
        _remove(folder)


def new_scratch_path() -> Path:
    """Return a name in the temporary folder that nobody knows before."""
    letters = string.ascii_lowercase + string.digits
    return Path(tempfile.gettempdir()) / (PREFIX + "".join(secrets.choice(letters) for _ in range(8)))


def inside(folder: Path) -> Path:
    """Return the part of a scratch folder that is for the data."""
    return folder / _INSIDE


def scratch_of_this_process() -> list[Path]:
    """Return the folders whose blocks have not ended, without those that engines spill into."""
    return sorted(_alive)


def _made(root: Path | None, suffix: str, at: Path | None) -> Path:
    """Make a folder with its owner's name in it; again, if another process removed it while this one was paused."""
    while True:
        if at is None:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, suffix=suffix, dir=root))
        else:
            folder = at
            folder.mkdir(mode=stat.S_IRWXU)
        try:
            folder.chmod(stat.S_IRWXU)  # a umask may have taken more than others' rights
            _name_owner(folder)
            inside(folder).mkdir()
            inside(folder).chmod(stat.S_IRWXU)
            return folder
        except BaseException as error:
            was_swept = isinstance(error, FileNotFoundError) and not folder.exists()
            shutil.rmtree(folder, ignore_errors=True)
            if not was_swept or not folder.parent.exists():
                raise


def sweep(*roots: Path) -> None:
    """Remove what dead processes of this user left in the temporary folder and in `roots`."""
    for found in scratch_in(*roots):
        if found.is_left:
            found.remove()


def scratch_in(*roots: Path) -> list[Scratch]:
    """The scratch folders of this user in the temporary folder and in `roots`; links and other people's folders are none."""
    return [found for root in (Path(tempfile.gettempdir()), *roots) for found in _found_in(root)]


def _found_in(root: Path) -> Iterator[Scratch]:
    names: list[str] = []
    with suppress(OSError), os.scandir(root) as entries:
        names = [entry.name for entry in entries if _NAME.fullmatch(entry.name)]
    for name in names:
        with suppress(OSError):  # gone meanwhile
            found = (root / name).lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                is_used = (root / name / _INSIDE).exists()  # asked first: the owner is named before, and until after
                yield Scratch(root / name, *_owner(root / name), is_used)


def _remove(folder: Path) -> None:
    """Remove a folder, its owner's name last."""
    shutil.rmtree(folder / _INSIDE, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _name_owner(folder: Path) -> None:
    owner = {"process": mark_of_this_process(), "stores": sorted(_stores)}
    handle = os.open(folder / _OWNER, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, stat.S_IRUSR | stat.S_IWUSR)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        os.fchmod(handle, stat.S_IRUSR | stat.S_IWUSR)
        json.dump(owner, file)


def _owner(folder: Path) -> tuple[str | None, frozenset[str]]:
    """Its process and the file stores; nobody and none for a process that was killed before it said so."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        handle = os.open(folder / _OWNER, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(handle, "rb") as file:
            owner = json.loads(file.read(_MOST_OWNER_BYTES))
        return (str(owner["process"]) if owner["process"] else None), frozenset(map(str, owner["stores"]))
    return None, frozenset()


def _written_at(folder: Path) -> float:
    """Return when anything below the folder was last written."""
    newest = 0.0
    for place, folders, files in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in (*folders, *files))):  # noqa: PTH118
            with suppress(OSError):
                newest = max(newest, os.lstat(path).st_mtime)
    return newest
