"""Segment's raw event archive: `{source}/{day}/{file}.gz`, one message a line, in a folder or an object store.

Files may appear anywhere at any time, also in the folder of a day long gone (facts §3.1), so every look lists them all.
"""

import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import PurePosixPath
from tarfile import TarError
from typing import Any
from zipfile import BadZipFile

from fsspec.implementations.local import LocalFileSystem

from windsor_sync.errors import ConfigError, WindsorSyncError
from windsor_sync.sources.archive_text import UnreadableLine, messages
from windsor_sync.sources.files import ETAGS, MODIFIED
from windsor_sync.sources.names import UNFINISHED
from windsor_sync.sources.unpacking import most_unpacked_bytes
from windsor_sync.storage.errors import file_system, missing_package, trouble, words_of_failure

PROBE = "dummy-object.txt"
"""Segment writes it to see whether it may write."""

DAY_MS = 24 * 60 * 60 * 1000
GZIP_MAGIC = b"\x1f\x8b"
PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """A file of the archive as it was when we looked."""

    path: str
    """below the archive"""
    size_bytes: int
    """as stored: usually compressed"""
    fingerprint: str
    """another one when the file was written anew: the store's entity tag, else modification time and size"""
    day: date | None
    """when Segment received the messages (UTC), by the folder; None in a folder that names no day"""


def list_files(archive: str, since: date | None = None) -> list[ArchiveFile]:
    """Find the archive's finished files, by day and name; `since` leaves out the folders of earlier days.

    Raises ConfigError for an archive that is not there, WindsorSyncError for one that cannot be looked up now.
    """
    fs, root = _filesystem(archive)
    try:
        found: dict[str, dict[str, Any]] = fs.find(root, detail=True)
    except trouble() as error:
        raise _out_of_reach(archive, error) from None
    if not found and isinstance(fs, LocalFileSystem) and not fs.isdir(root):
        raise ConfigError(
            f"`events.archive` points to {archive}, which does not exist. Nothing was sent. Name the folder in which the "
            "folders of your Segment sources are."
        )
    files = [_look(path, info, root) for path, info in found.items() if _is_finished(path, root)]
    return sorted(
        (file for file in files if since is None or file.day is None or file.day >= since),
        key=lambda file: (file.day or date.max, PurePosixPath(file.path).name, file.path),
    )


def read_lines(archive: str, file: ArchiveFile) -> Iterator[list[bytes | UnreadableLine]]:
    """Yield the file's messages, one a line as Segment writes them, a piece at a time; what cannot be had says why.

    A damaged compressed file gives what was readable of it and one line more. Raises WindsorSyncError when the file is
    out of reach: it has not been read then.
    """
    fs, root = _filesystem(archive)
    try:
        with fs.open(f"{root}/{file.path}", "rb") as stored:
            yield from messages(_pieces(stored, file.size_bytes))
    except trouble() as error:
        cold = "; an object in cold storage has to be restored, or its day left out with `since`"
        raise _out_of_reach(f"{archive.rstrip('/')}/{file.path}", error, cold) from None


def is_shared(archive: str) -> bool:
    """Whether another process finds the same files there."""
    fs, _ = _filesystem(archive)
    return "memory" not in fs.protocol


def _pieces(stored: Any, packed_bytes: int) -> Iterator[bytes | UnreadableLine]:
    """The file's text, unpacked where some client has not done so before; ends with the reason where not all can be had."""
    is_packed = stored.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    stored.seek(0)
    if not is_packed:
        yield from iter(lambda: stored.read(PIECE_BYTES), b"")
        return
    unpacked, left = gzip.GzipFile(fileobj=stored), most_unpacked_bytes(packed_bytes)
    try:
        while piece := unpacked.read1(PIECE_BYTES):  # read() would drop what it has when the file is torn
            left -= len(piece)
            if left < 0:
                yield UnreadableLine.UNPACKS_TOO_FAR
                return
            yield piece
    except (EOFError, gzip.BadGzipFile, zlib.error):
        yield UnreadableLine.TORN


def _look(path: str, info: Mapping[str, Any], root: str) -> ArchiveFile:
    size = int(info.get("size") or 0)
    tag = next((str(info[name]) for name in ETAGS if info.get(name)), None)
    modified = next((str(info[name]) for name in MODIFIED if info.get(name)), "")
    relative = path.removeprefix(root).lstrip("/")
    return ArchiveFile(relative, size, tag or f"{modified} {size}", _day(relative))


def _is_finished(path: str, root: str) -> bool:
    """Not hidden, not a probe, not being written."""
    names = PurePosixPath(path.removeprefix(root).lstrip("/")).parts
    if not names or path.endswith("/") or names[-1] == PROBE or names[-1].lower().endswith(UNFINISHED):
        return False
    return not any(name.startswith((".", "~", "_temporary")) for name in names)


def _day(path: str) -> date | None:
    """The day of the innermost folder that names one: milliseconds of UTC midnight, or YYYY-MM-DD."""
    for folder in reversed(PurePosixPath(path).parts[:-1]):
        try:
            if folder.isascii() and folder.isdigit() and int(folder) % DAY_MS == 0:
                return datetime.fromtimestamp(int(folder) / 1000, UTC).date()
            if len(folder) == len("YYYY-MM-DD"):
                return date.fromisoformat(folder)
        except (ValueError, OverflowError, OSError):
            continue
    return None


def _filesystem(archive: str) -> tuple[Any, str]:
    try:
        fs, root = file_system(archive)
    except (ImportError, ValueError) as error:
        missing = (
            f"{missing_package(error)} is not installed"
            if isinstance(error, ImportError)
            else "that kind of store is not known"
        )
        raise ConfigError(
            f"events.archive {archive} cannot be used: {missing}. Nothing was sent. Name a folder, or the URL of an object "
            "store whose fsspec package is installed."
        ) from None
    except (OSError, BadZipFile, TarError) as error:
        raise _out_of_reach(archive, error) from None
    fs.invalidate_cache()  # a long-lived worker must see what was written since it last looked
    return fs, root.rstrip("/")


def _out_of_reach(what: str, error: Exception, more: str = "") -> WindsorSyncError:
    return WindsorSyncError(
        f"{what} cannot be read ({words_of_failure(error)}). Nothing of it was taken in, and nothing was "
        f"sent. Check that it is there and that this account may read it{more}; then run again."
    )
