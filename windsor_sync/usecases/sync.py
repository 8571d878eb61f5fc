"""Brings one audience up to date in Windsor."""

from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.domain.run import Run
from windsor_sync.settings import Computation
from windsor_sync.state.audiences import Registered
from windsor_sync.state.leases import Lease
from windsor_sync.usecases.recover_state import recover_before_resync
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.run_lifecycle import Progress, open_newest, run_audience
from windsor_sync.usecases.workspace import Workspace


def sync(
    workspace: Workspace,
    computation: Computation,
    request: Request,
    stop: CancelToken,
    on_progress: Progress | None = None,
) -> Run:
    """Bring one audience up to date in Windsor; the run's state says how it ended.

    Raises SnapshotError, ConfigError or LeaseHeld when there was nothing to run; then nothing was sent.
    """
    recover_before_resync(workspace, request)

    def opens(known: Registered, lease: Lease) -> Run:
        return open_newest(workspace, computation, known, request, lease)

    return run_audience(workspace, computation, request.trigger, opens, stop, on_progress)
