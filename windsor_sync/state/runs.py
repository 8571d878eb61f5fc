"""The history of runs and their books: every row read and every change ends in exactly one column."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, delete, func, or_, select, update

from windsor_sync.domain.change import Turnover
from windsor_sync.domain.run import Books, ForwardingRun, Run, RunState
from windsor_sync.state.database import Database, StateRow, Transaction
from windsor_sync.state.leases import Lease
from windsor_sync.state.tables import audiences, progress, runs, snapshots, stored_files, stretches, verdicts

_IS_ITS_SNAPSHOT = and_(snapshots.c.id == runs.c.snapshot_id, snapshots.c.audience_id == runs.c.audience_id)
"""With the audience named, PostgreSQL reads the snapshots of one audience through their index, and not those of all."""


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


class Outline(NamedTuple):
    """The facts of a run that a look for somebody in its outbox needs."""

    run_id: str
    outbox: str | None
    started_at: datetime
    taken_at: datetime
    changes: int
    held: tuple[str, ...]
    """the kinds of change that were withheld"""
    size_bytes: int | None
    """of the outbox; None where it was not recorded"""


def outlines(database: Database, audience_id: int, limit: int) -> list[Outline]:
    """Return the newest runs of an audience, newest first: a tenth of the time of the runs themselves."""
    changes = sum((runs.c[kind] for kind in ("exited", "updated", "moved", "moved_from")), runs.c.entered)
    query = (
        select(
            runs.c.id,
            runs.c.outbox,
            runs.c.started_at,
            func.coalesce(snapshots.c.taken_at, runs.c.started_at),
            changes,
            runs.c.held,
            stored_files.c.size_bytes,
        )
        .outerjoin(snapshots, _IS_ITS_SNAPSHOT)
        .outerjoin(stored_files, (stored_files.c.path == runs.c.outbox) & (stored_files.c.audience_id == audience_id))
        .where(runs.c.audience_id == audience_id)
        .order_by(runs.c.started_at.desc(), runs.c.number.desc(), runs.c.id)
        .limit(limit)
    )
    with database.read() as connection:
        return [Outline(*row[:-2], tuple(row.held), row.size_bytes) for row in connection.execute(query)]


def newest_books(database: Database, audience_id: int, limit: int) -> list[tuple[str, Books | None]]:
    """Return the books of an audience's newest runs by run id, newest first; None of a run that has not ended.

    It takes a third of the time of the runs themselves.
    """
    of_run = (*(runs.c[name] for name in _COUNTS), runs.c.id, runs.c.finished_at, runs.c.intake, runs.c.merged)
    query = (
        select(*of_run, snapshots.c.rows_read, snapshots.c.members, snapshots.c.left_out)
        .outerjoin(snapshots, _IS_ITS_SNAPSHOT)
        .where(runs.c.audience_id == audience_id)
        .order_by(runs.c.started_at.desc(), runs.c.number.desc(), runs.c.id)
        .limit(limit)
    )
    with database.read() as connection:
        rows: list[StateRow] = list(connection.execute(query))
    return [(row.id, Books(**_rows_of(row), **_counts_of(row)) if row.finished_at else None) for row in rows]


def history(
    database: Database, audience_id: int, *, before: int | None = None, since: datetime | None = None, limit: int = 20
) -> list[Run]:
    """One audience's newest runs, newest first; `before`: of those with a smaller number. Reads no other rows.

    `since`: of those started at or after this moment.
    """
    query = _with_snapshots().where(runs.c.audience_id == audience_id).order_by(runs.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(runs.c.number < before)
    if since is not None:
        query = query.where(runs.c.started_at >= since)
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
        .outerjoin(snapshots, _IS_ITS_SNAPSHOT)
    )


def numbers_of_starts(database: Database, audience_id: int, moments: Sequence[datetime]) -> dict[datetime, StateRow]:
    """Return id, number, options and state of the audience's runs that began at these moments, by moment."""
    columns = (runs.c.id, runs.c.number, runs.c.options, runs.c.state, runs.c.started_at)
    query = select(*columns).where(runs.c.audience_id == audience_id, runs.c.started_at.in_(moments))
    with database.read() as connection:
        rows: list[StateRow] = list(connection.execute(query))
    return {row.started_at: row for row in rows}


def outboxes_of(database: Database, audience_id: int) -> list[tuple[str, int, str]]:
    """The outboxes of all of an audience's runs: id and number of the run, and the path below the file store."""
    here = (runs.c.audience_id == audience_id, runs.c.outbox.is_not(None))
    query = select(runs.c.id, runs.c.number, runs.c.outbox).where(*here)
    with database.read() as connection:
        return [(run_id, number, path) for run_id, number, path in connection.execute(query.order_by(runs.c.number))]


def last_trigger_since(database: Database, prefix: str, since: datetime) -> str | None:
    """Return the greatest trigger that starts with `prefix` among the runs since `since`."""
    query = select(func.max(runs.c.trigger)).where(
        runs.c.started_at >= since, runs.c.trigger.startswith(prefix, autoescape=True)
    )
    with database.read() as connection:
        found: str | None = connection.execute(query).scalar_one()
    return found


