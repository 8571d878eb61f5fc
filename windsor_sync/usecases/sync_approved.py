"""Sends what a person approved, from the place where they were asked: the diff is made again under the ceiling."""

from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.domain.run import Run
from windsor_sync.errors import ChangesWithheld
from windsor_sync.settings import Computation
from windsor_sync.state.audiences import Registered
from windsor_sync.state.leases import Lease
from windsor_sync.state.runs import recent
from windsor_sync.usecases.approvers import usable_approval
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.run_lifecycle import Progress, open_newest, run_audience
from windsor_sync.usecases.workspace import Workspace


def sync_approved(
    workspace: Workspace,
    computation: Computation,
    request: Request,
    stop: CancelToken,
    on_progress: Progress | None = None,
) -> Run:
    """Sync the audience, but only with an approval in the state; raises ChangesWithheld without one.

    `request.trigger` names the start of which this is a part: a second try goes on with the run that the first one opened,
    unless a person has approved since, as they do when the first ceiling was too low.
    """

    def opens(known: Registered, lease: Lease) -> Run:
        assert known.audience_id is not None
        approval = usable_approval(workspace.settings, workspace.database, known.audience_id)
        newest = recent(workspace.database, audience_ids=[known.audience_id], limit=1)
        if newest and newest[0].trigger == request.trigger and not (approval and approval.at > newest[0].started_at):
            return newest[0]
        if approval is None:
            raise ChangesWithheld(
                f"There is no approval for {known.key} that has not been used, by somebody who may approve. Nothing was sent. "
                "Changes that are withheld are not yet in Windsor, and the next run asks again."
            )
        return open_newest(workspace, computation, known, request, lease)

    return run_audience(workspace, computation, request.trigger, opens, stop, on_progress)
