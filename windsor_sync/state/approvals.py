"""A person's word on withheld changes: a ceiling, kept with who gave it, when and why, used by the next run."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from windsor_sync.domain.guard import Ceiling
from windsor_sync.domain.run import Run, RunState
from windsor_sync.errors import ConfigError
from windsor_sync.state.audit_log import trail, trailed
from windsor_sync.state.database import Database
from windsor_sync.state.tables import approvals, audiences


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's approval."""

    ceiling: Ceiling
    who: str
    why: str | None
    at: datetime
    run_id: str
    """of the run that was withheld"""
    permitted_as: str | None = None
    """the entry of `approval.approvers` that let them"""
    settled_at: datetime | None = None
    """when a run began that it served, or another answer took its place"""


@dataclass(frozen=True, slots=True)
class RefusedApproval:
    """A person's word that withheld changes stay withheld."""

    who: str
    why: str | None
    at: datetime
    run_id: str


REFUSED = "refuse"


def approve(
    database: Database, run: Run, ceiling: Ceiling, *, who: str, why: str | None, permitted_as: str | None = None
) -> Approval:
    """Let up to so many withheld changes of the run's audience go out with its next sync.

    `permitted_as` is the entry of `approval.approvers` that lets them. Raises ConfigError unless the run is the audience's newest
    and waits for approval.
    """
    with database.write() as connection:
        _require_waiting(connection, run)
        moment = datetime.now(UTC)
        values: dict[str, Any] = {"max_exited": ceiling.max_exited, "max_entered": ceiling.max_entered}
        settle_approval(connection, run.audience_id, moment)
        connection.execute(
            insert(approvals).values(
                audience_id=run.audience_id,
                run_id=run.run_id,
                who=who,
                why=why,
                at=moment,
                permitted_as=permitted_as,
                **values,
            )
        )
        trail(connection, who=who, what="approve", subject=run.audience, why=why, run=run.run_id, **values)
        return Approval(ceiling, who, why, moment, run.run_id, permitted_as)


def refuse(database: Database, run: Run, *, who: str, why: str | None) -> None:
    """Record that a person lets none of the run's withheld changes go out; an approval that was not used yet is taken back.

    Raises ConfigError unless the run is the audience's newest and waits for approval.
    """
    with database.write() as connection:
        _require_waiting(connection, run)
        settle_approval(connection, run.audience_id, datetime.now(UTC))
        trail(connection, who=who, what=REFUSED, subject=run.audience, why=why, run=run.run_id)


def _require_waiting(connection: Connection, run: Run) -> None:
    head = connection.execute(select(audiences.c.head_run).where(audiences.c.id == run.audience_id)).scalar_one()
    if run.state is not RunState.WITHHELD or head != run.run_id:
        raise ConfigError(_not_waiting(run, head))


def approvals_of(database: Database, run_ids: Sequence[str]) -> list[Approval]:
    """Return the approvals of what these runs withheld, oldest first."""
    query = select(approvals).where(approvals.c.run_id.in_(run_ids)).order_by(approvals.c.id)
    with database.read() as connection:
        return list(map(_approval, connection.execute(query)))


def approvals_used(database: Database, audience_ids: Sequence[int], moments: Sequence[datetime]) -> list[Approval]:
    """Return the approvals of these audiences that runs settled that began at these moments."""
    here = (approvals.c.audience_id.in_(audience_ids), approvals.c.settled_at.in_(moments))
    with database.read() as connection:
        return list(map(_approval, connection.execute(select(approvals).where(*here).order_by(approvals.c.id))))


def refusals_of(database: Database, audience: str) -> list[RefusedApproval]:
    """Return the refusals of what runs of an audience withheld, newest first."""
    return [
        RefusedApproval(row.who, row.why, row.at, row.details.get("run", ""))
        for row in trailed(database, REFUSED, audience)
    ]


def unsettled_approval(database: Database, audience_id: int) -> Approval | None:
    """The approval that the audience's next run may use."""
    query = select(approvals).where(approvals.c.audience_id == audience_id, approvals.c.settled_at.is_(None))
    with database.read() as connection:
        row = connection.execute(query.order_by(approvals.c.id.desc()).limit(1)).one_or_none()
    return _approval(row) if row is not None else None


def settle_approval(connection: Connection, audience_id: int, moment: datetime) -> None:
    """The audience's approvals have served: a run used one, even for one side only, or had nothing to withhold any more."""
    connection.execute(
        update(approvals)
        .where(approvals.c.audience_id == audience_id, approvals.c.settled_at.is_(None))
        .values(settled_at=moment)
    )


def _approval(row: Row[Any]) -> Approval:
    ceiling = Ceiling(row.max_exited, row.max_entered)
    return Approval(ceiling, row.who, row.why, row.at, row.run_id, row.permitted_as, row.settled_at)


def _not_waiting(run: Run, head: str | None) -> str:
    if head != run.run_id:
        return (
            f"Run {run.run_id} is not the newest of {run.audience}: {head} is. Nothing was approved. Look at that one."
        )
    return f"Run {run.run_id} of {run.audience} withholds nothing (it is {run.state.value}). Nothing was approved."
