"""Tells which files of a pattern are one snapshot; where that is not sure, the files are refused.

Files may belong together when they have one `taken_at`, or were written within minutes of each other, or when their names
differ in numbers only. They do belong together when the numbers count (`part-0`, `part-1`; `data_0_1_0`; `000000_0`), when
their folders are partitions (`region=eu/`), or when they carry one id of an export beside ids of their own. Files of
different days are different snapshots. Everything else is for `consists_of` to say.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Protocol, TypeVar

from windsor_sync.settings.choices import ConsistsOf
from windsor_sync.sources.names import UNFINISHED, Name, folder_of, is_partition, read_name
from windsor_sync.sources.refusal import unusable

WRITTEN_WITHIN = timedelta(hours=1)
"""Parts of one export are not further apart, unless its writer leaves a marker when all is written."""

MINUTES = timedelta(minutes=10)
"""Files of one folder that were written so close to each other may be one export, whatever they are called."""

NAMED = 4
"""How many files a refusal names."""

_PART = re.compile(r"(?<![A-Za-z])part[-_.]?#", re.IGNORECASE)
_OF = re.compile(r"#[-_]?of[-_]?#(?![\w])", re.IGNORECASE)
_SNOWFLAKE = re.compile(r"(?:.*[-_.])?data_(?:@_)?#_#_#", re.IGNORECASE)
_HADOOP = re.compile(r"#(?:_#)?(?:_copy_#)?", re.IGNORECASE)


class File(Protocol):
    """The facts about a file that are known before it is opened."""

    @property
    def path(self) -> str: ...
    @property
    def mtime(self) -> datetime: ...
    @property
    def taken_at(self) -> datetime: ...


F = TypeVar("F", bound=File)


@dataclass(frozen=True, slots=True)
class Situation:
    """The place of the files, and what is known beside their names."""

    folder: str
    """that the pattern fixes: only what is below it tells one file from another"""
    is_dated: bool
    """`taken_at` reads the date of each path"""
    is_complete: Callable[[str], bool]
    """whether a folder, or one above it, has a marker that its writer leaves when all is written"""
    consists_of: str | None = None
    is_named: bool = False
    """the file was named, not searched for: what only may belong to it does not"""


def together(found: F, files: Sequence[F], situation: Situation) -> tuple[list[F], bool | None]:
    """Return the files of the snapshot whose newest file is `found`, by path, and whether their names alone say so.

    None stands for files whose names differ in numbers only: what is in them has to say whether they are one snapshot.
    Raises SnapshotError for a part that is missing, for parts of two exports, and where it is not sure what belongs together.
    """
    if situation.consists_of == ConsistsOf.ONE_FILE:
        return [found], True
    if situation.consists_of == ConsistsOf.ALL_FILES:
        return _by_path(_written_with(found, files, situation, WRITTEN_WITHIN)), True
    names = {file.path: read_name(file.path.removeprefix(situation.folder).lstrip("/")) for file in files}
    own = names[found.path]
    group = [file for file in files if _counts_with(own, names[file.path])]
    alike = [file for file in files if _is_alike(own, names[file.path])]
    group = group or _written_with(found, alike, situation, WRITTEN_WITHIN)
    grouped = {file.path for file in group}
    near = [file for file in _written_with(found, files, situation, MINUTES) if file.path not in grouped]
    rivals = [*near, *_written_with(found, group, situation, WRITTEN_WITHIN)]
    rivals = [file for file in rivals if names[file.path].moments != own.moments]
    group, others = ([file for file in each if names[file.path].moments == own.moments] for each in (group, near))
    try:
        if not situation.is_named:
            _refuse_rivals(found, rivals, names)
        if others and not situation.is_named:
            raise _UnsureError(*unsure(found, others, is_dated=situation.is_dated))
        return _by_path(group), _confirm(found, group, names, situation)
    except _UnsureError as error:
        if situation.is_named:
            return [found], True
        raise unusable(error.finding, error.remedy) from None


def may_belong(folder: str, named: str, path: str) -> bool:
    """Whether a file may be one snapshot with a file that was named, as far as their names say."""
    own, other = (read_name(each.removeprefix(folder).lstrip("/")) for each in (named, path))
    return _counts_with(own, other) or _is_alike(own, other)


def confirm_folder(files: Sequence[F], folder: str, situation: Situation) -> None:
    """Raise SnapshotError for files of one folder, all of them one snapshot, that are of different days or lack a part."""
    names = {file.path: read_name(file.path.removeprefix(folder).lstrip("/")) for file in files}
    newest = max(files, key=lambda file: (names[file.path].moments, file.path))
    for file in files:
        own, other = names[newest.path], names[file.path]
        if own.moments and other.moments and _apart(own, other) >= WRITTEN_WITHIN:
            raise unusable(
                f"{folder}/ holds files of different times: {_shown([newest, file])}.",
                "Give every export its own folder, or name the files by a pattern with taken_at; if all of them are one "
                "snapshot, set consists_of: all_files.",
            )
    counted = [file for file in files if _is_part(names[file.path])]
    for shape in {_counted_by(names[file.path]) for file in counted}:
        group = [file for file in counted if _counted_by(names[file.path]) == shape]
        _refuse_gap(group, names, situation)


def refuse_unfinished(name: str, paths: Sequence[str]) -> None:
    """Raise SnapshotError if one of these files is still being written."""
    for path in paths:
        if path.lower().endswith(UNFINISHED) or PurePosixPath(path).name == "_temporary":
            raise unusable(
                f"{name} is not complete: {PurePosixPath(path).name} is being written.",
                "Wait until it is finished; if nobody writes it any more, remove it.",
            )


def unsure(found: File, others: Sequence[File], *, is_dated: bool) -> tuple[str, str]:
    """Return what is said of files that may be one snapshot, or several, and the remedy."""
    why = "have the same taken_at" if is_dated else "were written within minutes of each other"
    return (
        f"{_shown([found, *others])} {why}: they may be one snapshot in several files, or several snapshots.",
        "Set consists_of: all_files in the snapshot's section if they are one, or consists_of: one_file if each of them is one.",
    )


class _UnsureError(Exception):
    """Says that it is not sure which files are the snapshot."""

    def __init__(self, finding: str, remedy: str) -> None:
        super().__init__(finding)
        self.finding, self.remedy = finding, remedy


def _shown(files: Sequence[File]) -> str:
    """Names of files, those in different folders with their folders."""
    several = len({folder_of(file.path) for file in files}) > 1
    names = [
        "/".join(PurePosixPath(file.path).parts[-2:]) if several else PurePosixPath(file.path).name for file in files
    ]
    names = [repr(name)[1:-1] for name in names]
    rest = f" and {len(names) - NAMED} others" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest if rest else " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _by_path(files: Sequence[F]) -> list[F]:
    return sorted(files, key=lambda file: file.path)


def _written_with(found: F, files: Sequence[F], situation: Situation, within: timedelta) -> list[F]:
    """The files of the same `taken_at`; without one, those written before it with no longer pause than `within`."""
    if situation.is_dated:
        return [file for file in files if file.taken_at == found.taken_at]
    before = sorted((file for file in files if file.mtime <= found.mtime), key=lambda file: file.mtime, reverse=True)
    last = next(
        (index for index in range(1, len(before)) if before[index - 1].mtime - before[index].mtime > within), None
    )
    return [file for file in before[:last] if found.mtime - file.mtime <= WRITTEN_WITHIN]


# -- names ---------------------------------------------------------------------------------------------------


def _is_alike(name: Name, other: Name) -> bool:
    """Whether they differ in numbers, ids and moments only, and in the values of partitions."""
    return (name.folders, name.shape, name.ending) == (other.folders, other.shape, other.ending)


def _is_part(name: Name) -> bool:
    """Whether the name is one that programs give to a part, and persons to nothing: `000000_0`, `vip-000000000012`."""
    if _PART.search(name.shape) or _OF.search(name.shape) or _SNOWFLAKE.fullmatch(name.shape):
        return True
    is_hadoops = _HADOOP.fullmatch(name.shape) and _is_padded(name.numbers[0], 6)
    is_bigquerys = name.shape.endswith("#") and _is_padded(name.numbers[-1], 12)
    return bool(is_hadoops or is_bigquerys)


def _is_padded(number: str, length: int) -> bool:
    return len(number) >= length and number.startswith("000")


def _counted_by(name: Name) -> tuple[tuple[str, ...], str]:
    """Return the text before the part number, which all parts of one export share."""
    found = _PART.search(name.shape) or _OF.search(name.shape)
    return name.folders, name.shape[: found.end()].lower() if found else name.shape


def _counts_with(name: Name, other: Name) -> bool:
    """Whether both are parts of the same thing by their names, whenever they were written."""
    return _is_part(name) and _is_part(other) and _counted_by(name) == _counted_by(other)


def _apart(name: Name, other: Name) -> timedelta:
    """Return how far the moments of two names are from each other."""
    pairs = zip(name.moments, other.moments, strict=False)
    if len(name.moments) != len(other.moments):
        return timedelta()
    return max((abs(one - two) for one, two in pairs), default=timedelta())


def _refuse_rivals(found: File, rivals: Sequence[File], names: dict[str, Name]) -> None:
    """Files whose names say another moment are other snapshots, unless theirs is later, or hardly another one."""
    own = names[found.path]
    for file in rivals:
        other = names[file.path]
        if _apart(own, other) < WRITTEN_WITHIN:
            raise _UnsureError(
                f"{_shown([found, file])} may be one snapshot in several files, or several snapshots.",
                "Set consists_of: all_files in the snapshot's section if they are one, or consists_of: one_file if each of "
                "them is one.",
            )
        if other.moments > own.moments:
            raise _UnsureError(
                f"{_shown([found, file])}: the first was written last, the name of the other says a later time.",
                'Say with taken_at how their names are read (for example taken_at: "%Y-%m-%d").',
            )


# -- numbers -------------------------------------------------------------------------------------------------


def _confirm(found: File, group: Sequence[File], names: dict[str, Name], situation: Situation) -> bool | None:
    """Make sure that the group is one export, and whole; returns whether its names are such as only a program gives."""
    own = names[found.path]
    if _is_part(own):
        _refuse_gap(group, names, situation)
        return True
    if len(group) == 1:
        return True
    folders = Counter(folder_of(file.path) for file in group)
    numbers = [names[file.path].numbers for file in group]
    varying = [place for place, each in enumerate(zip(*numbers, strict=True)) if len(set(each)) > 1]
    ids = {names[file.path].ids for file in group}
    is_count = all(_is_count([number[place] for number in numbers]) for place in varying)
    is_spread = len(folders) > 1 and any(is_partition(part) for path in folders for part in path.split("/"))
    has_own_ids = len(ids) == len(group) and bool(own.moments or _common(ids))
    if is_count and ((len(ids) == 1 and (varying or is_spread)) or has_own_ids):
        return False
    if situation.is_dated or situation.is_named:
        others = [file for file in group if file is not found]
        raise _UnsureError(*unsure(found, others, is_dated=situation.is_dated))
    return None


def _common(ids: set[tuple[str, ...]]) -> bool:
    """Whether one of the ids is that of the export, the same in all names."""
    return any(len(set(each)) == 1 for each in zip(*ids, strict=True))


def _is_count(numbers: Sequence[str]) -> bool:
    """Whether the numbers count from zero, or from one with zeros before them, and none is missing."""
    values = {int(number) for number in numbers}
    is_padded = all(len(number) >= 4 for number in numbers)
    first = 0 if 0 in values or not is_padded else 1
    return values == set(range(first, first + len(values)))


def _refuse_gap(group: Sequence[File], names: dict[str, Name], situation: Situation) -> None:
    """Raise SnapshotError for a part that is missing or there twice, and for parts of two exports."""
    folder = folder_of(group[0].path)
    numbers = [names[file.path].numbers for file in group]
    place = _place(names[group[0].path])
    _refuse_two_exports(group, names, place or 0)
    total = _total(names[group[0].path], place)
    for at in range(min(map(len, numbers))):
        values = {int(number[at]) for number in numbers}
        # What stands before the part's number (Redshift's slices) is counted too, what stands behind it is not.
        is_counted = at == place or (len(values) > 1 and (place is None or at < place))
        missing = _missing(values, total if at == place else None) if is_counted else None
        if missing is not None and not situation.is_complete(folder):
            raise unusable(
                f"{folder} is not complete: part {missing} is missing among {len(group)} files.",
                "Wait until the export is finished, or export it again; if these are all, set consists_of: all_files.",
            )


def _refuse_two_exports(group: Sequence[File], names: dict[str, Name], place: int) -> None:
    places = Counter((folder_of(file.path), names[file.path].numbers) for file in group)
    [((folder, numbers), times)] = places.most_common(1)
    if times > 1:
        raise unusable(
            f"{folder} holds part {int(numbers[place])} twice: two exports in one folder.",
            "Give every export its own folder.",
        )
    exports = {names[file.path].ids for file in group}
    if 1 < len(exports) < len(group) and not _common(exports):
        raise unusable(
            f"{folder} holds parts of several exports: the ids in their names differ ({_shown(group)}).",
            "Give every export its own folder.",
        )


def _total(name: Name, place: int | None) -> int | None:
    """Return how many parts there are, where the name says so."""
    return int(name.numbers[place + 1]) if place is not None and _OF.search(name.shape) else None


def _place(name: Name) -> int | None:
    """Return which of the numbers counts the parts; None where several do."""
    if found := _PART.search(name.shape):
        return name.shape[: found.end()].count("#") - 1
    if found := _OF.search(name.shape):
        return name.shape[: found.start()].count("#")
    if _SNOWFLAKE.fullmatch(name.shape):
        return None
    return 0 if _HADOOP.fullmatch(name.shape) else len(name.numbers) - 1


def _missing(numbers: set[int], total: int | None) -> int | None:
    """The first number that is missing; parts count from 0 or from 1."""
    first = 0 if 0 in numbers else 1
    last = max(numbers) if total is None else first + total - 1
    return next((number for number in range(first, last + 1) if number not in numbers), None)


def refuse_mixture(parts: Sequence[F], marker_at: datetime | None) -> None:
    """Raise SnapshotError for an export that is just written over the one before it: nobody's members."""
    first, last = (choose(parts, key=lambda part: part.mtime) for choose in (min, max))
    is_done = marker_at is not None and marker_at >= last.mtime
    if last.mtime - first.mtime <= WRITTEN_WITHIN or is_done:
        return
    older, newer = (PurePosixPath(part.path).name for part in (first, last))
    raise unusable(
        f"{folder_of(last.path)} holds parts of several exports: {older} is of {first.mtime:%Y-%m-%d %H:%M} UTC, {newer} of "
        f"{last.mtime:%Y-%m-%d %H:%M}.",
        "Wait until the export is finished. Give every export its own folder, or let it write _SUCCESS there at its end; if "
        "each file is a snapshot of its own, set consists_of: one_file.",
    )
