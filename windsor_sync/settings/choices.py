"""The settings that are one of a few words."""

from enum import StrEnum
from pathlib import PurePosixPath


class WireName(StrEnum):
    SEGMENT_WEBHOOK = "segment_webhook"
    WINDSOR_HOOK = "windsor_hook"


class IdentifyBy(StrEnum):
    USER_ID = "user_id"
    ANONYMOUS_ID = "anonymous_id"


class Emails(StrEnum):
    FIRST = "first"
    LAST = "last"
    ALL = "all"


class EmailsFrom(StrEnum):
    OWN = "own"
    ALL = "all"


class SnapshotFormat(StrEnum):
    ENGAGE_CSV = "engage_csv"
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


class ConsistsOf(StrEnum):
    ONE_FILE = "one_file"
    ALL_FILES = "all_files"


class MaxAgeAction(StrEnum):
    WARN = "warn"
    FAIL = "fail"


class Region(StrEnum):
    US = "us"
    EU = "eu"


PUBLIC_API = {Region.US: "https://api.segmentapis.com", Region.EU: "https://eu1.api.segmentapis.com"}
"""Where Segment's Public API is."""


class Column(StrEnum):
    USER_ID = "user_id"
    ANONYMOUS_ID = "anonymous_id"
    EMAIL = "email"
    PROFILE_ID = "profile_id"
    VALUE = "value"


class ReadableBy(StrEnum):
    OWNER = "owner"
    GROUP = "group"


class UnreadableRows(StrEnum):
    WITHHOLD_EXITS = "withhold_exits"
    TELL = "tell"


class AliasPolicy(StrEnum):
    FORWARD = "forward"
    HOLD = "hold"


class DiffEngine(StrEnum):
    DUCKDB = "duckdb"
    SPARK = "spark"


def format_of(path: str | None) -> SnapshotFormat | None:
    """Tell a snapshot's format from the end of its path, compressed or not; None where it does not say."""
    suffixes = PurePosixPath(path or "").suffixes
    if suffixes and suffixes[-1].lower() in (".gz", ".bz2", ".xz", ".zst", ".zip"):
        suffixes.pop()
    return _FORMATS.get(suffixes[-1].lower()) if suffixes else None


_FORMATS = {
    ".csv": SnapshotFormat.ENGAGE_CSV,
    ".parquet": SnapshotFormat.PARQUET,
    ".jsonl": SnapshotFormat.JSONL,
    ".ndjson": SnapshotFormat.JSONL,
}
