"""Clear, mark, pause, catch up, backfill, two runs at once: what Airflow's buttons do is what our state says was sent."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.exceptions import AirflowException
from airflow.sdk.exceptions import AirflowSkipException
from airflow.utils.session import create_session

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
from windsor_sync.usecases.request import Request

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
    company.document["audiences"] += [company.entry(f"Other {number}", f"other_{number}") for number in range(2)]
    for folder in ("audience", "other_0", "other_1"):
        company.snapshot(["ana"], folder=folder)
    assert str(run_sync().state) == "success"
    assert [company.members_shown(key) for key in (KEY, "other_0", "other_1")] == [{"ana"}] * 3


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


def owed_by_an_old_run(company: World) -> dict[str, str]:
    """What a task hands on of a run that Windsor's outage stopped; Windsor is there again."""
    company.destination["give_up_after_s"] = 0.2
    company.snapshot(["ana", "ben"])
    company.windsor.set_faults(Faults(outage=Outage.UNAVAILABLE))
    old = {"run": company.sync().run_id, "audience": KEY}
    company.windsor.set_faults(Faults())
    return old


def test_an_old_delivery_that_is_cleared_sends_nothing_once_a_newer_run_is_there(
    company: World, run_task: Callable[..., Any]
) -> None:
    old = owed_by_an_old_run(company)
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
    old = owed_by_an_old_run(company)
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


def test_a_try_that_takes_too_long_is_stopped_and_the_next_one_goes_on_where_it_stopped(
    company: World, load_dags: Callable[[], dict[str, Any]], run_sync: Run
) -> None:
    company.document["schedule"] = {"audiences": "2h", "task_timeout": "20m"}
    company.destination["max_in_flight"] = 1
    users = [f"user-{number}" for number in range(12)]
    company.snapshot(users)
    company.windsor.set_faults(Faults(latency_ms=(400, 400)))
    dag = load_dags()["engage_audience_sync"]
    limits = {task.task_id.partition(".")[2]: task.execution_timeout for task in dag.tasks}
    asking = limits.pop("approve")
    assert (asking, set(limits.values())) == (None, {timedelta(minutes=20)})
    deliver = dag.get_task("sync_audience.deliver")
    deliver.execution_timeout, deliver.retries = timedelta(seconds=2), 0
    assert states(dag.test())["deliver"] == "failed"
    assert 0 < len(company.members_shown()) < len(users)
    company.windsor.set_faults(Faults())
    assert states(run_sync())["deliver"] == "success"
    assert company.members_shown() == set(users)
    for run in recent(company.workspace.database):
        run.books.check(run.run_id)


@pytest.fixture
def dated(company: World) -> World:
    """An audience whose files are named by their day; Windsor was told that of 2 November."""
    company.document["audiences"][0]["snapshot"]["taken_at"] = "%Y-%m-%d"
    for day, members in ((1, ["ana"]), (2, ["ana", "ben"]), (3, ["ben", "cid"]), (4, ["dan"])):
        company.snapshot(members).rename(company.folder / "snapshots" / "audience" / f"2026-11-0{day}.csv")
    path = str(company.folder / "snapshots" / "audience" / "2026-11-02.csv")
    company.sync(request=Request("backfill", snapshot_path=path))
    return company


def backfill_of(day: int) -> Any:
    """What a task sees of a run of Airflow's backfill."""
    return SimpleNamespace(run_type="backfill", logical_date=datetime(2026, 11, day, 12, tzinfo=UTC))


def test_a_run_of_airflows_backfill_takes_the_snapshot_as_of_its_logical_date(
    dated: World, context: dict[str, Any], run_task: Callable[..., Any]
) -> None:
    (dated.folder / "snapshots" / "audience" / "20260101T1230.csv").unlink(missing_ok=True)
    context["dag_run"] = backfill_of(3)
    sealed = run_task(SealSnapshotOperator, "seal", audience=KEY)
    assert sealed["taken_at"].startswith("2026-11-03")
    run = run_task(DiffOperator, "diff", audience=KEY, sealed=sealed)
    assert run_task(DeliverOperator, "deliver", audience=KEY, run=run)["delivered"] == 2
    assert dated.members_shown() == {"ben", "cid"}
    kept = recent(dated.workspace.database, limit=1)[0]
    assert (kept.kind, kept.trigger) == ("backfill", "airflow engage_audience_sync manual__1")


def test_a_run_of_airflows_backfill_tells_windsor_nothing_older_than_it_knows(
    dated: World, context: dict[str, Any], run_task: Callable[..., Any]
) -> None:
    sent = dated.sent
    context["dag_run"] = backfill_of(1)
    sealed = run_task(SealSnapshotOperator, "seal", audience=KEY)
    with pytest.raises(AirflowSkipException, match="superseded"):
        run_task(DiffOperator, "diff", audience=KEY, sealed=sealed)
    assert (dated.sent, dated.members_shown()) == (sent, {"ana", "ben"})


def test_airflow_refuses_a_backfill_of_files_without_dates_before_a_run_starts(
    company: World, load_dags: Callable[[], dict[str, Any]], register_dag: Callable[[Any], None]
) -> None:
    from airflow.models import backfill
    from airflow.models.dagrun import DagRun

    every = {"cron": "0 */3 * * *"}
    named = {"path": "snapshots/vip/*.csv", "taken_at": "%Y-%m-%d"}
    company.document["schedule"] = {"audiences": every}
    company.document["audiences"].append({"name": "VIP", "snapshot": named, "schedule": every})
    dags = load_dags()
    found = {}
    for dag_id in ("engage_audience_sync", "engage_audience_sync_vip"):
        register_dag(dags[dag_id])
        days = {"from_date": datetime(2026, 11, 1, tzinfo=UTC), "to_date": datetime(2026, 11, 2, tzinfo=UTC)}
        how = {"max_active_runs": 1, "reverse": False, "dag_run_conf": None, "triggering_user_name": "ana"}
        try:
            backfill._create_backfill(dag_id=dag_id, reprocess_behavior="none", **days, **how)
        except AirflowException as error:
            found[dag_id] = type(error).__name__
        else:
            with create_session() as session:
                made = session.query(DagRun).filter(DagRun.dag_id == dag_id, DagRun.run_type == "backfill")
                found[dag_id] = made.count()
    assert found == {"engage_audience_sync": "DagRunTypeNotAllowed", "engage_audience_sync_vip": 9}


def test_of_a_dag_with_dated_and_other_files_a_backfill_leaves_the_others_alone(
    dated: World, context: dict[str, Any], run_task: Callable[..., Any]
) -> None:
    dated.document["audiences"].append(dated.entry("VIP", "vip"))
    dated.snapshot(["ana"], folder="vip")
    _ = dated.config
    context["dag_run"] = backfill_of(3)
    with pytest.raises(AirflowSkipException, match="VIP has no snapshot"):
        run_task(SealSnapshotOperator, "seal", audience="vip")
