"""Finds the file that is the snapshot: the newest one of a path or pattern, when it was taken, and how it is known again.

Where several files are one snapshot (`parts` has the rule), all of them are. A path that ends with a slash means the newest
folder, with all files in it. Paths are local, or URLs of any object store that fsspec reaches.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from windsor_sync.errors import SnapshotError
from windsor_sync.settings.choices import ConsistsOf
from windsor_sync.sources import manifests
from windsor_sync.sources.dates import date_in
from windsor_sync.sources.looking import (
    ETAGS,
    MODIFIED,
    Place,
    Search,
    SourceFile,
    files_of,
    filesystem,
    fingerprint_of,
    identity,
    is_file,
    is_local,
    look,
    open_bytes,
    place_of,
)
from windsor_sync.sources.names import UNFINISHED, folder_of, is_beside, is_data, is_partition
from windsor_sync.sources.parts import (
    Situation,
    confirm_folder,
    may_belong,
    refuse_mixture,
    refuse_unfinished,
    together,
)
from windsor_sync.sources.refusal import out_of_reach, unusable
from windsor_sync.storage.errors import trouble

__all__ = [
    "ETAGS",
    "MODIFIED",
    "SourceFile",
    "confirm_unchanged",
    "date_in",
    "files_of",
    "is_local",
    "newest",
    "open_bytes",
]

_kept_listings: ContextVar[dict[str, dict[str, Any]] | None] = ContextVar("kept_listings", default=None)

AHEAD = timedelta(minutes=5)
"""Clocks differ by so much; a snapshot from further ahead has a wrong date, and would hide every true one."""


def newest(
    pattern: str,
    taken_at: str | None = None,
    not_after: datetime | None = None,
    *,
    consists_of: str | None = None,
    at: str | None = None,
) -> SourceFile:
    """Find the newest file: by the date in its path where `taken_at` (as strptime has it) is given, else by mtime.

    Hidden and unfinished files (`.x`, `x.part`) are never taken, nor those taken later than `not_after`. `at` names one of
    the files, to be taken with those that belong to it. Raises SnapshotError when no file is left, when the newest is not
    complete, when it is from the future, and when it is not sure which files are one snapshot.
    """
    place = place_of(pattern)
    search = Search(pattern, taken_at, consists_of, "")
    try:
        found = (_newest_folder if pattern.endswith("/") else _newest_of)(place, search, not_after, at)
    except trouble() as error:
        remedy = "Check that this account may read it, then run again."
        raise out_of_reach(f"{place.shown} cannot be looked up", error, remedy) from None
    _refuse_future(found, taken_at)
    return found


def _newest_of(place: Place, search: Search, not_after: datetime | None, at: str | None) -> SourceFile:
    files, is_any = _files(place, search)
    wanted = filesystem(at)[1] if at else place.root if place.fs.isfile(place.root) else None
    named = [file for file in files if place.stored(file.path) == wanted]
    if at and not named:
        return newest(at, search.taken_at)
    if not files or (wanted and not named):
        raise _nothing_found(place, search.taken_at if is_any else None)
    return _whole(place, max(named or _early(files, place.shown, not_after), key=_age), files, search)


def _age(file: SourceFile) -> tuple[datetime, datetime, str]:
    return file.taken_at, file.mtime, file.path


def _refuse_future(found: SourceFile, taken_at: str | None) -> None:
    now = datetime.now(UTC)
    if found.taken_at <= now + AHEAD:
        return
    says = "the date in its path" if taken_at else "its modification time"
    raise unusable(
        f"{found.path} is from the future: {says} is {found.taken_at:%Y-%m-%d %H:%M} UTC, and now it is {now:%Y-%m-%d %H:%M}.",
        "Correct the date in its name, or remove it." if taken_at else "Set this machine's clock, or touch the file.",
    )


# -- files of a pattern --------------------------------------------------------------------------------------


def _files(place: Place, search: Search) -> tuple[list[SourceFile], bool]:
    """The files of a pattern that have a date, and whether there are any at all."""
    fs, root, folder = place.fs, place.root, PurePosixPath(place.folder)
    is_named = fs.isfile(root)
    found = _entries(fs, folder_of(root)) if is_named else place.matching()
    if is_named and search.consists_of != ConsistsOf.ALL_FILES:
        found = {path: found[path] for path in found if path == root or may_belong(folder_of(root), root, path)}
    complete = [
        path
        for path in found
        if _is_wanted(path, folder, is_named=is_named and path == root)
        and is_file(fs, path, found[path])
        and (path == root or not _is_manifest(fs, path))
    ]
    dated = [look(fs, path, found[path], search.taken_at, place.above) for path in _in_force(fs, complete)]
    return [file for file in dated if file], bool(complete)


@contextmanager
def listings_kept() -> Iterator[None]:
    """Within the block, list each folder once: many files of one folder are looked up at one moment."""
    token = _kept_listings.set({})
    try:
        yield
    finally:
        _kept_listings.reset(token)


def _entries(fs: Any, folder: str) -> dict[str, Any]:
    """Return the entries of a folder."""
    kept = _kept_listings.get()
    if kept is None:
        return _listed_now(fs, folder)
    if folder not in kept:
        kept[folder] = _listed_now(fs, folder)
    return kept[folder]


def _listed_now(fs: Any, folder: str) -> dict[str, Any]:
    """Return the entries of a folder; a link that this account may not follow hides none of its neighbours."""
    try:
        return {str(info["name"]): info for info in fs.ls(folder, detail=True)}
    except PermissionError:
        if not isinstance(fs, LocalFileSystem):
            raise
        found = {}
        for name in sorted(os.listdir(folder)):  # noqa: PTH208 - names, to be joined as fsspec does
            with suppress(PermissionError, FileNotFoundError):
                found[f"{folder.rstrip('/')}/{name}"] = fs.info(f"{folder.rstrip('/')}/{name}")
        return found


def _in_force(fs: Any, paths: Sequence[str]) -> list[str]:
    """The files without those that a transaction has removed, or not committed."""
    folders = {folder_of(path) for path in paths if "-tid-" in path}
    kept = {folder: _committed(fs, folder) for folder in folders}
    return [path for path in paths if (names := kept.get(folder_of(path))) is None or PurePosixPath(path).name in names]


def _committed(fs: Any, folder: str) -> frozenset[str] | None:
    marks = [path for path in _entries(fs, folder) if PurePosixPath(path).name.startswith(("_committed_", "_started_"))]
    names, open_write = manifests.committed(fs, marks)
    if open_write is not None:
        raise unusable(
            f"{folder} is not complete: the write {open_write!r} was started and not committed.",
            "Wait until it is finished; if it failed, remove its files and its mark _started_….",
        )
    return names


def _is_manifest(fs: Any, path: str) -> bool:
    return manifests.is_called_manifest(path) and manifests.read_manifest(fs, path) is not None


def _whole(place: Place, found: SourceFile, files: list[SourceFile], search: Search) -> SourceFile:
    """The file with those that belong to it. Raises SnapshotError when one of them is missing."""
    fs, folder = place.fs, folder_of(place.stored(found.path))
    _refuse_rewritten(place, found)
    if found.path.endswith(".parquet"):
        manifests.refuse_table(fs, _above(folder, place))
    listed = _listed(fs, found, files, _entries(fs, folder))
    is_sure: bool | None = True
    parts = listed
    if not listed:
        situation = Situation(
            folder=folder_of(found.path)[: len(folder_of(found.path)) - len(folder) + len(place.folder)],
            is_dated=search.taken_at is not None,
            is_complete=lambda folder: _marker_at(place, folder) is not None,
            consists_of=search.consists_of,
            is_named=fs.isfile(place.root),
        )
        parts, is_sure = together(found, files, situation)
    if len(parts) == 1:
        return parts[0]
    if not search.consists_of and not listed:
        refuse_mixture(parts, _marker_at(place, folder))
    joined = _joined(parts, found.taken_at)
    return replace(
        joined,
        path=joined.path if len({folder_of(part.path) for part in parts}) > 1 else parts[0].path,
        search=replace(search, newest=found.path),
        has_inferred_parts=is_sure is False,
        newest=found.path if is_sure is None else None,
    )


def _listed(fs: Any, found: SourceFile, files: list[SourceFile], entries: dict[str, Any]) -> list[SourceFile]:
    """The files of the manifest that names this one, all of them there; none where no manifest does."""
    called = [path for path in entries if manifests.is_called_manifest(path) and is_file(fs, path, entries[path])]
    for path in sorted(called, key=lambda path: identity(fs, path, entries[path])[2], reverse=True):
        manifest = manifests.read_manifest(fs, path)
        if manifest is None or PurePosixPath(found.path).name not in manifest.sizes:
            continue
        beside = {PurePosixPath(name).name: name for name in entries}
        sizes = {name: identity(fs, full, entries[full])[0] for name, full in beside.items() if name in manifest.sizes}
        manifests.confirm_manifest(manifest, sizes)
        known = {PurePosixPath(file.path).name: file for file in files if folder_of(file.path) == folder_of(found.path)}
        names = sorted(name for name in manifest.sizes if manifest.sizes[name] != 0)
        parts = [known.get(name) or look(fs, beside[name], entries[beside[name]], None) for name in names]
        return [part for part in parts if part]
    return []


def _above(folder: str, place: Place) -> list[str]:
    """The folder, and those above it down to the one that the pattern fixes."""
    path = PurePosixPath(folder)
    return [str(each) for each in (path, *path.parents) if each.is_relative_to(place.folder)]


def _marker_at(place: Place, folder: str) -> datetime | None:
    """Return when a writer marked the folder, or one above it, as complete."""
    for each in _above(place.stored(folder), place):
        marker = f"{each}/_SUCCESS"
        if place.fs.exists(marker):
            return identity(place.fs, marker, place.fs.info(marker))[2]
    return None


def _refuse_rewritten(place: Place, found: SourceFile) -> None:
    """A newer file of the same name that is on its way makes this one half of a pair."""
    for suffix in UNFINISHED:
        path = place.stored(found.path) + suffix
        if place.fs.exists(path) and identity(place.fs, path, place.fs.info(path))[2] >= found.mtime:
            refuse_unfinished(found.path, [path])


# -- folders -------------------------------------------------------------------------------------------------


def _newest_folder(place: Place, search: Search, not_after: datetime | None, _: str | None) -> SourceFile:
    """The newest folder of a pattern, as one snapshot of all its files."""
    found = [place.root] if place.fs.isdir(place.root) else [path for path in place.matching() if place.fs.isdir(path)]
    filled = {path: files for path in found if (files := _inside(place.fs, path))}
    known = {}
    for path, files in filled.items():
        moment = _folder_date(place, path, files, search.taken_at)
        if moment or not search.taken_at:
            known[path] = _joined(files, moment)
    if not known:
        raise _nothing_found(place, search.taken_at if filled else None)
    early = _early(list(known.values()), place.shown, not_after)
    chosen = next(path for path, file in known.items() if file is max(early, key=_age))
    return _folder(place, chosen, known[chosen], search)


def _folder(place: Place, path: str, file: SourceFile, search: Search) -> SourceFile:
    """The folder's snapshot, once it is sure that all its files are one, and there."""
    fs, parts = place.fs, list(file.parts)
    manifests.refuse_table(fs, [path])
    refuse_unfinished(path, list(fs.find(path)))
    if search.consists_of != ConsistsOf.ALL_FILES:
        _refuse_folders(path, place, parts)
        listed = _listed(fs, max(parts, key=_age), parts, _entries(fs, path))
        if not listed:
            shown = (
                folder_of(parts[0].path)
                if len({folder_of(part.path) for part in parts}) == 1
                else file.path.rstrip("/")
            )
            confirm_folder(parts, shown, Situation(path, False, lambda folder: _marker_at(place, folder) is not None))
        parts = listed or parts
    return replace(_joined(parts, file.taken_at), search=replace(search, newest=file.path))


