"""What a diff is asked, and what it answers, whichever engine runs it."""

from dataclasses import dataclass, field
from datetime import datetime

from windsor_sync.ledger import Head
from windsor_sync.outbox import Limits


@dataclass(frozen=True, slots=True)
class DiffTask:
    """What a diff compares, and for which run."""

    head: Head | None
    """the ledger: what Windsor was told; None before the first sync"""
    snapshot: str
    """location of the sealed snapshot"""
    number: int
    """of the run the changes are for"""
    taken_at: datetime
    moment: datetime
    """now, for changes that wait for another try"""
    suppressed: tuple[str, ...] = ()
    """hex SHA-256 of the installation id and a user id"""
    protected: tuple[str, ...] = ()
    """whose row in the snapshot cannot be read, as hex SHA-256 in the same way: they may be members, and their exits wait"""
    salt: str = ""
    departed: tuple[str, ...] = ()
    """locations of older outboxes, whose exits a resync repeats"""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many changes a diff found, by kind and by whether they may go out."""

    rows: int
    entered: int
    exited: int
    updated: int
    deferred: int
    """rejected before and not due for another try"""
    later: int
    """left out of this run by a backfill's `--only` or `--limit`"""
    new_members: int
    """entered and to be sent in this run: what the guard looks at"""
    lost_members: int
    """told, exited and to be sent in this run"""
    told_exited: int
    """exited of those Windsor had been told are members (the others are in doubt)"""

    @property
    def changes(self) -> int:
        """All of them."""
        return self.entered + self.exited + self.updated
