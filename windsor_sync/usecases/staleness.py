"""Tells when a snapshot is too old to be believed: an export that stopped leaves its last file, which is green for ever."""

from datetime import UTC, datetime
from typing import NamedTuple

from windsor_sync.domain.labels import moment
from windsor_sync.settings import Computation
from windsor_sync.settings.durations import format_duration


class Stale(NamedTuple):
    """A finding about the age of a snapshot, with a remedy."""

    finding: str
    remedy: str

    def __str__(self) -> str:
        """Return the finding and the remedy."""
        return f"{self.finding} {self.remedy}"


def stale(computation: Computation, taken_at: datetime, now: datetime | None = None) -> Stale | None:
    """Return what is wrong with the age of the audience's snapshot; None when nothing is.

    What a query answers is of now.
    """
    limit, age = computation.snapshot.max_age, (now or datetime.now(UTC)) - taken_at
    if computation.snapshot.path is None or limit is None or age <= limit:
        return None
    return Stale(
        f"The snapshot of {computation.name} is stale: it was taken at {moment(taken_at)}, {_days(age.total_seconds())} ago, and "
        f"max_age is {format_duration(limit)}.",
        "Look whether its source still exports it; if it may be as old as that, raise max_age, or set max_age: null.",
    )


def _days(seconds: float) -> str:
    hours = int(seconds // 3600)
    return f"{hours // 24} days" if hours >= 48 else f"{hours} hours"
