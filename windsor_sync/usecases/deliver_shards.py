"""A run's outbox delivered by several tasks side by side: each its shard, and then one of them closes the books.

A task holds the lease on its shard only, and its commits are fenced by it. Nobody opens another run meanwhile, since that
takes the lease on the whole audience. Whoever closes the books holds the whole too, so every task has ended by then,
and what each came to is in the state: the one that closes may be another process, on another machine.
"""

from windsor_sync.delivery.bounds import Delivery
from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.domain.progress import FIRST_SHARD
from windsor_sync.domain.run import Run, RunState
from windsor_sync.errors import (
    CredentialsRefused,
    DestinationUnavailable,
    Interrupted,
    LeaseLost,
    MessagesRejected,
    OutOfResources,
    StateUnavailable,
    WindsorSyncError,
)
from windsor_sync.settings import Computation
from windsor_sync.state.leases import Lease
from windsor_sync.state.ledger import Ledger
from windsor_sync.state.runs import run_of
from windsor_sync.usecases.close_run import STATE_OF, settle
from windsor_sync.usecases.run_lifecycle import Progress, send_owed
from windsor_sync.usecases.workspace import Workspace

WORST_FIRST: tuple[tuple[RunState, type[WindsorSyncError]], ...] = (
    (RunState.REFUSED, CredentialsRefused),
    (RunState.REJECTED, MessagesRejected),
    (RunState.UNAVAILABLE, DestinationUnavailable),
    (RunState.FAILED, OutOfResources),
    (RunState.INTERRUPTED, Interrupted),
)
"""A run whose shards ended differently is known by what a person has to know first."""


def deliver_shard(
    workspace: Workspace,
    computation: Computation,
    run: Run,
    shard: int,
    lease: Lease,
    stop: CancelToken,
    on_progress: Progress | None = None,
) -> Delivery:
    """Send what is owed of one shard, under its lease, and record how that ended; the books stay open.

    Nothing is sent when the outbox is too short to have the shard, or when a newer run has replaced this one. What
    FIRST_SHARD still has to tell is sent before any other shard: raises LeaseHeld while another task does that.
    Raises what stopped the delivery.
    """
    if shard != FIRST_SHARD and workspace.ledger.awaits(run.run_id, FIRST_SHARD):
        key = workspace.registry.by_id(run.audience_id).key
        with workspace.hold(key, run.trigger, FIRST_SHARD) as first:
            deliver_shard(workspace, computation, run, FIRST_SHARD, first, stop, on_progress)
    outcome = send_owed(workspace, computation, run, lease, stop, on_progress, shard)
    if outcome is None:
        return Delivery()
    stopped = outcome.stopped_by
    if stopped is None and outcome.was_interrupted:
        stopped = Interrupted("Stopped on request")
    if not isinstance(stopped, LeaseLost | StateUnavailable):
        how = STATE_OF[type(stopped)] if stopped is not None else RunState.DONE
        workspace.ledger.end_shard(lease, run.run_id, shard, how.value, str(stopped) if stopped is not None else None)
    if stopped is not None:
        raise stopped
    return outcome


def close_books(workspace: Workspace, run: Run, lease: Lease) -> Run:
    """Settle the run by what its shards came to, under the audience's lease; a run that a newer one replaced stays as it is."""
    head = workspace.ledger.head(run.audience_id)
    if run.outbox is None or run.state is RunState.DONE or head is None or head.run_id != run.run_id:
        return run_of(workspace.database, run.run_id) or run
    return settle(workspace, lease, run, Delivery(stopped_by=_stopped_by(workspace.ledger, run)))


def _stopped_by(ledger: Ledger, run: Run) -> WindsorSyncError | None:
    endings = ledger.endings(run.run_id)
    for state, error in WORST_FIRST:
        for how, why in endings:
            if how == state:
                return error(why or "")
    if any(how is None for how, _ in endings):
        return Interrupted("A task of its delivery did not come to its end")
    return None
