"""Reads the name of a file: whether it is data, of which moment, and what its numbers count.

Nothing here looks into a file. A name is read in pieces: moments (`2026-01-31`, `1769832000`), ids that nobody chose (a
UUID, `4f3a9c01be`), numbers, and the words between them.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import PurePosixPath

UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".download")
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".snappy", ".lz4", ".deflate")
TIME_LIKE = frozenset(
    ("dt", "ds", "date", "day", "hour", "hr", "h", "minute", "min", "time", "ts", "timestamp", "run", "run_id", "load")
) | {"load_id", "batch", "version", "snapshot", "export"}
"""Keys of `key=value` folders whose values are different exports, and not parts of one."""

_BESIDE = re.compile(
    r"_(?:success|committed_.*|started_.*|metadata|common_metadata|spark_metadata|delta_log|temporary)(?:/.*)?"
    r"|desktop\.ini|thumbs\.db|.*_\$folder\$|.*\.(?:crc|md5|sha1|sha256|sig|asc|ok|done|metadata|manifest)",
    re.IGNORECASE,
)
_PARTITION = re.compile(r"(?P<key>[^=/]+)=(?P<value>[^/]*)")

_TIME = r"(?:[T _-]?(?P<H>[01]\d|2[0-3])[:_.-]?(?P<M>[0-5]\d)(?:[:_.-]?(?P<S>[0-5]\d))?(?:\.\d+)?Z?(?!\d))?"
_MOMENT = re.compile(
    rf"(?<!\d)(?P<y>(?:19|20)\d\d)(?P<sep>[-_.]?)(?P<m>0[1-9]|1[0-2])(?P=sep)(?P<d>0[1-9]|[12]\d|3[01]){_TIME}(?!\d)"
    r"|year=(?P<y2>\d{4})/month=(?P<m2>\d{1,2})(?:/day=(?P<d2>\d{1,2}))?"
    r"|(?<=hour=)(?P<hour>\d{1,2})(?!\d)"
    r"|(?<![\dA-Za-z.])(?P<epoch>1[5-9]\d{8})(?:\d{3})?(?:\.\d+)?(?![\dA-Za-z])",
    re.IGNORECASE,
)
_PIECE = re.compile(
    r"(?P<moment>\x00)"
    r"|(?P<id>[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
    r"|(?<![0-9A-Za-z])(?!0000)[0-9a-f]{10,}(?![0-9A-Za-z])"
    r"|(?<![0-9A-Za-z])(?=[A-Za-z]*\d)(?=\d*[A-Za-z])(?!(?:[A-Za-z]+\d+|\d+[A-Za-z]+)(?![0-9A-Za-z]))[0-9A-Za-z]{8,}"
    r"(?![0-9A-Za-z]))"
    r"|(?P<number>\d+)",
    re.IGNORECASE,
)

_MARKS = str.maketrans("#@~", "???")
"""What stands for numbers, ids and moments in a shape; a name's own are something else."""


@dataclass(frozen=True, slots=True)
class Name:
    """The pieces of a path below the fixed part of its pattern."""

    folders: tuple[str, ...]
    """with a `*` for the value of a `key=value` folder, unless its key says when"""
    shape: str
    """the file's name without its ending: `#` for a number, `@` for an id, `~` for a moment"""
    ending: str
    """`.csv`, also of `.csv.gz`"""
    numbers: tuple[str, ...]
    ids: tuple[str, ...]
    moments: tuple[datetime, ...]
    """of folders and name, in their order"""


@lru_cache(maxsize=1 << 15)
def read_name(path: str) -> Name:
    """Read a path relative to the folder that its pattern fixes."""
    blanked, moments = _without_moments(path)
    *folders, name = blanked.split("/")
    stem, ending = _ending(name.translate(_MARKS))
    shape: list[str] = []
    numbers: list[str] = []
    ids: list[str] = []
    last = 0
    for piece in _PIECE.finditer(stem):
        shape += [stem[last : piece.start()], "~" if piece["moment"] else "@" if piece["id"] else "#"]
        (ids if piece["id"] else numbers).extend([] if piece["moment"] else [piece[0]])
        last = piece.end()
    shape.append(stem[last:])
    return Name(tuple(map(_blank, folders)), "".join(shape), ending, tuple(numbers), tuple(ids), moments)


def is_beside(path: str) -> bool:
    """Whether the name is one that programs give to markers, checksums and settings of a folder, never to data."""
    return _BESIDE.fullmatch(PurePosixPath(path).name) is not None


def is_data(path: str) -> bool:
    """Whether a file is data: not hidden, no marker such as `_SUCCESS`, no checksum, not unfinished."""
    name = PurePosixPath(path).name
    return not name.startswith((".", "~", "_")) and not path.lower().endswith(UNFINISHED) and not is_beside(path)


def is_partition(folder: str) -> bool:
    """Whether the folder's name is `key=value` and its key does not say when."""
    found = _PARTITION.fullmatch(folder)
    return found is not None and found["key"].lower() not in TIME_LIKE


def folder_of(path: str) -> str:
    """Everything before the file's name."""
    return path.rpartition("/")[0]


def _without_moments(path: str) -> tuple[str, tuple[datetime, ...]]:
    """The path with a zero byte for each moment, and those moments."""
    found: list[datetime] = []

    def read(match: re.Match[str]) -> str:
        moment = _moment(match, found)
        if moment is None:
            return match[0]
        found.append(moment)
        return "\0"

    return _MOMENT.sub(read, path), tuple(found)


def _moment(match: re.Match[str], before: list[datetime]) -> datetime | None:
    if match["epoch"]:
        return datetime.fromtimestamp(int(match["epoch"]), UTC)
    if match["hour"]:
        return before[-1] + timedelta(hours=int(match["hour"])) if before else None
    year, month, day = (match[name] or match[f"{name}2"] for name in "ymd")
    try:
        hour, minute, second = (int(match[name] or 0) for name in "HMS")
        return datetime(int(year), int(month), int(day or 1), hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def _blank(folder: str) -> str:
    found = _PARTITION.fullmatch(folder)
    return f"{found['key']}=*" if found and is_partition(folder) else folder


def _ending(name: str) -> tuple[str, str]:
    """The name without its endings, and the one that says what it is."""
    stem = name
    while stem.lower().endswith(PACKED):
        stem = stem[: stem.rindex(".")]
    head, dot, tail = stem.rpartition(".")
    if not dot or not head or not tail.isalpha():
        head, dot, tail = stem, "", ""
    while head.lower().endswith(PACKED):  # `.snappy.parquet`
        head = head[: head.rindex(".")]
    return head, (dot + tail).lower()
