"""Which file is the snapshot: the newest one of a path or pattern, when it was taken, and how it is known again.

Several files are one snapshot where their names count parts (`part-0.csv`, `part-1.csv`), and where the path ends with a
slash: then the newest folder is the snapshot, with all files in it.

Paths are local, or URLs of any object store that fsspec reaches.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate

from windsor_sync.errors import ConfigError, SnapshotError
from windsor_sync.patterns import below, folder_and_text, is_url, shown
from windsor_sync.sources.dates import date_in
from windsor_sync.sources.parts import UNFINISHED, belong_together, folder_of, is_data, refuse_unfinished, siblings
from windsor_sync.sources.refusal import out_of_reach, unusable
from windsor_sync.stores import file_system, missing_package, trouble

SETTLED_AFTER = timedelta(seconds=2)
"""A file written later than this before we looked may be rewritten within the same tick of its clock, unnoticed."""

WRITTEN_WITHIN = timedelta(hours=1)
"""Parts of one export are not further apart, unless its writer leaves a marker when all is written."""

ETAGS = ("ETag", "etag", "md5Hash", "content_md5")
MODIFIED = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")


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
    pattern: str = field(default="", compare=False)
    """by which parts that count were found: beside them may be files that are none"""

    @property
    def trusted_fingerprint(self) -> str | None:
        """The fingerprint where it can stand for the content; None right after the file was written."""
        return self.fingerprint if self.is_settled else None


def newest(pattern: str, taken_at: str | None = None, not_after: datetime | None = None) -> SourceFile:
    """Find the newest file: by the date in its path where `taken_at` (as strptime has it) is given, else by mtime.

    Hidden and unfinished files (`.x`, `x.part`) are never taken, nor those taken later than `not_after`.
    Raises SnapshotError when no file is left, and when the newest is not complete.
    """
    place = _place(pattern)
    try:
        files, is_any = _folders(place, taken_at) if pattern.endswith("/") else _files(place, taken_at)
        if not files:
            raise _nothing_found(place, taken_at if is_any else None)
        found = max(_early(files, place.shown, not_after), key=lambda file: (file.taken_at, file.mtime, file.path))
        return found if found.parts else _with_parts(place.fs, found, files, pattern)
    except trouble() as error:
        remedy = "Check that this account may read it, then run again."
        raise out_of_reach(f"{place.shown} cannot be looked up", error, remedy) from None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a pattern leads."""

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
        """What the pattern matches below that folder. The folder itself is looked up, and not matched."""
        rest = self.root[len(self.folder) + 1 :] if self.folder else self.root.lstrip("/")
        folder = f"{self.folder}/" if self.folder or self.root.startswith("/") else ""
        depth = None if "**" in rest else rest.count("/") + 1
        found = self.fs.find(folder, maxdepth=depth, withdirs=True, detail=True)
        matches = re.compile(glob_translate(rest)).match
        inside = (path for path in sorted(found) if path.startswith(folder))
        return {path: found[path] for path in inside if matches(path.removeprefix(folder))}


def _place(pattern: str) -> _Place:
    folder, text = folder_and_text(pattern)
    if not folder and not is_url(pattern):  # given by hand, where this process stands
        folder, text = folder_and_text(below(Path(), pattern))
    fs, root = _filesystem(f"{folder}/{text}" if folder else text)
    return _Place(fs, shown(pattern), folder, root)


def _files(place: _Place, taken_at: str | None) -> tuple[list[SourceFile], bool]:
    """The files of a pattern that have a date, and whether there are any at all."""
    fs, root, folder = place.fs, place.root, PurePosixPath(place.folder)
    found = _with_neighbours(fs, root) if fs.isfile(root) else place.matching()
    complete = [path for path in found if _is_finished(path, folder) and _is_file(fs, path, found[path])]
    looked_at = (_look(fs, path, found[path], taken_at, place.above) for path in complete)
    return [file for file in looked_at if file], bool(complete)


def _with_neighbours(fs: Any, path: str) -> dict[str, Any]:
    """A file, and those in its folder whose names count with its own: one part is never taken for the whole."""
    if not belong_together(path, f"{path}.gz"):
        return {path: fs.info(path)}
    return {info["name"]: info for info in fs.ls(folder_of(path), detail=True) if belong_together(path, info["name"])}


