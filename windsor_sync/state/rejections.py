"""The changes of a run that Windsor rejected; a bounded number of rows is read, through an index."""

from dataclasses import dataclass

from sqlalchemy import func, select

from windsor_sync.state.database import Database
from windsor_sync.state.ledger import Verdict
from windsor_sync.state.tables import verdicts

MOST_REJECTIONS = 100_000
"""Rejected rows of one run that are looked at to count them by code."""

MOST_GROUPS = 50


@dataclass(frozen=True, slots=True)
class RejectionGroup:
    """Rejected changes of a run with the same answer."""

    code: int | None
    message: str | None
    """Windsor's own words"""
    number: int


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """One rejected change: a place in the run's outbox, not a user."""

    seq: int
    code: int | None
    message: str | None


def rejection_groups(database: Database, run_id: str) -> list[RejectionGroup]:
    """The run's rejections by code and message, most frequent first, of its first 100,000."""
    first = (
        select(verdicts.c.code, verdicts.c.message)
        .where(verdicts.c.run_id == run_id, verdicts.c.verdict == Verdict.REJECTED)
        .order_by(verdicts.c.seq)
        .limit(MOST_REJECTIONS)
        .subquery()
    )
    number = func.count()
    query = select(first, number).group_by(first.c.code, first.c.message).order_by(number.desc()).limit(MOST_GROUPS)
    with database.read() as connection:
        return [RejectionGroup(*row) for row in connection.execute(query)]


def rejected_rows(database: Database, run_id: str, *, after: int, limit: int) -> list[RejectedRow]:
    """The run's rejected changes in the order of its outbox; `after`: of those further down."""
    query = (
        select(verdicts.c.seq, verdicts.c.code, verdicts.c.message)
        .where(verdicts.c.run_id == run_id, verdicts.c.seq > after, verdicts.c.verdict == Verdict.REJECTED)
        .order_by(verdicts.c.seq)
        .limit(limit)
    )
    with database.read() as connection:
        return [RejectedRow(*row) for row in connection.execute(query)]
