"""From the names of files to the audiences they are snapshots of, and the pattern that means all of those."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from windsor_sync.settings.choices import format_of
from windsor_sync.spec.trait_keys import trait_key
from windsor_sync.surroundings.listing import Entry, Listing

_DATE = r"\d{4}[-_.]?\d{2}[-_.]?\d{2}(?:[T_ .-]*\d{2}[-_.:]?\d{2}(?:[-_.:]?\d{2})?)?Z?|\d{9,}"
_COUNTER = r"part[-_.]?\d+.*|\d+[-_]?of[-_]?\d+|\(\d+\)"
_AT_ENDS = re.compile(rf"(?:^|[-_. ]+)(?:{_DATE}|{_COUNTER})$|^(?:{_DATE})(?:[-_. ]+|$)", re.IGNORECASE)
_SAYS_NOTHING = re.compile(
    r"\d*|(?:mon|tues|wednes|thurs|fri|satur|sun)day|snapshots?|exports?|data|downloads?|members|users|audiences?|latest"
    r"|current|new|old|today|yesterday|tmp|test",
    re.IGNORECASE,
)
_OTHERWISE_READ = re.compile(r"[*?\[\]]|::|://")


@dataclass(frozen=True, slots=True)
class Group:
    """Files that are snapshots of the same thing."""

    name: str
    pattern: str
    """relative to where the look began"""
    files: int
    newest_at: datetime
    """UTC, by the files' modification times"""


def groups_in(listing: Listing) -> tuple[list[Group], list[PurePosixPath]]:
    """The groups, that with the newest file first; and the files that cannot be named in windsor.yaml."""
    found: dict[tuple[str, str], Group] = {}
    odd: list[PurePosixPath] = []
    for folder, entries in listing.folders.items():
        data = [entry for entry in entries if format_of(entry.name.lower())]
        odd += [folder / entry.name for entry in data if not _is_plain(folder / entry.name)]
        for group in _of_folder(folder, [entry for entry in data if _is_plain(folder / entry.name)]):
            before = found.get((group.name, group.pattern))
            found[group.name, group.pattern] = _together(before, group) if before else group
    return sorted(found.values(), key=lambda group: (group.newest_at, group.pattern), reverse=True), odd


def _is_plain(path: PurePosixPath) -> bool:
    """Whether windsor.yaml can name it, and a terminal show it, as it is."""
    return str(path).isprintable() and not _OTHERWISE_READ.search(str(path)) and not str(path).startswith("~")


def _of_folder(folder: PurePosixPath, entries: list[Entry]) -> Iterator[Group]:
    kinds: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        stem, ending = _split(entry.name)
        kinds.setdefault((_label(stem), ending), []).append(entry)
    for (label, ending), same in kinds.items():
        names = [entry.name for entry in entries]
        owner = _owner(folder, label)
        if owner is not None:
            name, pattern = owner.name, _below(owner, folder, ending)
        else:
            name, pattern = label, str(folder / _pattern(label, ending, names, same))
        yield Group(_label(name) or name, pattern, len(same), max(entry.modified_at for entry in same))


def _owner(folder: PurePosixPath, label: str) -> PurePosixPath | None:
    """The folder that is named after the audience, where the file is not."""
    if label and not _SAYS_NOTHING.fullmatch(label) and trait_key(label) != trait_key(_label(folder.name)):
        return None
    while folder.parts:
        own = _label(folder.name)
        if own and not _SAYS_NOTHING.fullmatch(own):
            return folder
        folder = folder.parent
    return None


def _below(owner: PurePosixPath, folder: PurePosixPath, ending: str) -> str:
    levels = len(folder.parts) - len(owner.parts)
    return str(owner.joinpath(*["*"] * levels, f"*{ending}"))


def _pattern(label: str, ending: str, names: list[str], same: list[Entry]) -> str:
    """What means the group's files and no other file of the folder; the newest of them where no pattern does."""
    own = {entry.name for entry in same}
    newest = max(same, key=lambda entry: (entry.modified_at, entry.name)).name
    if own == {f"{label}{ending}"}:
        return newest
    patterns = (f"{label}*{ending}", f"*{label}{ending}")
    return next((one for one in patterns if {name for name in names if fnmatchcase(name, one)} == own), newest)


def _split(name: str) -> tuple[str, str]:
    """Stem and ending: `vip.csv.gz` is `vip` and `.csv.gz`."""
    suffixes = PurePosixPath(name).suffixes
    kept = 1 if format_of(f"x{suffixes[-1].lower()}") else 2
    ending = "".join(suffixes[-kept:])
    return name.removesuffix(ending), ending


def _label(stem: str) -> str:
    """The stem without the dates and counters at its ends."""
    while (shorter := _AT_ENDS.sub("", stem).strip(" -_.")) != stem:
        stem = shorter
    return stem


def _together(one: Group, other: Group) -> Group:
    return Group(one.name, one.pattern, one.files + other.files, max(one.newest_at, other.newest_at))
