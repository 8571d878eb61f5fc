"""Looks up files in a store: sizes, times and entity tags, local or behind fsspec."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tarfile import TarError
from typing import Any
from zipfile import BadZipFile

from fsspec.implementations.local import LocalFileSystem

from windsor_sync.errors import ConfigError
from windsor_sync.settings.patterns import below, folder_and_text, is_match, is_url, shown_pattern
from windsor_sync.sources.dates import date_in
from windsor_sync.sources.refusal import out_of_reach
from windsor_sync.storage.errors import file_system, missing_package

SETTLED_AFTER = timedelta(seconds=2)
"""A file written later than this before we looked may be rewritten within the same tick of its clock, unnoticed."""

ETAGS = ("ETag", "etag", "md5Hash", "content_md5")
MODIFIED = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")


@dataclass(frozen=True, slots=True)
class Search:
    """The way in which a snapshot of several files was found, to find it again."""

    pattern: str
    taken_at: str | None
    consists_of: str | None
    newest: str
    """the path of its newest file, as the store has it"""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as it was when we looked."""

    path: str
    """local, or a URL"""
    size: int
    """in bytes"""
    mtime: datetime
    """UTC"""
    fingerprint: str
    """the same for the same path, size and modification (or the store's entity tag)"""
    is_settled: bool
    """whether an equal fingerprint means equal content: not for a file that was modified just before we looked"""
    taken_at: datetime
    """UTC; from the path where a pattern is configured, else `mtime`"""
    parts: tuple["SourceFile", ...] = ()
    """the files it consists of, where it is several"""
    search: Search | None = field(default=None, compare=False)
    """how its parts were found: beside them may be files that are none"""
    has_inferred_parts: bool = field(default=False, compare=False)
    """whether its parts are told by what their names have in common: then what is in them has a say, too"""
    newest: str | None = field(default=None, compare=False)
    """of parts of which it is not sure that they are parts: the newest, which is the snapshot if they name the same users"""

    @property
    def trusted_fingerprint(self) -> str | None:
        """The fingerprint where it can stand for the content; None right after the file was written."""
        return self.fingerprint if self.is_settled else None


def open_bytes(file: SourceFile) -> Any:
    """Open the file for reading, wherever it is."""
    fs, root = filesystem(file.path)
    return fs.open(root, "rb")


def files_of(file: SourceFile) -> list[str]:
    """Return the path of a file, or those of the files that it consists of."""
    return [part.path for part in file.parts or (file,)]


def is_local(file: SourceFile) -> bool:
    """Whether the path is one that every program on this machine can open."""
    return isinstance(filesystem(file.path)[0], LocalFileSystem)


@dataclass(frozen=True, slots=True)
class Place:
    """The place to which a pattern leads."""

    fs: Any
    shown: str
    """the pattern as a person reads it"""
    above: str
    """the folder it counts from, which is no part of the pattern; "" for none"""
    root: str
    """the whole of it as the file system has it"""

    @property
    def folder(self) -> str:
        """The folder as far as it has no wildcards."""
        end = re.search(r"[*?\[]", self.root[len(self.above) :])
        return self.root[: len(self.above) + end.start() if end else None].rpartition("/")[0]

    def matching(self) -> dict[str, Any]:
        """Return the files below that folder which the pattern matches. The folder itself is looked up, not matched."""
        rest = self.root[len(self.folder) + 1 :] if self.folder else self.root.lstrip("/")
        folder = f"{self.folder}/" if self.folder or self.root.startswith("/") else ""
        depth = None if "**" in rest else rest.count("/") + 1
        found = self.fs.find(folder, maxdepth=depth, withdirs=True, detail=True)
        inside = (path for path in sorted(found) if path.startswith(folder))
        return {path: found[path] for path in inside if is_match(path.removeprefix(folder), rest)}

    def stored(self, path: str) -> str:
        """A path as the file system has it."""
        return path if isinstance(self.fs, LocalFileSystem) else str(self.fs._strip_protocol(path))


def place_of(pattern: str) -> Place:
    """Return where a pattern leads; one given by hand counts from where this process stands."""
    folder, text = folder_and_text(pattern)
    if not folder and not is_url(pattern):
        folder, text = folder_and_text(below(Path(), pattern))
    fs, root = filesystem(f"{folder}/{text}" if folder else text)
    return Place(fs, shown_pattern(pattern), folder, root)


def filesystem(path: str) -> tuple[Any, str]:
    """The file system of a path that is no pattern, fresh, and the path in it."""
    try:
        fs, root = file_system(path)
    except ImportError as error:
        package = missing_package(error)
        raise ConfigError(
            f"Snapshots at {path} need {package}, which is not installed. Nothing was sent. "
            f"Install it (for example: pip install {package}), then run again."
        ) from None
    except ValueError:
        raise ConfigError(
            f"{path} names a kind of store that is not known. Nothing was sent. Use a local path, or a URL such as "
            "s3://bucket/prefix/*.csv."
        ) from None
    except (OSError, BadZipFile, TarError) as error:
        raise out_of_reach(
            f"{path} cannot be looked up", error, "Check that it is there, and that it is one."
        ) from None
    fs.invalidate_cache()  # a long-lived worker must see what was written since it last looked
    return fs, root


def look(fs: Any, path: str, info: Mapping[str, Any], dated: str | None, above: str = "") -> SourceFile | None:
    """None for a file whose path lacks the date; `above` is no part of it."""
    size, modification, mtime = identity(fs, path, info)
    taken_at = date_in(path.removeprefix(above), dated) if dated else mtime
    if taken_at is None:
        return None
    return SourceFile(
        path=path if isinstance(fs, LocalFileSystem) else str(fs.unstrip_protocol(path)),
        size=size,
        mtime=mtime,
        fingerprint=fingerprint_of(path, size, modification),
        is_settled=datetime.now(UTC) - mtime >= SETTLED_AFTER or isinstance(modification, str),
        taken_at=taken_at,
    )


def identity(fs: Any, path: str, info: Mapping[str, Any]) -> tuple[int, str | list[int], datetime]:
    """Size, what tells one writing from the next (entity tag, or clock readings), and the modification time."""
    if isinstance(fs, LocalFileSystem):
        stat = Path(path).stat()
        # The change time also tells a copy that keeps the original's modification time.
        return stat.st_size, [stat.st_mtime_ns, stat.st_ctime_ns], datetime.fromtimestamp(stat.st_mtime, UTC)
    mtime = _moment(info)
    etag = next((str(info[name]) for name in ETAGS if info.get(name)), None)
    return int(info["size"]), etag or [int(mtime.timestamp() * 1_000_000)], mtime


def _moment(info: Mapping[str, Any]) -> datetime:
    value = next((info[name] for name in MODIFIED if info.get(name)), None)
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
    return datetime.now(UTC)


def fingerprint_of(path: str, size: int, modification: str | list[int]) -> str:
    return hashlib.sha256(json.dumps([path, size, modification]).encode()).hexdigest()


def is_file(fs: Any, path: str, info: Mapping[str, Any]) -> bool:
    """Whether there is a file; a link to a file counts, and one that leads nowhere does not."""
    return os.path.isfile(path) if isinstance(fs, LocalFileSystem) else info["type"] == "file"  # noqa: PTH113 - no error
