"""The one lifecycle of an audience's run: register, lease, seal, diff, guard, open, deliver, close.

A sync, a backfill, an approved sync, a recovery and a retirement go through `run_audience`; Airflow's tasks call its steps
one by one.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from windsor_sync.delivery.bounds import Delivery
from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.domain.run import Run, RunState
from windsor_sync.settings import Computation
from windsor_sync.state import approvals
from windsor_sync.state.audiences import Registered
from windsor_sync.state.database import Database, Transaction
from windsor_sync.state.leases import Lease
from windsor_sync.state.runs import run_of
from windsor_sync.state.stored_files import enter, storage_name
from windsor_sync.state.suppressions import suppressed_users
from windsor_sync.usecases import seal as sealing
from windsor_sync.usecases.close_run import settle, settle_dead_predecessor
from windsor_sync.usecases.diff_and_guard import Prepared, cut_into_shards, prepare, renderer
from windsor_sync.usecases.learn_merges import begin
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.seal import SealedSnapshot
from windsor_sync.usecases.workspace import Workspace

Progress = Callable[[Run, Delivery], None]
"""Called after each checkpoint with the run as it was opened and what has been answered since."""


def run_audience(
    workspace: Workspace,
    computation: Computation,
    holder: str,
    opens: Callable[[Registered, Lease], Run],
    stop: CancelToken,
    on_progress: Progress | None = None,
    known: Registered | None = None,
) -> Run:
    """Hold the audience as `holder`, open a run or take one up again with `opens`, deliver it and close its books.

    `known`: the audience where it is not to be registered. Raises ConfigError or LeaseHeld when there was nothing to run; then
    nothing was sent.
    """
    workspace.require_destination()  # a missing key is told before anything is recorded
    known = known or workspace.registry.register(computation)
    with workspace.hold(known.key, holder) as lease:
        run = opens(known, lease)
        return deliver_run(workspace, computation, run, lease, stop, on_progress)


def open_newest(
    workspace: Workspace, computation: Computation, known: Registered, request: Request, lease: Lease
) -> Run:
    """Seal the snapshot that the request means, and open a run of it."""
    snapshot = seal_newest(workspace, computation, request, known)
    return open_run(workspace, computation, known, snapshot, request, lease)


def seal_newest(
    workspace: Workspace, computation: Computation, request: Request, known: Registered | None = None
) -> SealedSnapshot:
    """Seal and record the snapshot a run will use; the first sync pins the audience's key here.

    `known`: the audience where it is registered already. Raises StoredFileError where the state is older than its files, or lost.
    """
    workspace.marks.require_own()  # an audience that is pinned into a state that is too old takes the number of another one
    known = known or workspace.registry.register(computation)
    begin(workspace)
    with (
        workspace.files.draft_folder(),  # by it `forget` knows that a snapshot is read, until its file is recorded
        sealing.newest_snapshot(workspace, computation, known, request.snapshot_path) as snapshot,
    ):
        return sealing.record(workspace, known, snapshot)


def open_run(
    workspace: Workspace,
    computation: Computation,
    known: Registered,
    snapshot: SealedSnapshot,
    request: Request,
    lease: Lease,
    also: Sequence[Callable[[Transaction], None]] = (),
) -> Run:
    """Make the prepared changes the ledger's head, all of them owed. A run without changes is closed at once.

    `also` happens in the same commit.
    """
    assert known.audience_id is not None
    audience_id = known.audience_id
    known = workspace.registry.by_id(audience_id)  # its run number, now that the lease is ours
    started_at = datetime.now(UTC)
    mend_ledger(workspace, computation, known, snapshot)
    stamp = workspace.stored.stamp(audience_id, "outboxes", known.runs + 1)
    placed = []
    with workspace.files.draft() as draft:
        prepared = prepare(workspace, computation, known, snapshot, request, draft, stamp)
        if prepared.tally.rows:
            placed.append(workspace.stored.put(draft, stamp.path, rows=prepared.tally.rows))
    outbox = placed[0].path if placed else None
    settle_dead_predecessor(workspace, lease, prepared.head)
    # With the audience's id: a second destination of this state may begin its run of the same number in the same second.
    run_id = f"{storage_name(known.key)}-{prepared.number}-{started_at:%Y%m%dT%H%M%SZ}-{audience_id}"
    row = {
        "id": run_id,
        "audience_id": audience_id,
        "snapshot_id": snapshot.snapshot_id,
        "outbox": outbox,
        "started_at": started_at,
        **_row_of(prepared, request),
    }
    # What a backfill leaves for later was not judged: an approval of it has not served yet.
    has_served = prepared.ruling.uses_approval or not (prepared.ruling.trips or prepared.tally.later)
    lapses = [partial(approvals.settle_approval, audience_id=audience_id, moment=started_at)] if has_served else []
    stores = partial(enter, audience_id=audience_id, placed=placed)
    shards = cut_into_shards(prepared.tally, computation.delivery_shards)
    workspace.ledger.open_run(lease, row, shards, [stores, *also, *lapses])
    run = _required(workspace.database, run_id)
    return run if outbox else settle(workspace, lease, run, None)


def mend_ledger(workspace: Workspace, computation: Computation, known: Registered, snapshot: SealedSnapshot) -> None:
    """Seal the ledger's snapshot again where it is not what was stored; who cannot be helped so is told by `prepare`."""
    assert known.audience_id is not None
    head = workspace.ledger.head(known.audience_id)
    if head is None or head.snapshot_path is None or known.is_ledger_lost:
        return
    is_read = not (head.is_settled and head.checksum == snapshot.checksum)
    if not workspace.stored.is_whole(head.snapshot_path, thoroughly=is_read):
        sealing.seal_again(workspace, computation, known, head, snapshot)