def _folders(place: _Place, taken_at: str | None) -> tuple[list[SourceFile], bool]:
    """The same of folders; each is a snapshot of all its files."""
    fs = place.fs
    found = [place.root] if fs.isdir(place.root) else place.matching()
    filled = [files for path in found if fs.isdir(path) and (files := _inside(fs, path))]
    joined = [_joined(files, taken_at, place.above) for files in filled]
    return [file for file in joined if file], bool(filled)


def _inside(fs: Any, folder: str) -> list[SourceFile]:
    inside = {str(info["name"]): info for info in fs.ls(folder, detail=True)}
    data = [path for path in sorted(inside) if is_data(path) and _is_file(fs, path, inside[path])]
    refuse_unfinished(folder, inside)
    return [file for path in data if (file := _look(fs, path, inside[path], None))]


def _joined(files: list[SourceFile], taken_at: str | None, above: str) -> SourceFile | None:
    """Several files as one snapshot; only the folder's path is looked at for a date. None when it lacks one."""
    moment = date_in(files[0].path.removeprefix(above), taken_at) if taken_at else None
    if taken_at and moment is None:
        return None
    return _together(files, moment)


def _together(files: list[SourceFile], moment: datetime | None) -> SourceFile:
    folder = folder_of(files[0].path) + "/"
    mtime = max(file.mtime for file in files)
    return SourceFile(
        path=folder,
        size=sum(file.size for file in files),
        mtime=mtime,
        fingerprint=hashlib.sha256("".join(file.fingerprint for file in files).encode()).hexdigest(),
        is_settled=all(file.is_settled for file in files),
        taken_at=moment or mtime,
        parts=tuple(files),
    )


def _with_parts(fs: Any, found: SourceFile, files: list[SourceFile], pattern: str) -> SourceFile:
    """The file with those that its name says belong to it. Raises SnapshotError when one of them is missing."""
    names = [file.path for file in files]
    together = siblings(found.path, names, lambda folder: bool(fs.exists(f"{folder}/_SUCCESS")))
    _refuse_rewritten(fs, found)
    if len(together) == 1:
        return found
    parts = [next(file for file in files if file.path == path) for path in together]
    _refuse_mixture(fs, parts)
    return replace(_together(parts, None), path=parts[0].path, taken_at=found.taken_at, pattern=pattern)


def _refuse_rewritten(fs: Any, found: SourceFile) -> None:
    """A newer file of the same name that is on its way makes this one half of a pair."""
    for suffix in UNFINISHED:
        path = fs._strip_protocol(found.path) + suffix
        if fs.exists(path) and _identity(fs, path, fs.info(path))[2] >= found.mtime:
            refuse_unfinished(found.path, [path])


def _refuse_mixture(fs: Any, parts: list[SourceFile]) -> None:
    """An export that writes over the one before it leaves parts of both while it is under way: nobody's members."""
    first, last = (choose(parts, key=lambda part: part.mtime) for choose in (min, max))
    if last.mtime - first.mtime <= WRITTEN_WITHIN:
        return
    folder = folder_of(last.path)
    marker = f"{fs._strip_protocol(folder)}/_SUCCESS"
    if fs.exists(marker) and _identity(fs, marker, fs.info(marker))[2] >= last.mtime:
        return
    older, newer = (PurePosixPath(part.path).name for part in (first, last))
    raise unusable(
        f"{folder} holds parts of several exports: {older} is of {first.mtime:%Y-%m-%d %H:%M} UTC, {newer} of "
        f"{last.mtime:%Y-%m-%d %H:%M}.",
        "Wait until the export is finished. Give every export its own folder, or let it write _SUCCESS there at its end.",
    )


def _early(files: list[SourceFile], pattern: str, not_after: datetime | None) -> list[SourceFile]:
    early = [file for file in files if not_after is None or file.taken_at <= not_after]
    if not early:
        raise unusable(
            f"No snapshot that matches {pattern} was taken by {not_after:%Y-%m-%d %H:%M} UTC: the oldest is of "
            f"{min(file.taken_at for file in files):%Y-%m-%d %H:%M}.",
            "Name a later time.",
        )
    return early


def confirm_unchanged(file: SourceFile) -> None:
    """Raise SnapshotError if the file is not the one that was found any more, or if a part of it changed, came or went."""
    if not _is_same(file):
        raise unusable(
            f"{file.path} was changed or removed while it was read.",
            "Write snapshots under another name and rename them when they are complete, then run again.",
        )


