"""The input and the result of a diff, whichever engine runs it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from windsor_sync.domain.change import Limits, Turnover
from windsor_sync.domain.suppression import Suppressed
from windsor_sync.state.ledger import Head


@dataclass(frozen=True, slots=True)
class Record:
    """A stored file that says who was told true once: an outbox, or an older snapshot."""

    location: str
    number: int
    """of its run: of two records about one user the later one holds"""
    is_snapshot: bool = False
    """whether it is a snapshot: each of its users was told true, except those that `rest` excludes"""
    sent: tuple[tuple[int, int], ...] = ()
    """[first, last): stretches of an outbox whose entries may have been sent; exits count in all of it"""
    is_sure: bool = True
    """whether the exits in `sent` were sent indeed; others count as members, so that the guard judges them"""
    held: tuple[str, ...] = ()
    """kinds of change that were withheld"""
    rest: "Record | None" = None
    """of a snapshot: the outbox that says which of its users were not told yet"""


class MergeFiles(NamedTuple):
    """Locations of the sealed files of merged ids (see merges.py); None: no such file."""

    base: str | None = None
    recent: str | None = None


@dataclass(frozen=True, slots=True)
class DiffTask:
    """The input of a diff, and the run it is for."""

    head: Head | None
    """the ledger: what Windsor was told; None before the first sync"""
    snapshot: str
    """location of the sealed snapshot"""
    number: int
    """of the run the changes are for"""
    taken_at: datetime
    moment: datetime
    """now, for changes that wait for another try"""
    suppressed: Suppressed = field(default_factory=Suppressed)
    protected: tuple[str, ...] = ()
    """whose row in the snapshot cannot be read, as SHA-256 of the salt and the id: they may be members, and their exits wait"""
    salt: str = ""
    """the installation's id"""
    departed: tuple[Record, ...] = ()
    """what a resync reads of who was ever told true"""
    limits: Limits = field(default_factory=Limits)
    merges: MergeFiles = field(default_factory=MergeFiles)
    merges_seen: int = 0
    """the number of the newest merge that the last run knew of"""
    joins: bool = False
    """whether Windsor merges the two ids of an identify"""
    drafts: str = ""
    """URL of the folder for drafts in the object store; empty where the sealed files are on a disk"""
    stamp: str = ""
    """an option of COPY that says in the outbox whose it is; none for a plan"""

    @property
    def may_tell_false(self) -> bool:
        """Whether anybody may have been told true."""
        return self.head is not None or bool(self.departed)


@dataclass(frozen=True, slots=True)
class Tally:
    """The numbers of changes that a diff found, by kind and by whether they may go out."""

    rows: int
    false_rows: int
    """rows that tell `false`; they have the lowest numbers"""
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
    moved: int = 0
    """members whose id differs from the one that Windsor was told, or into whose id another one was merged"""
    moved_from: int = 0
    """their old ids, where Windsor may not have merged the two"""
    merged: int = 0
    """further rows of persons who have several rows in the snapshot"""
    turnover: Turnover | None = None
    """None where the snapshot before is not known"""

    @property
    def changes(self) -> int:
        """All of them."""
        return self.entered + self.exited + self.updated + self.moved + self.moved_from
