"""Who was ever told true, from what is still stored: outboxes and sealed snapshots, without the ledger."""

from collections.abc import Iterator

from sqlalchemy import select

from windsor_sync.diff.task import Record
from windsor_sync.ledger import Head
from windsor_sync.registry import Registered
from windsor_sync.runs import outboxes_of
from windsor_sync.state.tables import runs, snapshots
from windsor_sync.stored_files import stamp_of
from windsor_sync.workspace import Workspace

ALL_ROWS = 1 << 62
"""No outbox has as many."""


def exits(workspace: Workspace, known: Registered) -> tuple[Record, ...]:
    """Where a resync finds everyone who was told true once and false later."""
    if known.audience_id is None:
        return ()
    return tuple(
        Record(workspace.files.location(path), number)
        for number, path in outboxes_of(workspace.database, known.audience_id)
        if workspace.files.exists(path)
    )


def everyone_told(workspace: Workspace, known: Registered) -> tuple[Record, ...]:
    """Where a recovery finds everyone who was ever told true: every outbox and snapshot that is whole."""
    if known.audience_id is None:
        return ()
    outboxes = (
        *_outboxes(workspace, known.audience_id, is_state_older=known.is_ledger_lost),
        *_unnamed(workspace, known.audience_id, "outboxes"),
    )
    told = _snapshots(workspace, known.audience_id)
    if known.is_ledger_lost and all(record.number > 1 for record in outboxes):  # the first ones were pruned
        told = (*told, *_unnamed(workspace, known.audience_id, "snapshots"))
    return (*told, *outboxes)


def _unnamed(workspace: Workspace, audience_id: int, folder: str) -> tuple[Record, ...]:
    """The files of the audience that the state does not name, because it was restored or lost: any row may have been sent.

    What a killed writer or `forget` left beside the outbox of a run that the state knows was never sent.
    """
    found = []
    named = {file.path for file in workspace.stored.named()}
    runs_before = workspace.registry.by_id(audience_id).runs
    settled = _numbers_known(workspace, audience_id)
    for path in workspace.stored.unnamed(named):
        stamp = stamp_of(workspace.files.location(path)) if path.startswith(f"{folder}/") else None
        if stamp is None or stamp.audience_id != audience_id or stamp.path != path:
            continue
        number = stamp.number or 0
        if number <= runs_before and number not in settled:
            location, is_snapshot = workspace.files.location(path), stamp.number is None
            found.append(Record(location, number, is_snapshot=is_snapshot, sent=((0, ALL_ROWS),), is_sure=False))
    return tuple(found)


def _numbers_known(workspace: Workspace, audience_id: int) -> set[int]:
    """The numbers of runs that the state knows with all that they sent."""
    query = select(runs.c.number, runs.c.outbox).where(runs.c.audience_id == audience_id)
    with workspace.database.read() as connection:
        found = connection.execute(query).all()
    return {number for number, outbox in found if outbox is None or workspace.files.exists(outbox)}


def _snapshots(workspace: Workspace, audience_id: int) -> tuple[Record, ...]:
    """The snapshots of runs; one that no run used was told to nobody."""
    query = (
        select(snapshots.c.path, runs.c.number)
        .join(runs, runs.c.snapshot_id == snapshots.c.id)
        .where(snapshots.c.audience_id == audience_id)
        .order_by(runs.c.number)
    )
    with workspace.database.read() as connection:
        newest = {row.path: row.number for row in connection.execute(query)}
    return tuple(
        Record(workspace.files.location(path), number, is_snapshot=True)
        for path, number in newest.items()
        if workspace.stored.is_whole(path)
    )


def _outboxes(workspace: Workspace, audience_id: int, *, is_state_older: bool) -> Iterator[Record]:
    """The outboxes of runs; of one that an older state has as open all rows may have been sent."""
    query = select(runs.c.id, runs.c.outbox, runs.c.finished_at).where(
        runs.c.audience_id == audience_id, runs.c.outbox.is_not(None)
    )
    with workspace.database.read() as connection:
        found = connection.execute(query.order_by(runs.c.number)).all()
    for run_id, path, finished_at in found:
        run = workspace.ledger.of_run(run_id)
        if run is not None and workspace.stored.is_whole(path):
            sent = ((0, ALL_ROWS),) if is_state_older and finished_at is None else _sent(run)
            yield Record(workspace.files.location(path), run.number, sent=sent, held=run.held)


def _sent(run: Head) -> tuple[tuple[int, int], ...]:
    """The stretches of a run's outbox that may have been sent."""
    return tuple((part.first, max(part.position, part.reach)) for shard in run.shards for part in shard.parts())