def _is_same(file: SourceFile) -> bool:
    try:
        if file.parts:
            return _again(file).fingerprint == file.fingerprint
        fs, root = _filesystem(file.path)
        size, modification, _ = _identity(fs, root, fs.info(root))
        return _fingerprint(root, size, modification) == file.fingerprint
    except trouble(SnapshotError):
        return False


def _again(file: SourceFile) -> SourceFile:
    """The same folder, or the same parts, as they are now; whatever was written since that is newer."""
    if not file.pattern:
        fs, folder = _filesystem(file.path)
        return _together(_inside(fs, folder), None)
    place = _place(file.pattern)
    files, _ = _files(place, None)
    return _with_parts(place.fs, file.parts[0], files, file.pattern)


def open_bytes(file: SourceFile) -> Any:
    """Open the file for reading, wherever it is."""
    fs, root = _filesystem(file.path)
    return fs.open(root, "rb")


def is_local(file: SourceFile) -> bool:
    """Whether the path is one that every program on this machine can open."""
    return isinstance(_filesystem(file.path)[0], LocalFileSystem)


def _filesystem(path: str) -> tuple[Any, str]:
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
    fs.invalidate_cache()  # a long-lived worker must see what was written since it last looked
    return fs, root


def _look(fs: Any, path: str, info: Mapping[str, Any], dated: str | None, above: str = "") -> SourceFile | None:
    """None for a file whose path lacks the date; `above` is no part of it."""
    size, modification, mtime = _identity(fs, path, info)
    taken_at = date_in(path.removeprefix(above), dated) if dated else mtime
    if taken_at is None:
        return None
    return SourceFile(
        path=path if isinstance(fs, LocalFileSystem) else str(fs.unstrip_protocol(path)),
        size=size,
        mtime=mtime,
        fingerprint=_fingerprint(path, size, modification),
        is_settled=datetime.now(UTC) - mtime >= SETTLED_AFTER or isinstance(modification, str),
        taken_at=taken_at,
    )


def _identity(fs: Any, path: str, info: Mapping[str, Any]) -> tuple[int, str | list[int], datetime]:
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


def _fingerprint(path: str, size: int, modification: str | list[int]) -> str:
    return hashlib.sha256(json.dumps([path, size, modification]).encode()).hexdigest()


def _is_file(fs: Any, path: str, info: Mapping[str, Any]) -> bool:
    """Also a link to a file, but not one that leads nowhere."""
    return Path(path).is_file() if isinstance(fs, LocalFileSystem) else info["type"] == "file"


def _is_finished(path: str, folder: PurePosixPath) -> bool:
    """Not hidden, not being written; below the fixed part of the pattern that holds for folders too."""
    found = PurePosixPath(path)
    names = found.relative_to(folder).parts if found.is_relative_to(folder) else (found.name,)
    return not any(name.startswith((".", "~", "_temporary")) for name in names) and not path.lower().endswith(
        UNFINISHED
    )


def _nothing_found(place: _Place, undated: str | None) -> Exception:
    fs, pattern, root, folder = place.fs, place.shown, place.root, place.folder or "/"
    if undated:
        finding = f"No file that matches {pattern} has a date like {undated} in its path."
        remedy = "Name the files so, or change taken_at."
    elif not fs.isdir(folder):
        finding = f"No snapshot matches {pattern}: there is no folder {folder}."
        remedy = "Check the path, or export the audience there."
    elif fs.isdir(root) and pattern.endswith("/"):
        finding = f"No snapshot matches {pattern}: the folder holds no files."
        remedy = "Export the audience there."
    elif fs.isdir(root):
        finding = f"No snapshot matches {pattern}: it is a folder, not a file."
        remedy = (
            f"Say which files in it are snapshots, for example {pattern}/*.csv; with {pattern}/ all of them are one."
        )
    else:
        finding = f"No snapshot matches {pattern}; {_contents(fs.ls(folder, detail=False), folder)}."
        remedy = "Check the pattern, or export the audience there (hidden, .tmp and .part files are not taken)."
    return unusable(finding, remedy)


def _contents(paths: Iterable[str], folder: str) -> str:
    count = len(list(paths))
    return f"the folder {folder} is empty" if not count else f"the folder {folder} has {count} other entries"