def _refuse_folders(path: str, place: Place, files: Sequence[SourceFile]) -> None:
    """Folders in the folder are read with it where they are partitions; others may be snapshots of their own."""
    below = {folder_of(place.stored(file.path)).removeprefix(path).lstrip("/") for file in files}
    other = sorted(folder for folder in below if folder and not all(map(is_partition, folder.split("/"))))
    if not other:
        return
    names = ", ".join(repr(folder)[1:-1] for folder in other[:4]) + (", …" if len(other) > 4 else "")
    raise unusable(
        f"{path} has files in folders of its own: {names}.",
        f"If each of them is a snapshot, set path: {path}/*/ there; if all of them are one, set consists_of: all_files.",
    )


def _inside(fs: Any, folder: str) -> list[SourceFile]:
    """The files of the folder and of those in it."""
    found = {str(path): info for path, info in fs.find(folder, detail=True).items()}
    outer = PurePosixPath(folder)
    data = [path for path in sorted(found) if _is_inside(path, outer) and is_file(fs, path, found[path])]
    wanted = _in_force(fs, [path for path in data if not _is_manifest(fs, path)])
    return [file for path in wanted if (file := look(fs, path, found[path], None))]


def _is_inside(path: str, folder: PurePosixPath) -> bool:
    if path.rstrip("/") == str(folder) or path.endswith("/"):
        return False  # the empty object that stands for a folder in an object store
    return all(map(is_data, PurePosixPath(path).relative_to(folder).parts))