def _row_of(prepared: Prepared, request: Request) -> dict[str, Any]:
    """Return the columns of the runs table for a prepared run."""
    return {
        "number": prepared.number,
        "kind": request.kind,
        "trigger": request.trigger,
        "reason": request.reason,
        "state": RunState.OPEN.value,
        "previous_run": prepared.head.run_id if prepared.head else None,
        "held": list(prepared.ruling.held),
        "options": {
            "withheld_because": list(prepared.ruling.reasons),
            **({"withheld_remedy": remedy} if (remedy := prepared.ruling.remedy) else {}),
            **({"unreadable": prepared.unreadable} if prepared.unreadable else {}),
            **({"remarks": list(remarks)} if (remarks := prepared.snapshot.remarks) else {}),
            **({"emails_left_out": left_out} if (left_out := prepared.snapshot.emails_left_out) else {}),
            **({"without_email": without} if (without := prepared.without_email) else {}),
            "is_recovery": prepared.is_recovery,
            **_wished(request),
            **({"uses_approval": True} if prepared.ruling.uses_approval else {}),
            **({"turnover": asdict(turnover)} if (turnover := prepared.tally.turnover) else {}),
            "to_send": prepared.tally.changes - prepared.tally.deferred - prepared.tally.later - prepared.withheld,
        },
        "members_before": prepared.members_before,
        "entered": prepared.tally.entered,
        "exited": prepared.tally.exited,
        "updated": prepared.tally.updated,
        "moved": prepared.tally.moved,
        "moved_from": prepared.tally.moved_from,
        "merged": prepared.tally.merged,
        "merges": prepared.merges,
    }


def _wished(request: Request) -> dict[str, Any]:
    """Return how the run departs from an ordinary sync, as a person asked for it."""
    limits = request.limits
    wished = {"mode": "resync" if limits.is_resync else None, "only": limits.only, "limit": limits.count}
    return {name: value for name, value in wished.items() if value is not None}


def deliver_run(
    workspace: Workspace,
    computation: Computation,
    run: Run,
    lease: Lease,
    stop: CancelToken,
    on_progress: Progress | None = None,
) -> Run:
    """Send what is owed of the run and close its books. A run that a newer one has replaced sends nothing."""
    outcome = send_owed(workspace, computation, run, lease, stop, on_progress)
    return settle(workspace, lease, run, outcome) if outcome else run


def send_owed(
    workspace: Workspace,
    computation: Computation,
    run: Run,
    lease: Lease,
    stop: CancelToken,
    on_progress: Progress | None = None,
    shard: int | None = None,
) -> Delivery | None:
    """Send what is owed of the run, or of one shard; None when nothing is, or when a newer run has replaced it.

    Raises LeaseLost when the newer run began while this one stood still.
    """
    if run.outbox is None or run.state is RunState.DONE:
        return None
    known = workspace.registry.by_id(run.audience_id)
    head = workspace.ledger.head(run.audience_id)
    if head is None or head.run_id != run.run_id:
        lease.require()
        return None
    assert head.outbox is not None
    assert head.outbox_path is not None
    workspace.stored.confirm(head.outbox_path, thoroughly=True)  # not the run's: `forget` may have replaced it since
    shards = workspace.ledger.resume(lease, run.run_id, shard)
    if not shards:
        return None
    workspace.marks.leave(run.audience_id, run.number, run.run_id)
    from windsor_sync.usecases.deliver import OutboxDelivery, deliver, identify_rows

    outcome = deliver(
        OutboxDelivery(
            run_id=run.run_id,
            shards=shards,
            rows=identify_rows(
                head.outbox,
                run.held,
                renderer(workspace.settings, workspace.database, computation, known),
                workspace.ledger.decided(run.run_id),
                suppressed_users(workspace.database),
                workspace.merges.merged_away(head.outbox, head.merges),
            ),
        ),
        ledger=workspace.ledger,
        lease=lease,
        client=workspace.destination_client(),
        stop=stop,
        on_progress=(lambda so_far: on_progress(run, so_far)) if on_progress else None,
    )
    if lease.is_valid:
        workspace.marks.end(lease, run, shard)
    return outcome


def _required(database: Database, run_id: str) -> Run:
    run = run_of(database, run_id)
    assert run is not None
    return run
