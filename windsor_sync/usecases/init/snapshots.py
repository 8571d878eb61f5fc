"""Finds the files that are snapshots: names say of which audience, and the sources say how the newest file is read."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path, PurePosixPath

from windsor_sync.errors import ConfigError, SnapshotError
from windsor_sync.segment.trait_keys import TraitKey, key_problem, trait_key
from windsor_sync.settings.choices import SnapshotFormat, format_of
from windsor_sync.settings.patterns import below
from windsor_sync.sources import newest
from windsor_sync.sources.contents import contents_of
from windsor_sync.sources.dates import date_in
from windsor_sync.sources.files import listings_kept
from windsor_sync.usecases.init.discover import is_plain

MAX_OPENED = 50
MAX_ROWS_A_USER = 2
"""A file with more rows for each user is a table of events or orders."""
DATES = ("%Y-%m-%d", "%Y%m%d", "%Y_%m_%d")
NO_STATE_YET = " Nothing was sent; the last good snapshot stands."

_DATE = r"\d{4}[-_.]?\d{2}[-_.]?\d{2}(?:[T_ .-]*\d{2}[-_.:]?\d{2}(?:[-_.:]?\d{2})?)?Z?|\d{9,}"
_COUNTER = r"part[-_.]?\d+.*|\d+[-_]?of[-_]?\d+|\(\d+\)"
_AT_ENDS = re.compile(rf"(?:^|(?<![-_. ])[-_. ]+)(?:{_DATE}|{_COUNTER})$|^(?:{_DATE})(?:[-_. ]+|$)", re.IGNORECASE)
_SAYS_NOTHING = re.compile(
    r"[\d\W_]*|[0-9a-f-]{16,}|(mon|tues|wednes|thurs|fri|satur|sun)day|(snapshot|export|download|member|user|audience)s?"
    r"|data|latest",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class FoundSnapshot:
    """Files that windsor.yaml can have as the snapshot of an audience or computed trait."""

    name: str
    key: TraitKey
    is_trait: bool
    pattern: str
    """relative to where the look began"""
    format: SnapshotFormat
    by_anonymous_id: bool
    """whether its rows name no other id"""
    taken_at: datetime
    """of the newest file; UTC"""
    dated: str | None
    """the date that every file's name has, each another one, as strptime reads it"""


def find_snapshots(root: Path, files: Mapping[PurePosixPath, list[str]]) -> tuple[list[FoundSnapshot], list[str]]:
    """Open the newest file of each audience; return the snapshots, and why other files are none, a sentence each."""
    groups: dict[tuple[PurePosixPath, str, str], list[str]] = defaultdict(list)
    for folder, names in files.items():
        for name in filter(is_plain, names):
            groups[folder, *_audience_and_ending(folder, name)].append(name)
    found: list[FoundSnapshot] = []
    problems = []
    with listings_kept():
        for (folder, audience, ending), own in islice(groups.items(), MAX_OPENED):
            pattern = folder / _pattern(audience, ending, own, files[folder])
            one = _opened(root, audience, str(pattern), _dates(own))
            if isinstance(one, str):
                problems.append(one if one.startswith(str(pattern)) else f"{pattern}: {one}")
            elif alike := [
                other for other in found if one.key == other.key or one.name.casefold() == other.name.casefold()
            ]:
                problems.append(f"{pattern}: is called as {alike[0].pattern} is: rename one")
            else:
                found.append(one)
    if len(groups) > MAX_OPENED:
        problems.append(f"files with {len(groups) - MAX_OPENED:,} more names: only {MAX_OPENED} are opened")
    return found, problems


def _audience_and_ending(folder: PurePosixPath, name: str) -> tuple[str, str]:
    """`vip_2026-01-01.csv.gz`, or `2026-01-01.csv.gz` in a folder `vip`, is `vip` and `.csv.gz`."""
    suffixes = PurePosixPath(name).suffixes
    ending = "".join(suffixes[-1:] if format_of(f"x{suffixes[-1]}") else suffixes[-2:])
    label = name.removesuffix(ending)
    while (shorter := _AT_ENDS.sub("", label).strip(" -_.")) != label:
        label = shorter
    return next((one for one in (label, folder.name) if not _SAYS_NOTHING.fullmatch(one)), ""), ending


def _pattern(audience: str, ending: str, own: list[str], names: list[str]) -> str:
    """Return a pattern for an audience's own files and no other of the folder; the last one's name where there is none."""
    beginnings = (audience, f"{audience}*", f"{audience}?[0-9]*", f"*{audience}", "*", "[0-9]*")
    patterns = (f"{one}{ending}" for one in beginnings)
    return next((one for one in patterns if [name for name in names if fnmatchcase(name, one)] == own), own[-1])


def _dates(names: list[str]) -> str | None:
    """A copy loses a file's modification time; the date in its name stays."""
    for pattern in DATES:
        found = {date_in(name, pattern) for name in names}
        if None not in found and len(found) == len(names):
            return pattern
    return None


def _opened(root: Path, name: str, pattern: str, dated: str | None) -> FoundSnapshot | str:
    """Return the files of a pattern as a snapshot, or why they are none."""
    key, format = trait_key(name), format_of(pattern)
    assert format is not None
    if problem := key_problem(key) if name else "neither the file nor its folder is named after an audience":
        return problem
    try:
        file = newest(below(root, pattern), dated)
        contents = contents_of(file, format, key)
    except (SnapshotError, ConfigError) as error:
        return str(error).replace(NO_STATE_YET, "").replace(f"{root}/", "")
    except OSError as error:
        return f"the newest file cannot be read ({type(error).__name__})"
    if contents.rows > MAX_ROWS_A_USER * contents.users:
        return f"{contents.rows:,} rows name {contents.users:,} users, so it is no snapshot"
    return FoundSnapshot(
        name, key, contents.has_values, pattern, format, contents.by_anonymous_id, file.taken_at, dated
    )
