"""Queries of the views: each reads a bounded number of rows through an index."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select

from windsor_sync.state.database import Database
from windsor_sync.state.ledger import Verdict
from windsor_sync.state.tables import audiences, progress, runs, verdicts

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


def audience_by_key(database: Database, destination: str, key: str) -> Row[Any] | None:
    """The audience at this destination; None when it was never synced."""
    if not can_be_stored(key):
        return None
    query = select(audiences).where(audiences.c.destination == destination, audiences.c.trait_key == key)
    with database.read() as connection:
        return connection.execute(query).one_or_none()


def audiences_of(database: Database, destination: str, *, after: int, limit: int) -> list[Row[Any]]:
    """All that has been registered, oldest first; `after`: of those with a larger id."""
    query = (
        select(audiences)
        .where(audiences.c.destination == destination, audiences.c.id > after)
        .order_by(audiences.c.id)
        .limit(limit)
    )
    with database.read() as connection:
        return list(connection.execute(query))


def last_trigger_since(database: Database, prefix: str, since: datetime) -> str | None:
    """Return the greatest trigger that starts with `prefix` among the runs since `since`."""
    query = select(func.max(runs.c.trigger)).where(
        runs.c.started_at >= since, runs.c.trigger.startswith(prefix, autoescape=True)
    )
    with database.read() as connection:
        found: str | None = connection.execute(query).scalar_one()
    return found


def delivered_so_far(database: Database, run_ids: Sequence[str]) -> dict[str, int]:
    """Acknowledged changes of runs whose books are still open."""
    query = (
        select(progress.c.run_id, func.sum(progress.c.delivered))
        .where(progress.c.run_id.in_(run_ids))
        .group_by(progress.c.run_id)
    )
    with database.read() as connection:
        return {run_id: int(number) for run_id, number in connection.execute(query)}


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


def can_be_stored(text: str) -> bool:
    """Whether a database may be asked for it: PostgreSQL takes no NUL, in a comparison neither."""
    return "\0" not in text
