"""Makes the folders and files that hold people: only this user may open them, whatever the umask is.

A file store that several users of one group share is opened for that group by `readable_by: group` in windsor.yaml, and never
for anybody else.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import BinaryIO


class Access(Enum):
    """The people who may open what is made: the mode of a folder, and of a file."""

    OWNER = (0o700, 0o600)
    GROUP = (0o770, 0o660)

    @property
    def folder_mode(self) -> int:
        """Return the mode of a new folder."""
        return self.value[0]

    @property
    def file_mode(self) -> int:
        """Return the mode of a new file."""
        return self.value[1]


def make_folder(path: Path, access: Access = Access.OWNER) -> None:
    """Make a folder with the parents that it lacks; one that exists keeps its mode. Raises OSError."""
    for missing in [each for each in (*reversed(path.parents), path) if not each.exists()]:
        with suppress(FileExistsError):  # another process was faster
            missing.mkdir(mode=access.folder_mode)
            missing.chmod(access.folder_mode | (missing.stat().st_mode & stat.S_ISGID))
    if not path.is_dir():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def open_new(path: Path, access: Access = Access.OWNER) -> BinaryIO:
    """Open a file for writing that nobody has yet; raises OSError, FileExistsError among them."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, access.file_mode)
    os.fchmod(handle, access.file_mode)
    return os.fdopen(handle, "wb")


def open_over(path: Path) -> BinaryIO:
    """Open a file for writing in the place of what it held, and take it from others before; raises OSError."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, Access.OWNER.file_mode)
    file = os.fdopen(handle, "wb")
    if stat.S_ISREG(os.fstat(handle).st_mode):  # a pipe or a terminal stays as it is
        with suppress(PermissionError):  # of another user, who let us write
            os.fchmod(handle, Access.OWNER.file_mode)
        os.ftruncate(handle, 0)
    return file


def sync_to_disk(path: Path) -> None:
    """Make a write survive a power cut before the state that names it is committed."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def tighten(path: Path, access: Access = Access.OWNER) -> None:
    """Take a file or folder from everybody else; one that is gone, or another user's, stays as it is."""
    with suppress(OSError):
        mode = path.stat().st_mode
        if mode & 0o777 & ~access.folder_mode:
            path.chmod(stat.S_IMODE(mode) & (access.folder_mode | stat.S_ISGID))


def tighten_below(folder: Path, access: Access = Access.OWNER) -> None:
    """Do the same to a folder with all that is in it, unless the folder is closed to others already; it is closed last."""
    with suppress(OSError):
        if folder.stat().st_mode & 0o777 & ~access.folder_mode:
            for place, folders, names in os.walk(folder):
                for name in (*folders, *names):
                    tighten(Path(place, name), access)
            tighten(folder, access)


@contextmanager
def owner_only() -> Iterator[None]:
    """Let everything that this process makes in the block be its user's alone, what libraries spill to disk too."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
