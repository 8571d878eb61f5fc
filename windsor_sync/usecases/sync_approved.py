"""Sends what a person approved, from the place where they were asked: the diff is made again under the ceiling."""

from windsor_sync.delivery.stop import StopSwitch
from windsor_sync.domain.run import Run
from windsor_sync.errors import ChangesWithheld
from windsor_sync.settings import Computation
from windsor_sync.state import approvals
from windsor_sync.state.runs import recent
from windsor_sync.usecases.sync import Progress, Request, deliver_run, open_run, seal
from windsor_sync.usecases.workspace import Workspace


def sync_approved(
    workspace: Workspace,
    computation: Computation,
    request: Request,
    stop: StopSwitch,
    on_progress: Progress | None = None,
) -> Run:
    """Sync the audience, but only with an approval in the state; raises ChangesWithheld without one.

    `request.trigger` names the start of which this is a part: a second try goes on with the run that the first one opened,
    unless a person has approved since, as they do when the first ceiling was too low.
    """
    workspace.line()
    known = workspace.registry.register(computation)
    assert known.audience_id is not None
    with workspace.hold(known.key, request.trigger) as lease:
        approval = approvals.standing(workspace.database, known.audience_id)
        newest = recent(workspace.database, audience_ids=[known.audience_id], limit=1)
        if newest and newest[0].trigger == request.trigger and not (approval and approval.at > newest[0].started_at):
            return deliver_run(workspace, computation, newest[0], lease, stop, on_progress)
        if approval is None:
            raise ChangesWithheld(
                f"There is no approval for {known.key} that has not been used. Nothing was sent. Changes that are withheld "
                "stay owed, and the next run asks again."
            )
        run = open_run(workspace, computation, known, seal(workspace, computation, request), request, lease)
        return deliver_run(workspace, computation, run, lease, stop, on_progress)
