"""Finds every user who was ever told true in stored outboxes and sealed snapshots, without the ledger."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from windsor_sync.diff.duckdb import told_false
from windsor_sync.diff.task import Record
from windsor_sync.domain.progress import ShardProgress
from windsor_sync.errors import StateUnavailable, StoredFileError
from windsor_sync.state.audiences import Registered
from windsor_sync.state.database import Database
from windsor_sync.state.ledger import Head, Ledger
from windsor_sync.state.runs import outbox_by_number, outboxes_of, run_ids_of
from windsor_sync.state.stored_files import StoredFiles, stamp_of
from windsor_sync.usecases.workspace import Workspace

ALL_ROWS = 1 << 62
"""No outbox has as many."""

MOST_OUTBOXES = 200
"""Outboxes that are read from an object store while a person waits for a page."""

MOST_OUTBOXES_IN_A_FOLDER = 2_500
"""Hourly runs leave 2,160 outboxes in 90 days. Reading 1,200 small ones takes a tenth of a second."""


def exits(workspace: Workspace, known: Registered) -> tuple[Record, ...]:
    """Return where a resync finds everyone who was told true once and false later."""
    if known.audience_id is None:
        return ()
    return tuple(
        Record(workspace.files.location(path), number)
        for _, number, path in outboxes_of(workspace.database, known.audience_id)
        if workspace.files.exists(path)
    )


def count_false(workspace: Workspace, audience_id: int) -> int | None:
    """Count the users whom Windsor has as false, by what it acknowledged of the outboxes that are kept.

    None where there are too many to look at for a page, and where a file is out of reach.
    """
    head = workspace.ledger.head(audience_id)
    kept = [path for _, _, path in outboxes_of(workspace.database, audience_id)]
    most = MOST_OUTBOXES_IN_A_FOLDER if workspace.files.is_local else MOST_OUTBOXES
    if head is None or head.snapshot is None or not 0 < len(kept) <= most:
        return 0 if head is not None and not kept else None
    try:
        files = [workspace.files.location(path) for path in kept if workspace.files.exists(path)]
        return told_false(head, files, workspace.merges.locations(workspace.merges.known()))
    except (StoredFileError, StateUnavailable):
        return None


def everyone_told(workspace: Workspace, known: Registered) -> tuple[Record, ...]:
    """Return where a recovery finds everyone who was ever told true: every outbox and snapshot that is whole."""
    if known.audience_id is None:
        return ()
    outboxes = (
        *_outboxes(workspace, known),
        *_unnamed(workspace, known.audience_id, "outboxes"),
    )
    told = tuple(_snapshots(workspace, known))
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
    outboxes = outbox_by_number(workspace.database, audience_id)
    settled = {number for number, outbox in outboxes.items() if outbox is None or workspace.files.exists(outbox)}
    for path in workspace.stored.unnamed(named):
        stamp = stamp_of(workspace.files.location(path)) if path.startswith(f"{folder}/") else None
        if stamp is None or stamp.audience_id != audience_id or stamp.path != path:
            continue
        number = stamp.number or 0
        if number <= runs_before and number not in settled:
            location, is_snapshot = workspace.files.location(path), stamp.number is None
            found.append(Record(location, number, is_snapshot=is_snapshot, sent=((0, ALL_ROWS),), is_sure=False))
    return tuple(found)


def _snapshots(workspace: Workspace, known: Registered) -> Iterator[Record]:
    """Yield the snapshots of runs, each with the outbox that says which of its users were not told yet."""
    by_path: dict[str, list[Head]] = {}
    for run in _runs(workspace.database, workspace.ledger, known):
        if run.snapshot_path is not None:
            by_path.setdefault(run.snapshot_path, []).insert(0, run)
    for path, same in by_path.items():
        teller = _last_to_tell(workspace.stored, same)
        if teller is not None and workspace.stored.is_whole(path):
            rest = None if teller.is_settled else _outbox(workspace.stored, teller)
            yield Record(workspace.files.location(path), same[0].number, is_snapshot=True, rest=rest)


def _last_to_tell(stored: StoredFiles, same: Sequence[Head]) -> Head | None:
    """Return the newest of these runs of one snapshot that shows who was told; None where none told anybody."""
    for run in same:
        may_have_begun = not run.shards or any(last > first for first, last in _sent(run))  # no shards: it was pruned
        if run.is_settled or may_have_begun or _outbox(stored, run) is not None:
            return run
    return None


def _outboxes(workspace: Workspace, known: Registered) -> Iterator[Record]:
    """Yield the outboxes of runs that can be read."""
    for run in _runs(workspace.database, workspace.ledger, known):
        if (outbox := _outbox(workspace.stored, run)) is not None:
            yield outbox


def _outbox(stored: StoredFiles, run: Head) -> Record | None:
    """The outbox of a run; None where it is lost or damaged, or the run has none."""
    if run.outbox is None or run.outbox_path is None or not stored.is_whole(run.outbox_path):
        return None
    return Record(run.outbox, run.number, sent=_sent(run), held=run.held)


def _runs(database: Database, ledger: Ledger, known: Registered) -> Iterator[Head]:
    """Yield the audience's runs, oldest first. In a restored state, all rows of the newest one may have been sent."""
    assert known.audience_id is not None
    found = run_ids_of(database, known.audience_id)
    for run_id in found:
        run = ledger.of_run(run_id)
        if run is not None and known.is_ledger_lost and run_id == found[-1]:
            yield replace(run, shards=(ShardProgress(0, 0, ALL_ROWS, position=0, reach=ALL_ROWS),))
        elif run is not None:
            yield run


def _sent(run: Head) -> tuple[tuple[int, int], ...]:
    """The stretches of a run's outbox that may have been sent."""
    return tuple((part.first, max(part.position, part.reach)) for shard in run.shards for part in shard.parts())
