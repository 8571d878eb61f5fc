"""Derives from the names of files the audiences of which they are snapshots, and the pattern that means all of them."""

import re
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cache, partial
from itertools import islice
from pathlib import PurePosixPath

from windsor_sync.segment.trait_keys import trait_key
from windsor_sync.settings.choices import format_of
from windsor_sync.sources.dates import date_in
from windsor_sync.usecases.init.listing import ListedPath, Listing

_DATE = r"\d{4}[-_.]?\d{2}[-_.]?\d{2}(?:[T_ .-]*\d{2}[-_.:]?\d{2}(?:[-_.:]?\d{2})?)?Z?|\d{9,}"
DATES = ("%Y-%m-%d", "%Y%m%d", "%Y_%m_%d")
_COUNTER = r"part[-_.]?\d+.*|\d+[-_]?of[-_]?\d+|\(\d+\)"
_AT_ENDS = re.compile(rf"(?:^|(?<![-_. ])[-_. ]+)(?:{_DATE}|{_COUNTER})$|^(?:{_DATE})(?:[-_. ]+|$)", re.IGNORECASE)
_SAYS_NOTHING = re.compile(
    r"[\d\W_]*|[0-9a-f-]{16,}|(?:mon|tues|wednes|thurs|fri|satur|sun)day|snapshots?|exports?|data|downloads?|members|users|audiences?|latest"
    r"|current|new|old|today|yesterday|tmp|test",
    re.IGNORECASE,
)
_OTHERWISE_READ = re.compile(r"[*?\[\]]|::|://")
_WITHOUT_FORMAT = re.compile(r"(?=.*(?:\d{2}|_\d))[^.]+(?:\.(?:json|tsv|txt))?(?:\.(?:gz|bz2|xz|zst))?", re.IGNORECASE)
"""A name with a counter or a date, as programs name the files of an export, and without an ending of a known format."""
_EMAIL = re.compile(r"(?<![^\s/@])[^\s/@]+@[^\s/@]+\.[^\s/@]+")


@dataclass(frozen=True, slots=True)
class Group:
    """Files that are snapshots of the same thing."""

    name: str
    pattern: str
    """relative to where the look began"""
    files: int
    newest_at: datetime
    """UTC, by the files' modification times"""
    dated: str | None = None
    """the date that every file's name has, each another one, as strptime reads it"""


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups that the names of files form."""

    groups: tuple[Group, ...]
    """that with the newest file first"""
    odd: tuple[PurePosixPath, ...]
    """files that cannot be named in windsor.yaml"""
    personal: int
    """files that are named after somebody's e-mail address"""
    more: int
    """groups beyond those that are looked at"""


def groups_in(listing: Listing, most: int) -> Groups:
    """Return which files belong together, of the `most` groups with the newest files."""
    found: dict[tuple[str, str], Group] = {}
    odd: list[PurePosixPath] = []
    personal = more = 0
    for folder, entries in listing.folders.items():
        data = [entry for entry in entries if format_of(entry.name)]
        nobodys = [entry for entry in data if not names_a_person(folder / _split(entry.name)[0])]
        personal += len(data) - len(nobodys)
        odd += [folder / entry.name for entry in nobodys if not is_plain(folder / entry.name)]
        plain = [entry for entry in nobodys if is_plain(folder / entry.name)]
        kinds = _kinds(folder, plain)
        more += max(0, len(kinds) - most)
        names = [entry.name for entry in entries]
        for (label, owner, ending), same in islice(kinds.items(), most):  # each is compared with every name
            group = _group(folder, owner, label, ending, same, names)
            before = found.get((group.name, group.pattern))
            found[group.name, group.pattern] = _together(before, group) if before else group
    groups = sorted(found.values(), key=lambda group: (group.newest_at, group.pattern), reverse=True)
    return Groups(tuple(groups[:most]), tuple(odd), personal, more + max(0, len(groups) - most))


def without_format(listing: Listing) -> list[tuple[PurePosixPath, int]]:
    """Return the folders with files that look like an export but do not say their format; each with the number of files."""
    counts = [
        (folder, sum(bool(_WITHOUT_FORMAT.fullmatch(entry.name)) for entry in entries))
        for folder, entries in listing.folders.items()
        if is_plain(folder) and not names_a_person(folder)
    ]
    return sorted((folder, count) for folder, count in counts if count)


def is_plain(path: PurePosixPath) -> bool:
    """Whether windsor.yaml can name it, and a terminal show it, as it is."""
    return str(path).isprintable() and not _OTHERWISE_READ.search(str(path)) and not str(path).startswith("~")


def names_a_person(path: PurePosixPath) -> bool:
    """Whether a file or folder is named after somebody's e-mail address, which is repeated nowhere."""
    return any(_EMAIL.search(part) for part in path.parts)


def _kinds(
    folder: PurePosixPath, entries: list[ListedPath]
) -> dict[tuple[str, PurePosixPath | None, str], list[ListedPath]]:
    """Label (or the folder that has it) and ending → files; the newest first, and in each the newest file first."""
    kinds: dict[tuple[str, PurePosixPath | None, str], list[ListedPath]] = {}
    owner_of = cache(partial(_owner, folder))
    for entry in sorted(entries, key=lambda entry: (entry.modified_at, entry.name), reverse=True):
        stem, ending = _split(entry.name)
        label = _label(stem)
        owner = owner_of(label)
        kinds.setdefault(("" if owner else label, owner, ending), []).append(entry)
    return kinds


def _group(
    folder: PurePosixPath,
    owner: PurePosixPath | None,
    label: str,
    ending: str,
    same: list[ListedPath],
    names: list[str],
) -> Group:
    name = label or (_label(owner.name) if owner else "")
    pattern = _below(owner, folder, ending) if owner else str(folder / _pattern(label, ending, names, same))
    dates = _dates([entry.name for entry in same]) if owner in (None, folder) else None
    return Group(name, pattern, len(same), same[0].modified_at, dates)


def _dates(names: list[str]) -> str | None:
    """A copy loses a file's modification time; the date in its name stays."""
    for pattern in DATES:
        found = [date_in(name, pattern) for name in names]
        if None not in found and len(set(found)) == len(found):
            return pattern
    return None


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


def _pattern(label: str, ending: str, names: list[str], same: list[ListedPath]) -> str:
    """Return a pattern for the group's files and no other file of the folder; the newest file's name where there is none."""
    own = {entry.name for entry in same}
    newest = same[0].name
    if own == {f"{label}{ending}"}:
        return newest
    dated = f"{newest[: len(label) + 1]}[0-9]*{ending}" if newest.startswith(label) else newest
    patterns = (f"{label}*{ending}", dated, f"*{label}{ending}")
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
