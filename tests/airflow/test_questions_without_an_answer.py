"""Questions to a person that cannot be asked any more, and answers that approve nothing."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

from tests.support.world import KEY, World
from windsor_sync.airflow.approval import APPROVE, ApproveOperator
from windsor_sync.domain.run import RunState
from windsor_sync.state.approvals import unsettled_approval
from windsor_sync.usecases.request import Request

BEFORE = [f"user-{number:03}" for number in range(200)]
INTERVAL = timedelta(hours=2, minutes=30)


def withheld(world: World, began: datetime) -> ApproveOperator:
    """The task that asks about a run, begun by the schedule, in which three of four members left."""
    world.snapshot(BEFORE)
    world.sync()
    world.snapshot(BEFORE[:50])
    run = world.sync(request=Request(trigger=f"airflow engage_audience_sync scheduled__{began.isoformat()}"))
    assert run.state is RunState.WITHHELD
    with DAG("engage_audience_sync", schedule=None):
        return ApproveOperator(
            task_id="approve", audience=KEY, run={"audience": KEY, "run": run.run_id}, interval=INTERVAL
        )


def context(began: datetime) -> Any:
    """What Airflow hands to the task."""
    return {"dag": SimpleNamespace(dag_id="engage_audience_sync"), "dag_run": SimpleNamespace(run_after=began)}


def test_when_the_next_run_is_due_nobody_is_asked_any_more_and_all_stays_withheld(
    configured: World, airflow_db: Path
) -> None:
    began = datetime.now(UTC) - timedelta(hours=2, minutes=20)
    approve = withheld(configured, began)
    with pytest.raises(AirflowFailException, match=r"150 of 200 members exited .* The time to answer is over"):
        approve.execute(context(began))
    assert configured.members_shown() == set(BEFORE)
    assert configured.sync().books.withheld == 150


@pytest.mark.parametrize("ceilings", [{}, {"max_exited": None, "max_entered": None}, {"max_exited": ""}])
def test_an_approval_without_a_number_lets_nothing_out(
    configured: World, airflow_db: Path, ceilings: dict[str, Any]
) -> None:
    began = datetime.now(UTC)
    approve = withheld(configured, began)
    answer = {"chosen_options": [APPROVE], "params_input": ceilings, "responded_by_user": {"id": "ana", "name": "Ana"}}
    with mock.patch.object(HITLOperator, "execute", return_value="asked again"):
        assert approve.execute_complete(context(began), answer) == "asked again"
    run = configured.sync()
    assert unsettled_approval(configured.workspace.database, run.audience_id) is None
    assert (run.books.withheld, configured.members_shown()) == (150, set(BEFORE))
