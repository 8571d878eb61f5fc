"""Brings one audience to the truth when a file that its ledger stands on is lost or damaged.

Where the lost snapshot's source is still the same, it is sealed again and the run is an ordinary sync. Otherwise the
outboxes and older snapshots say who was ever told true: every member is told true, and everyone else among these false.
"""

from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.domain.change import Limits
from windsor_sync.domain.run import Run
from windsor_sync.settings import Computation
from windsor_sync.state.audiences import Registered
from windsor_sync.state.audit_log import user_of_this_process
from windsor_sync.state.leases import Lease
from windsor_sync.usecases.approvers import permission_of
from windsor_sync.usecases.diff_and_guard import ledger_is_whole
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.run_lifecycle import (
    Progress,
    mend_ledger,
    open_run,
    run_audience,
    seal_newest,
)
from windsor_sync.usecases.workspace import Workspace

KIND = "recover"


def recover(
    workspace: Workspace,
    computation: Computation,
    who: str,
    reason: str | None,
    stop: CancelToken,
    on_progress: Progress | None = None,
) -> Run:
    """Recover the audience's ledger and send what follows from it; safe to repeat.

    The guard judges the run like any other. With a lost ledger the guard does not know of every member that Windsor was
    told of, so only `approval.approvers` may start that run. Raises SnapshotError, ConfigError or LeaseHeld if no run
    was started; then nothing was sent.
    """

    def opens(known: Registered, lease: Lease) -> Run:
        snapshot = seal_newest(workspace, computation, Request())
        mend_ledger(workspace, computation, known, snapshot)
        is_lost = not ledger_is_whole(workspace.ledger, workspace.stored, known)
        if is_lost:
            permission_of(workspace.settings, user_of_this_process())
        request = Request(KIND, who, reason, limits=Limits(is_resync=is_lost, is_recovery=is_lost))
        return open_run(workspace, computation, known, snapshot, request, lease)

    return run_audience(workspace, computation, f"recover by {who}", opens, stop, on_progress)
