"""Our codes in words that somebody who has never seen Segment understands, and how numbers and moments are written."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windsor_sync.domain.run import RunState


@dataclass(frozen=True, slots=True)
class StateWords:
    """A run's state as a page shows it."""

    text: str
    tone: str
    """`yes`, `warn`, `no` or `calm`: the colour"""


STATES: Mapping[str, StateWords] = {
    "open": StateWords("not ended yet", "calm"),
    "done": StateWords("done", "yes"),
    "withheld": StateWords("waits for approval", "warn"),
    "rejected": StateWords("done, some rejected", "warn"),
    "refused": StateWords("key refused", "no"),
    "unavailable": StateWords("Windsor did not answer", "no"),
    "interrupted": StateWords("stopped half-way", "warn"),
    "failed": StateWords("failed", "no"),
}
"""A RunState is its text; this module is imported by `--help`, which waits for no database driver."""

CLASSES = {"audience": "audience", "trait": "computed trait", "events": "events"}

LEFT_OUT = {
    "not_members": "not members: the snapshot says false of them",
    "missing_user_id": "without a user id",
    "missing_value": "without a value",
    "duplicate": "repeated users",
    "suppressed": "suppressed users: nothing may be sent about them",
    "malformed": "unreadable rows",
    "merged": "of members who have another row: Windsor has merged their ids",
}

MOVED_WORDS = {
    "moved": "members who have another id now, or whose ids were merged: told again",
    "moved_from": "old ids of members, where Windsor may not have merged the ids: told false first",
}
"""Explains the two kinds of change to a reader."""

STEPS: tuple[tuple[str, str, str], ...] = (
    ("received", "Received", "read from Segment's archive"),
    ("carried", "Carried over", "of earlier runs that could not deliver them"),
    ("failed_on_ingest", "Failed on ingest", "not valid by Segment's rules; never sent"),
    ("filtered_at_destination", "Filtered at destination", "valid, but not meant for Windsor; not sent"),
    ("duplicates", "Duplicates", "seen before; sent once only"),
    ("held", "Held", "alias messages that wait for a person, or of users suppressed meanwhile"),
    ("awaiting_retry", "Awaiting retry", "not acknowledged yet; the next run sends them first"),
    ("failed_delivery", "Failed delivery", "rejected by Windsor; not sent again"),
    ("delivered", "Delivered", "acknowledged by Windsor"),
)
"""A message ends in exactly one of them, but for the first two: field of an overview, its name, what it means."""

CODES = {
    "UNSUPPORTED_EVENT_TYPE": "Windsor's wire has no such call",
    "FILTERED_BY_END_USER_CONSENT": "the user did not consent",
    "FILTERED_BY_INTEGRATIONS_OBJECT": "its sender kept it from Windsor",
    "SUPPRESSED": "nothing may be sent about this user",
    "CALL_SWITCHED_OFF": "windsor.yaml does not forward this call",
    "SYNCED_FROM_SNAPSHOTS": "Windsor learns this audience from its snapshots",
    "no_user_anon_id": "names no user",
    "missing_type": "says no call",
    "invalid_type": "says an unknown call",
    "event_not_defined": "a track without an event name",
}


_COMMAND = "`windsor-sync "
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`])")
_DEEDS = (
    (re.compile(r"run `windsor-sync approve [^`]*`"), "approve it"),
    (re.compile(r"run `windsor-sync retire [^`]*`"), "have it retired"),
)


def for_browser(sentences: str) -> str:
    """Return sentences without the commands that they name: the page has a button or a link instead."""
    for command, deed in _DEEDS:
        sentences = command.sub(deed, sentences)
    kept = []
    for sentence in _SENTENCE.split(sentences):
        clauses = [clause for clause in sentence.split("; ") if _COMMAND not in clause]
        text = "; ".join(clauses)
        kept.append(text if not text or text.endswith((".", "!", "?")) else f"{text}.")
    return " ".join(filter(None, kept))


def state_words(state: "RunState") -> StateWords:
    """The state in words, with its colour."""
    return STATES[state]


def class_words(computation_class: str) -> str:
    """Return the words for a computation class."""
    return CLASSES.get(computation_class, computation_class)


def left_out_words(reason: str) -> str:
    """Return why a row of a snapshot is not a member."""
    return LEFT_OUT.get(reason, reason.replace("_", " "))


def code_words(code: str) -> str:
    """Return the meaning of a code of the Delivery Overview; empty where the code is plain."""
    return CODES.get(code, "")


def count(number: int | None) -> str:
    """1234567 → 1,234,567."""
    return "–" if number is None else f"{number:,}"


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its unit: 1 run, 2 runs."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def short(number: float) -> str:
    """A number for an axis: 950, 12k, 1.5M."""
    for size, letter in ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


def moment(when: datetime | None) -> str:
    """A moment by the clock of everybody."""
    return "–" if when is None else f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def ago(when: datetime, now: datetime) -> str:
    """Return how long before `now` it was, or after it will be, in the largest unit that fits."""
    distance = now - when
    text = lasting(abs(distance))
    return f"{text} ago" if distance >= timedelta() else f"in {text}"


def old(taken_at: datetime, now: datetime) -> str:
    """Return how old a snapshot is: 3 hours old."""
    return f"{lasting(max(now - taken_at, timedelta()))} old"


def lasting(span: timedelta) -> str:
    """A span in its largest unit: 40 seconds, 5 minutes, 3 hours, 2 days."""
    seconds = int(span.total_seconds())
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return counted(seconds // size, unit)
    return counted(seconds, "second")
