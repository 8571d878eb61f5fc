"""Who was ever told true, from what is still stored: outboxes and sealed snapshots, without the ledger."""

from collections.abc import Iterator

from sqlalchemy import select

from windsor_sync.diff.task import Record
from windsor_sync.ledger import Head
from windsor_sync.registry import Registered
from windsor_sync.runs import outboxes_of
from windsor_sync.state.tables import runs, snapshots
from windsor_sync.workspace import Workspace


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
    return (*_snapshots(workspace, known.audience_id), *_outboxes(workspace, known.audience_id))


def _snapshots(workspace: Workspace, audience_id: int) -> Iterator[Record]:
    """The snapshots of runs; one that no run used was told to nobody."""
    query = (
        select(snapshots.c.path, runs.c.number)
        .join(runs, runs.c.snapshot_id == snapshots.c.id)
        .where(snapshots.c.audience_id == audience_id)
        .order_by(runs.c.number)
    )
    with workspace.database.read() as connection:
        newest = {row.path: row.number for row in connection.execute(query)}
    for path, number in newest.items():
        if workspace.stored.is_whole(path):
            yield Record(workspace.files.location(path), number, is_snapshot=True)


def _outboxes(workspace: Workspace, audience_id: int) -> Iterator[Record]:
    query = select(runs.c.id, runs.c.outbox).where(runs.c.audience_id == audience_id, runs.c.outbox.is_not(None))
    with workspace.database.read() as connection:
        found = connection.execute(query.order_by(runs.c.number)).all()
    for run_id, path in found:
        run = workspace.ledger.of_run(run_id)
        if run is not None and workspace.stored.is_whole(path):
            yield Record(workspace.files.location(path), run.number, sent=_sent(run), held=run.held)


def _sent(run: Head) -> tuple[tuple[int, int], ...]:
    """The stretches of a run's outbox that may have been sent."""
    return tuple((part.first, max(part.position, part.reach)) for shard in run.shards for part in shard.parts())
