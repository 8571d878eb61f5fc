"""Which files are parts of one snapshot, by their names, and whether all of them are there.

Names that count: `part-0.csv` as Spark, Hive and many others write them (`part-00000-<id>-c000.snappy.parquet`),
`vip-1-of-3.csv`, and `vip-000000000000.csv` as BigQuery does.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from windsor_sync.sources.refusal import unusable

UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".download")
_COUNTED = re.compile(
    r"(?P<before>.*(?<![0-9A-Za-z])part[-_.]?)(?P<part>\d+)(?:[-_]?of[-_]?(?P<total>\d+))?(?!\d)"
    r"|(?P<before2>.*[-_.])(?P<part2>\d+)[-_]?of[-_]?(?P<total2>\d+)(?!\d)"
    r"|(?P<before3>.*[-_.]|)(?P<part3>0{4}\d{8})(?=\.)",
    re.IGNORECASE,
)


def siblings(path: str, paths: Iterable[str], is_marked_complete: Callable[[str], bool]) -> list[str]:
    """The parts to which a file belongs, in order; the file alone where its name does not count.

    Raises SnapshotError for a part that is missing or there twice. `is_marked_complete` says whether a folder has a marker
    that its writer leaves when all is written: Spark leaves out the parts that would be empty.
    """
    own = _place(path)
    if own is None:
        return [path]
    group, _, total = own
    found = sorted(
        (place[1], each) for each in paths if (place := _place(each)) and (place[0], place[2]) == (group, total)
    )
    numbers = Counter(number for number, _ in found)
    twice = next((number for number, count in numbers.items() if count > 1), None)
    if twice is not None:
        raise unusable(
            f"{folder_of(path)} holds part {twice} twice: two exports in one folder.",
            "Give every export its own folder.",
        )
    if (missing := _missing(set(numbers), total)) is not None and not is_marked_complete(folder_of(path)):
        raise unusable(
            f"{folder_of(path)} is not complete: part {missing} is missing among {len(found)} files.",
            "Wait until the export is finished, or export it again.",
        )
    return [each for _, each in found]


def belong_together(path: str, other: str) -> bool:
    """Whether two names count parts of the same thing, or are the same."""
    own, theirs = _place(path), _place(other)
    return path == other or (own is not None and theirs is not None and own[0] == theirs[0])


def refuse_unfinished(name: str, paths: Iterable[str]) -> None:
    """Raise SnapshotError if one of these files is still being written."""
    for path in paths:
        if path.lower().endswith(UNFINISHED) or PurePosixPath(path).name == "_temporary":
            raise unusable(
                f"{name} is not complete: {PurePosixPath(path).name} is being written.",
                "Wait until it is finished; if nobody writes it any more, remove it.",
            )


def is_data(path: str) -> bool:
    """Not hidden, no marker such as `_SUCCESS`, not unfinished."""
    return not PurePosixPath(path).name.startswith((".", "~", "_")) and not path.lower().endswith(UNFINISHED)


def folder_of(path: str) -> str:
    """Everything before the file's name."""
    return path.rpartition("/")[0]


def _place(path: str) -> tuple[str, int, int | None] | None:
    """Which group of files a file belongs to, its number there, and how many there are if its name says so."""
    folder, _, name = path.rpartition("/")
    found = _COUNTED.match(name)
    if found is None:
        return None
    before, part, total = (
        next((text for key in (name, f"{name}2", f"{name}3") if (text := found.groupdict().get(key)) is not None), None)
        for name in ("before", "part", "total")
    )
    return f"{folder}/{before}", int(part or 0), int(total) if total else None


def _missing(numbers: set[int], total: int | None) -> int | None:
    """The first number that is missing; parts count from 0 or from 1."""
    if total is None:
        first, last = (0 if 0 in numbers else 1), max(numbers)
    else:
        first = 0 if 0 in numbers else 1
        last = first + total - 1
    return next((number for number in range(first, last + 1) if number not in numbers), None)