def triggers_since(database: Database, prefix: str, since: datetime) -> list[tuple[int, str, datetime]]:
    """Return audience, trigger and start of the runs since a moment whose trigger starts with `prefix`."""
    here = (runs.c.started_at >= since, runs.c.trigger.startswith(prefix, autoescape=True))
    query = select(runs.c.audience_id, runs.c.trigger, runs.c.started_at).where(*here)
    with database.read() as connection:
        return [(audience_id, trigger, at) for audience_id, trigger, at in connection.execute(query)]


def delivered_so_far(database: Database, run_ids: Sequence[str]) -> dict[str, int]:
    """Acknowledged changes of runs whose books are still open."""
    query = (
        select(progress.c.run_id, func.sum(progress.c.delivered))
        .where(progress.c.run_id.in_(run_ids))
        .group_by(progress.c.run_id)
    )
    with database.read() as connection:
        return {run_id: int(number) for run_id, number in connection.execute(query)}


def run_ids_of(database: Database, audience_id: int) -> list[str]:
    """Return the ids of all of an audience's runs, oldest first."""
    query = select(runs.c.id).where(runs.c.audience_id == audience_id).order_by(runs.c.number)
    with database.read() as connection:
        return list(connection.execute(query).scalars())


def outbox_by_number(database: Database, audience_id: int) -> dict[int, str | None]:
    """Return the outboxes of all of an audience's runs by the number of the run; None of a run that has none."""
    query = select(runs.c.number, runs.c.outbox).where(runs.c.audience_id == audience_id)
    with database.read() as connection:
        return {row.number: row.outbox for row in connection.execute(query)}


def newest_started_by(database: Database, audience_id: int, trigger: str, kind: str, since: datetime) -> Run | None:
    """Return the newest run that a trigger has started since a moment."""
    query = select(runs.c.id).where(runs.c.audience_id == audience_id, runs.c.trigger == trigger, runs.c.kind == kind)
    newest = query.where(runs.c.started_at >= since).order_by(runs.c.number.desc()).limit(1)
    with database.read() as connection:
        run_id = connection.execute(newest).scalar_one_or_none()
    return run_of(database, run_id) if run_id is not None else None


def finished_before(database: Database, audience_id: int, before: datetime, *, but: str | None) -> list[StateRow]:
    """Return an audience's runs that finished before a moment, without one of them."""
    query = select(runs).where(runs.c.audience_id == audience_id, runs.c.finished_at < before, runs.c.id != but)
    with database.read() as connection:
        return list(connection.execute(query))


def may_be_told(database: Database, audience: StateRow) -> bool:
    """Whether Windsor may have a value of anybody under the key of an audience."""
    if audience.head_run is None or audience.ledger_lost_at is not None:
        return audience.ledger_lost_at is not None
    arrived = select(runs.c.id).where(
        runs.c.audience_id == audience.id, or_(runs.c.delivered > 0, runs.c.in_doubt > 0, runs.c.finished_at.is_(None))
    )
    rest = runs.c.owed + runs.c.rejected + runs.c.withheld
    told_nobody = (
        select(func.count())
        .select_from(runs.join(snapshots, snapshots.c.id == runs.c.snapshot_id))
        .where(runs.c.id == audience.head_run, runs.c.finished_at.is_not(None), rest == 0, snapshots.c.members == 0)
    )
    with database.read() as connection:
        has_arrived = connection.execute(arrived.limit(1)).first() is not None
        return has_arrived and not connection.execute(told_nobody).scalar_one()


def drop_outbox(connection: Transaction, run_id: str, **values: Any) -> None:
    """Let go of a run's outbox and of what is known of each of its rows; its counts stay, and `values` are recorded."""
    for details in (verdicts, stretches, progress):
        connection.execute(delete(details).where(details.c.run_id == run_id))
    connection.execute(update(runs).where(runs.c.id == run_id).values(outbox=None, **values))


def keep_options(connection: Transaction, run_id: str, options: Mapping[str, Any]) -> None:
    """Record the options of a run that are left."""
    connection.execute(update(runs).where(runs.c.id == run_id).values(options=dict(options)))


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
                **_with_told_true(connection, run_id, books.told_true),
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


def _with_told_true(connection: Transaction, run_id: str, told_true: int | None) -> dict[str, Any]:
    if told_true is None:
        return {}
    options = connection.execute(select(runs.c.options).where(runs.c.id == run_id)).scalar_one()
    return {"options": {**options, "told_true": told_true}}


def _run(row: StateRow) -> Run:
    facts: dict[str, Any] = {
        "run_id": row.id,
        "audience": row.trait_key,
        "name": row.name,
        "number": row.number,
        "kind": row.kind,
        "trigger": row.trigger,
        "state": RunState(row.state),
        "taken_at": row.taken_at or row.started_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "sentence": row.sentence,
        "reason": row.reason,
        "held": tuple(row.held),
        "outbox": row.outbox,
        "audience_id": row.audience_id,
        "options": row.options,
        "books": Books(
            **_rows_of(row),
            **_counts_of(row),
            turnover=Turnover(**row.options["turnover"]) if row.options.get("turnover") else None,
            told_true=row.options.get("told_true"),
        ),
    }
    return Run(**facts) if row.intake is None else ForwardingRun(**facts, intake=row.intake)


_COUNTS = (
    "members_before", "entered", "exited", "updated", "moved", "moved_from", "delivered", "rejected", "withheld", "owed",
    "in_doubt",
)  # fmt: skip
"""The columns that books have under the same name."""


def _counts_of(row: StateRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _COUNTS}


def _rows_of(row: StateRow) -> dict[str, Any]:
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