def _folder_date(place: Place, path: str, files: Sequence[SourceFile], taken_at: str | None) -> datetime | None:
    """The date of a folder, by its path or else by that of its first file."""
    if not taken_at:
        return None
    first = files[0].path.removeprefix(place.above)
    return date_in(path.removeprefix(place.above) + "/", taken_at) or date_in(first, taken_at)


def _joined(files: Sequence[SourceFile], taken_at: datetime | None) -> SourceFile:
    """Several files as one snapshot, named after the folder that has all of them."""
    folders = [PurePosixPath(folder_of(file.path)) for file in files]
    common = next(
        each for each in (folders[0], *folders[0].parents) if all(path.is_relative_to(each) for path in folders)
    )
    folder = folder_of(files[0].path)[: len(str(common)) + files[0].path.count("//")]
    mtime = max(file.mtime for file in files)
    return SourceFile(
        path=folder.rstrip("/") + "/",
        size=sum(file.size for file in files),
        mtime=mtime,
        fingerprint=hashlib.sha256("".join(file.fingerprint for file in files).encode()).hexdigest(),
        is_settled=all(file.is_settled for file in files),
        taken_at=taken_at or mtime,
        parts=tuple(files),
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


# -- known again ---------------------------------------------------------------------------------------------


def confirm_unchanged(file: SourceFile) -> None:
    """Raise SnapshotError if the file is not the one that was found any more, or if a part of it changed, came or went."""
    if not _is_same(file):
        raise unusable(
            f"{file.path} was changed or removed while it was read.",
            "Write snapshots under another name and rename them when they are complete, then run again.",
        )


def _is_same(file: SourceFile) -> bool:
    try:
        if file.search:
            return _again(file.search).fingerprint == file.fingerprint
        fs, root = filesystem(file.path)
        size, modification, _ = identity(fs, root, fs.info(root))
        return fingerprint_of(root, size, modification) == file.fingerprint
    except trouble(SnapshotError):
        return False


def _again(search: Search) -> SourceFile:
    """Look up the same folder, or the same parts, as they are now, whatever newer was written since."""
    if search.newest.endswith("/"):
        return newest(search.newest, consists_of=search.consists_of)
    return newest(search.pattern, search.taken_at, consists_of=search.consists_of, at=search.newest)


# -- nothing found -------------------------------------------------------------------------------------------


def _is_wanted(path: str, folder: PurePosixPath, *, is_named: bool) -> bool:
    return not path.endswith("/") and _is_finished(path, folder) and (is_named or not is_beside(path))


def _is_finished(path: str, folder: PurePosixPath) -> bool:
    """Not hidden, not being written; below the fixed part of the pattern that holds for folders too."""
    found = PurePosixPath(path)
    names = found.relative_to(folder).parts if found.is_relative_to(folder) else (found.name,)
    return not any(name.startswith((".", "~", "_temporary")) for name in names) and not path.lower().endswith(
        UNFINISHED
    )


def _nothing_found(place: Place, undated: str | None) -> Exception:
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
    elif not fs.isfile(root) and any(fs.isdir(path) for path in place.matching()):
        finding = f"No snapshot matches {pattern}: what matches it are folders."
        remedy = f"With {pattern}/ the newest of these folders is the snapshot, with all files in it."
    else:
        finding = f"No snapshot matches {pattern}; {_contents(fs.ls(folder, detail=False), folder)}."
        remedy = "Check the pattern, or export the audience there (hidden, .tmp and .part files are not taken)."
    return unusable(finding, remedy)


def _contents(paths: Iterable[str], folder: str) -> str:
    count = len(list(paths))
    return f"the folder {folder} is empty" if not count else f"the folder {folder} has {count} other entries"
