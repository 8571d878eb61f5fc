"""The doctor's look at Windsor: whether it is there, takes the key, and has the same time. Leaves no trace in Windsor."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from windsor_sync.checkup import Finding, Level
from windsor_sync.delivery.probe import PATIENCE_S, probe
from windsor_sync.errors import WindsorSyncError
from windsor_sync.settings import Destination

MOST_APART = timedelta(seconds=30)


def examine_destination(destination: Destination, api_key: Callable[[], str]) -> Iterator[Finding]:
    """Look for the key, try it on Windsor, and compare the clocks."""
    try:
        key = api_key()
    except WindsorSyncError as error:
        yield Finding("API key", Level.ERROR, str(error))
    else:
        yield _answered(destination, key)
    yield _clock(destination)


def _answered(destination: Destination, key: str) -> Finding:
    found = probe(destination, key)
    if found.is_good:
        return Finding("destination", Level.OK, f"{destination.name}: {found.text}")
    level = Level.ERROR if found.is_certain else Level.WARNING
    return Finding("destination", level, f"{destination.name}: {found.text}")


def _clock(destination: Destination) -> Finding:
    """Compare with the Date of any answer; each stage of a change carries this machine's time."""
    asked_at = datetime.now(UTC)
    try:
        said = httpx.head(destination.url, timeout=PATIENCE_S, trust_env=False).headers["Date"]
        theirs = parsedate_to_datetime(said)
    except (httpx.HTTPError, KeyError, ValueError):
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
