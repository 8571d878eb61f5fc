"""The doctor's look at Windsor: whether it is there, takes the key, and has the same time. Leaves no trace in Windsor."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from windsor_sync.delivery.probe import date_of, probe
from windsor_sync.errors import WindsorSyncError
from windsor_sync.settings import Destination
from windsor_sync.usecases.check import Finding, Level

MOST_APART = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Key:
    """Windsor's key, and where it was found."""

    secret: str = field(repr=False)
    place: str


def examine_destination(destination: Destination, api_key: Callable[[], Key]) -> Iterator[Finding]:
    """Look for the key, try it on Windsor, and compare the clocks."""
    try:
        key = api_key()
    except WindsorSyncError as error:
        yield Finding("API key", Level.ERROR, str(error))
        yield _without_key(destination)
    else:
        yield _answered(destination, key)
    yield _clock(destination)


def _without_key(destination: Destination) -> Finding:
    """Whether anybody is there at all."""
    if date_of(destination) is None:
        text = "nobody answers there. Check the URL, and whether Windsor is up. Nothing was sent."
        return Finding("destination", Level.ERROR, f"{destination.name}: {text}")
    text = "somebody answers there; whether it is Windsor can be said once there is a key"
    return Finding("destination", Level.OK, f"{destination.name}: {text}")


def _answered(destination: Destination, key: Key) -> Finding:
    found = probe(destination, key.secret)
    level = Level.OK if found.is_good else Level.ERROR if found.is_certain else Level.WARNING
    remedy = f" Put a valid one into {key.place}." if found.refuses_key else ""
    return Finding("destination", level, f"{destination.name}, with the key from {key.place}: {found.text}{remedy}")


def _clock(destination: Destination) -> Finding:
    """Compare with the Date of any answer; each stage of a change carries this machine's time."""
    asked_at = datetime.now(UTC)
    date = date_of(destination)
    if date is None:
        return Finding("clock", Level.WARNING, "not compared: Windsor does not answer. Look again when it does.")
    try:
        theirs = parsedate_to_datetime(date)
    except ValueError:
        return Finding("clock", Level.OK, "not compared: Windsor says no time")
    apart = theirs.replace(tzinfo=theirs.tzinfo or UTC) - asked_at
    if abs(apart) <= MOST_APART:
        return Finding("clock", Level.OK, f"within {MOST_APART.seconds} s of Windsor's")
    side = "behind" if apart > timedelta() else "ahead of"
    return Finding(
        "clock",
        Level.WARNING,
        f"this machine's clock is {abs(apart).total_seconds():,.0f} s {side} Windsor's. What is sent carries its time: "
        "let the system set it (NTP).",
    )
