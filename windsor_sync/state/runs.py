"""The history of runs and their books: every row read and every change ends in exactly one column."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, select, update

from windsor_sync.domain.run import Books, Run, RunState
from windsor_sync.state.database import Database
from windsor_sync.state.leases import Lease
from windsor_sync.state.tables import audiences, runs, snapshots


def run_of(database: Database, run_id: str) -> Run | None:
    """One run by its id."""
    found = recent(database, run_id=run_id, limit=1)
    return found[0] if found else None


def recent(
    database: Database,
    *,
    destination: str | None = None,
    audience_ids: Sequence[int] = (),
    run_id: str | None = None,
    since: datetime | None = None,
    limit: int = 20,
) -> list[Run]:
    """The newest runs, newest first; `since`: of those started at or after this moment."""
    query = _with_snapshots().order_by(runs.c.started_at.desc(), runs.c.number.desc(), runs.c.id).limit(limit)
    if destination is not None:
        query = query.where(audiences.c.destination == destination)
    if audience_ids:
        query = query.where(runs.c.audience_id.in_(audience_ids))
    if since is not None:
        query = query.where(runs.c.started_at >= since)
    if run_id is not None:
        query = query.where(runs.c.id == run_id)
    with database.read() as connection:
        return [_run(row) for row in connection.execute(query)]


def history(database: Database, audience_id: int, *, before: int | None = None, limit: int = 20) -> list[Run]:
    """One audience's newest runs, newest first; `before`: of those with a smaller number. Reads no other rows."""
    query = _with_snapshots().where(runs.c.audience_id == audience_id).order_by(runs.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(runs.c.number < before)
    with database.read() as connection:
        return [_run(row) for row in connection.execute(query)]


def newest_of_each(database: Database, destination: str, *, after: int = 0, limit: int = 100) -> list[Run]:
    """The newest run of each audience that has one, oldest audience first; `after`: of those with a larger id."""
    query = (
        _with_snapshots()
        .where(audiences.c.destination == destination, audiences.c.id > after, runs.c.number == audiences.c.runs)
        .order_by(audiences.c.id)
        .limit(limit)
    )
    with database.read() as connection:
        return [_run(row) for row in connection.execute(query)]


def _with_snapshots() -> Select[Any]:
    return (
        select(
            runs,
            audiences.c.trait_key,
            audiences.c.name,
            snapshots.c.taken_at,
            snapshots.c.rows_read,
            snapshots.c.members,
            snapshots.c.left_out,
        )
        .join(audiences, audiences.c.id == runs.c.audience_id)
        .outerjoin(snapshots, snapshots.c.id == runs.c.snapshot_id)
    )


def outboxes_of(database: Database, audience_id: int) -> list[tuple[str, int, str]]:
    """The outboxes of all of an audience's runs: id and number of the run, and the path below the file store."""
    here = (runs.c.audience_id == audience_id, runs.c.outbox.is_not(None))
    query = select(runs.c.id, runs.c.number, runs.c.outbox).where(*here)
    with database.read() as connection:
        return [(run_id, number, path) for run_id, number, path in connection.execute(query.order_by(runs.c.number))]


def saw_merges(database: Database, run_id: str, before: int, after: int) -> None:
    """Record that a run knows the merges up to `after`, if it knew those up to `before`."""
    here = (runs.c.id == run_id, runs.c.merges == before)
    with database.write() as connection:
        connection.execute(update(runs).where(*here).values(merges=after))


def finish(
    database: Database, lease: Lease, run_id: str, state: RunState, books: Books, moment: datetime, sentence: str
) -> None:
    """Close a run with its books; refused (LeaseLost) when the lease is no longer ours."""
    with database.write() as connection:
        lease.fence(connection)
        connection.execute(
            update(runs)
            .where(runs.c.id == run_id)
            .values(
                state=state.value,
                finished_at=moment,
                sentence=sentence,
                delivered=books.delivered,
                rejected=books.rejected,
                withheld=books.withheld,
                owed=books.owed,
                in_doubt=books.in_doubt,
            )
        )


def _run(row: Row[Any]) -> Run:
    return Run(
        run_id=row.id,
        audience=row.trait_key,
        name=row.name,
        number=row.number,
        kind=row.kind,
        trigger=row.trigger,
        state=RunState(row.state),
        taken_at=row.taken_at or row.started_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        sentence=row.sentence,
        held=tuple(row.held),
        outbox=row.outbox,
        audience_id=row.audience_id,
        options=row.options,
        intake=row.intake,
        books=Books(
            **_rows_of(row),
            members_before=row.members_before,
            entered=row.entered,
            exited=row.exited,
            updated=row.updated,
            moved=row.moved,
            moved_from=row.moved_from,
            delivered=row.delivered,
            rejected=row.rejected,
            withheld=row.withheld,
            owed=row.owed,
            in_doubt=row.in_doubt,
        ),
    )


def _rows_of(row: Row[Any]) -> dict[str, Any]:
    """Rows read, and what they came to: of a snapshot, or of the event archive."""
    if row.intake is None:
        merged = {"merged": row.merged} if row.merged else {}
        members = row.members - row.merged
        return {"rows_read": row.rows_read, "members": members, "left_out": {**row.left_out, **merged}}
    counted = [row.intake["failed_on_ingest"], row.intake["filtered"], {"duplicate": row.intake["duplicates"]}]
    return {
        "rows_read": row.intake["received"] + row.intake["carried"],
        "members": row.intake["messages"],
        "left_out": {reason: number for counts in counted for reason, number in counts.items() if number},
    }
