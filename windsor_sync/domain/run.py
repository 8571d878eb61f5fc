"""A run and its books: every row read and every change ends in exactly one column."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from windsor_sync.domain.change import Turnover
from windsor_sync.errors import WindsorSyncError


class RunState(StrEnum):
    """The state of a run."""

    OPEN = "open"
    """its changes are on their way, or it died"""
    DONE = "done"
    WITHHELD = "withheld"
    REJECTED = "rejected"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class UnbalancedBooksError(WindsorSyncError):
    """A run's numbers do not add up: something was lost or counted twice, and must not pass unseen."""


@dataclass(frozen=True, slots=True)
class Books:
    """The numbers of one run."""

    rows_read: int
    members: int
    left_out: Mapping[str, int]
    """rows of the source that are not members, by reason"""
    members_before: int
    """users Windsor had been told are members"""
    entered: int
    exited: int
    updated: int
    moved: int = 0
    """members told again because they have another id, or because an id was merged into theirs"""
    moved_from: int = 0
    """their old ids, told false where Windsor may not have merged them"""
    delivered: int = 0
    rejected: int = 0
    withheld: int = 0
    owed: int = 0
    in_doubt: int = 0
    """of the changes not delivered: those Windsor may have applied without our knowing"""
    turnover: Turnover | None = None
    """who differs from the snapshot before; None where that is not known"""
    told_true: int | None = None
    """users whom Windsor has as true, by what it acknowledged; None until the run ends, and of runs of before"""

    @property
    def changes(self) -> int:
        """All changes of the run."""
        return self.entered + self.exited + self.updated + self.moved + self.moved_from

    @property
    def since_last(self) -> Turnover:
        """Return who differs from the snapshot before; of a run of before this was counted, its changes."""
        return self.turnover or Turnover(self.entered, self.exited, self.updated, self.moved)

    @property
    def moved_kinds(self) -> dict[str, int]:
        """Return the counts of `moved` and `moved_from` by name."""
        return {"moved": self.moved, "moved_from": self.moved_from}

    def counts(self) -> dict[str, int]:
        """The numbers of members and changes by name, for JSON, XCom and tables."""
        names = (
            "members", "entered", "exited", "updated", "moved", "moved_from", "delivered", "rejected", "withheld",
            "owed", "in_doubt",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def check(self, run_id: str) -> None:
        """Raise UnbalancedBooksError unless rows and changes add up."""
        rows = self.members + sum(self.left_out.values())
        if rows != self.rows_read:
            raise _unbalanced(run_id, f"{self.rows_read:,} rows were read, {rows:,} are accounted for")
        changes = self.delivered + self.rejected + self.withheld + self.owed
        if changes != self.changes:
            raise _unbalanced(run_id, f"{self.changes:,} changes were found, {changes:,} are accounted for")


@dataclass(frozen=True, slots=True)
class Run:
    """One run as people see it."""

    run_id: str
    audience: str
    """trait key"""
    name: str
    number: int
    kind: str
    trigger: str
    state: RunState
    taken_at: datetime
    started_at: datetime
    finished_at: datetime | None
    sentence: str | None
    books: Books
    held: tuple[str, ...]
    outbox: str | None
    audience_id: int
    options: Mapping[str, Any]
    retry_after_s: float | None = None
    """how long Windsor asked to wait, when that ended it just now"""
    reason: str | None = None
    """why a person started it"""
    unit: ClassVar[str] = "change"
    """what its outbox has"""

    @property
    def is_resync(self) -> bool:
        """Whether it tells every member again."""
        return self.options.get("mode") == "resync" or self.is_recovery

    @property
    def is_recovery(self) -> bool:
        """Whether it does so because it was lost what Windsor had been told."""
        return bool(self.options.get("is_recovery"))

    @property
    def title(self) -> str:
        """Return the name of what is delivered, for a progress bar."""
        return self.audience


@dataclass(frozen=True, slots=True)
class ForwardingRun(Run):
    """One run of a forwarding: its outbox has messages, and its members are the messages that were taken in."""

    intake: Mapping[str, Any] = field(kw_only=True)
    """what was read, and what was left out and why (see `events.books`)"""
    unit: ClassVar[str] = "message"

    @property
    def title(self) -> str:
        """Return the name of what is delivered, for a progress bar."""
        return "events"


AnyRun = TypeVar("AnyRun", bound=Run)
"""An audience's run or a forwarding's: what comes back is what was given."""


def _unbalanced(run_id: str, found: str) -> UnbalancedBooksError:
    return UnbalancedBooksError(
        f"The books of run {run_id} do not balance: {found}. What was delivered is recorded and stands. This is a defect "
        "of windsor_sync: please report it with the output of `windsor-sync runs " + run_id + " --json`."
    )
