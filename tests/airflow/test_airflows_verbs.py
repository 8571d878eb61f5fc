"""Clear, mark, pause, catch up, backfill, two runs at once: what Airflow's buttons do is what our state says was sent."""

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from tests.airflow.test_approval import states
from tests.airflow.test_meanwhile import context, run_task
from tests.support.person import Person
from tests.support.world import KEY, World
from windsor_sync.airflow.operators.windsor import (
    CloseBooksOperator,
    DeliverOperator,
    DeliverShardOperator,
    DiffOperator,
    SealSnapshotOperator,
)
from windsor_sync.domain.run import RunState
from windsor_sync.errors import LeaseHeld
from windsor_sync.sandbox import Faults
from windsor_sync.sandbox.faults import Outage
from windsor_sync.state.runs import recent

__all__ = ["context", "run_task"]

Run = Callable[[], Any]


@pytest.fixture
def company(configured: World) -> World:
    """One audience."""
    configured.document["computed_traits"] = []
    return configured


def meanwhile(monkeypatch: pytest.MonkeyPatch, operator: type[Any], happens: Callable[[], object]) -> None:
    """Let something happen right before a task of this kind runs."""
    execute = operator.execute

    def then(task: Any, context: Any) -> Any:
        happens()
        return execute(task, context)

    monkeypatch.setattr(operator, "execute", then)


def test_more_audiences_than_airflow_maps_at_once_are_synced(
    company: World, run_sync: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "2")
    company.document["audiences"] += [company.entry(f"Other {number}", f"other_{number}") for number in range(4)]
    for folder in ("audience", *(f"other_{number}" for number in range(4))):
        company.snapshot(["ana"], folder=folder)
    assert str(run_sync().state) == "success"
    assert [company.members_shown(key) for key in (KEY, "other_0", "other_3")] == [{"ana"}] * 3


def test_a_backfill_of_more_audiences_than_airflow_hands_on_is_refused_before_anybody_is_asked(
    company: World, load_dags: Callable[[], dict[str, Any]], answer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    company.document["audiences"].append(company.entry("VIP", "vip"))
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "1")
    dag = load_dags()["engage_audience_backfill"]
    for task in dag.tasks:
        task.retries = 0
    dag_run = dag.test(run_conf={"audiences": [KEY, "vip"]})
    assert (str(dag_run.get_task_instance("plan").state), answer.asked) == ("failed", [])


def test_a_run_whose_snapshot_was_overtaken_is_skipped(company: World, run_sync: Run) -> None:
    company.snapshot(["ana"])
    newest = company.snapshot(["ana", "ben"])
    company.sync()
    newest.unlink()
    dag_run = run_sync()
    found = states(dag_run)
    assert (str(dag_run.state), found["seal"], found["diff"], found["deliver"]) == (
        "success",
        "success",
        "skipped",
        "skipped",
    )
    assert company.members_shown() == {"ana", "ben"}


def test_a_run_that_another_one_overtook_before_it_sent_is_skipped(
    company: World, run_sync: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    company.snapshot(["ana"])

    def newer() -> None:
        company.snapshot(["ana", "ben"])
        company.sync()

    meanwhile(monkeypatch, DeliverOperator, newer)
    dag_run = run_sync()
    assert (str(dag_run.state), states(dag_run)["deliver"]) == ("success", "skipped")
    assert company.members_shown() == {"ana", "ben"}
    assert [run.state for run in recent(company.workspace.database)] == [RunState.DONE, RunState.INTERRUPTED]


def test_an_old_delivery_that_is_cleared_sends_nothing_once_a_newer_run_is_there(
    company: World, run_task: Callable[..., Any]
) -> None:
    company.destination["give_up_after_s"] = 0.2
    company.snapshot(["ana", "ben"])
    company.windsor.set_faults(Faults(outage=Outage.UNAVAILABLE))
    old = {"run": company.sync().run_id, "audience": KEY}
    company.windsor.set_faults(Faults())
    company.snapshot(["ana"])
    company.sync()
    sent = company.sent
    for kind, more in ((DeliverOperator, {}), (DeliverShardOperator, {"shard": 1}), (CloseBooksOperator, {})):
        with pytest.raises(AirflowSkipException, match="superseded"):
            run_task(kind, kind.__name__, audience=KEY, run=old, **more)
    assert company.sent == sent
    assert company.members_shown() == {"ana"}


def test_an_old_delivery_that_is_cleared_goes_on_where_it_stopped_while_no_newer_run_is_there(
    company: World, run_task: Callable[..., Any]
) -> None:
    company.destination["give_up_after_s"] = 0.2
    company.snapshot(["ana", "ben"])
    company.windsor.set_faults(Faults(outage=Outage.UNAVAILABLE))
    old = {"run": company.sync().run_id, "audience": KEY}
    company.windsor.set_faults(Faults())
    assert run_task(DeliverOperator, "deliver", audience=KEY, run=old)["delivered"] == 2
    assert run_task(DeliverOperator, "again", audience=KEY, run=old)["delivered"] == 2
    assert company.sent == 2


def test_a_cleared_seal_and_diff_take_the_newest_snapshot(company: World, run_task: Callable[..., Any]) -> None:
    company.snapshot(["ana"])
    first = run_task(SealSnapshotOperator, "seal", audience=KEY)
    company.snapshot(["ana", "ben"])
    company.sync()
    with pytest.raises(AirflowSkipException, match="superseded"):  # the diff alone has the old seal's snapshot
        run_task(DiffOperator, "diff", audience=KEY, sealed=first)
    again = run_task(SealSnapshotOperator, "seal_again", audience=KEY)
    assert run_task(DiffOperator, "diff_again", audience=KEY, sealed=again)["entered"] == 0
    assert company.members_shown() == {"ana", "ben"}


def test_a_delivery_that_is_marked_success_or_failed_stays_owed_and_the_next_run_sends_it(
    company: World, run_sync: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    company.snapshot(["ana", "ben"])
    with monkeypatch.context() as marked:  # a mark ends the task without our code
        marked.setattr(DeliverOperator, "execute", lambda self, context: None)
        assert states(run_sync())["deliver"] == "success"
    assert company.members_shown() == set()
    run_sync()
    assert company.members_shown() == {"ana", "ben"}


def test_two_runs_at_once_are_one_after_the_other_for_each_audience(
    company: World, run_task: Callable[..., Any]
) -> None:
    company.snapshot(["ana"])
    sealed = run_task(SealSnapshotOperator, "seal", audience=KEY)
    run = run_task(DiffOperator, "diff", audience=KEY, sealed=sealed)
    with company.workspace.hold(company.computation().key, "the other run"), pytest.raises(LeaseHeld):
        run_task(DeliverOperator, "deliver", audience=KEY, run=run)
    assert run_task(DeliverOperator, "then", audience=KEY, run=run)["delivered"] == 1


def test_a_dag_that_was_paused_for_a_week_runs_once_with_the_newest_snapshot(
    company: World, run_sync: Run, load_dags: Callable[[], dict[str, Any]]
) -> None:
    for members in (["ana"], ["ben"], ["ana", "cid"]):
        company.snapshot(members)
    dag = load_dags()["engage_audience_sync"]
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    run_sync()
    assert company.members_shown() == {"ana", "cid"}
    assert company.sent == 2
