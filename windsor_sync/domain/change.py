"""Changes between what Windsor was told and a snapshot: their kinds, their columns, and how a run limits them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

COLUMNS = {
    "seq": "BIGINT",
    "identity": "VARCHAR",  # 'u' and the user id, or 'a' and the anonymous id
    "user_id": "VARCHAR",
    "anonymous_id": "VARCHAR",
    "email": "VARCHAR",  # several, one a line, with `emails: all`
    "value": "VARCHAR",  # JSON text of a computed trait
    "change": "VARCHAR",
    "was_told": "BOOLEAN",  # Windsor had been told this user is a member, with these identifiers and value:
    "told_anonymous_id": "VARCHAR",  # of a user id that is `moved_from`: the profiles of that user, one a line
    "told_email": "VARCHAR",
    "told_value": "VARCHAR",
    "in_doubt": "BOOLEAN",  # told again whatever the snapshots say: an earlier message has no answer, or it is a resync
    "was_sent": "BOOLEAN",  # an earlier message was sent and not answered: Windsor may have applied it
    "since_run": "INTEGER",  # the run that first planned this very change
    "since_at": "TIMESTAMP",  # when its snapshot was taken
    "attempts": "INTEGER",  # how often Windsor rejected it
    "tried_run": "INTEGER",
    "tried_at": "TIMESTAMP",
    "tried_code": "INTEGER",  # the status with which it was rejected
    "status": "VARCHAR",  # send, deferred (rejected, not due yet), later (outside a backfill's limits), withheld (protected)
}


BORROWED_EMAIL = "borrowed_email"
"""A further column of outboxes in which a row without an e-mail has one of another audience: it is sent, and is no change."""


class Change(StrEnum):
    """The kind of a change since Windsor was last told."""

    ENTERED = "entered"
    EXITED = "exited"
    UPDATED = "updated"
    MOVED = "moved"
    """a member has another id now, or an id was merged into theirs: the current value is told once more"""
    MOVED_FROM = "moved_from"
    """the old id of a member, where Windsor may not have merged the two: told false before the new one is told true"""


FALSE_FIRST = (Change.EXITED, Change.MOVED_FROM)
"""The changes that tell a user `false`, or null. They stand before all others in an outbox, and are answered or set aside
before any other leaves: where Windsor has merged two users without our knowing, the `true` comes last."""


KINDS = {"entered": ("entered", "updated", "moved", "moved_from"), "exited": ("exited",)}
"""What a backfill's `--only` lets through."""


@dataclass(frozen=True, slots=True)
class Turnover:
    """The persons who differ between a snapshot and the one before, whatever Windsor was told of either."""

    entered: int = 0
    exited: int = 0
    updated: int = 0
    """in both, with another value or e-mail"""
    moved: int = 0
    """found under another id, or an id was merged into theirs; counted nowhere else"""


@dataclass(frozen=True, slots=True)
class Retry:
    """The rejected changes that a person wants tried again."""

    code: int | None = None
    """the status Windsor rejected them with; None: any"""
    since: datetime | None = None
    """rejected at or after this moment; None: ever"""


@dataclass(frozen=True, slots=True)
class Limits:
    """The ways in which a run departs from an ordinary sync."""

    is_resync: bool = False
    """say `true` to every member again, and `false` to everyone told true once who is not one"""
    is_recovery: bool = False
    """a resync that takes who was told true from what the outboxes and older snapshots still have, not from the ledger"""
    drops_exits: bool = False
    """absence sends nothing: computed traits without `on_missing`"""
    retry: Retry | None = None
    """rejected changes that are tried now, whenever they would be due"""
    only: str | None = None
    """`entered` or `exited`"""
    count: int | None = None
    """at most so many changes"""
