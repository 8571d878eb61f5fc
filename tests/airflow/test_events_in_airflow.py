"""Events go out beside the audiences, and every fifteen minutes by themselves."""

import sqlite3
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from tests.support.archive import Archive, arrived, sent
from tests.support.world import KEY, World
from windsor_sync.airflow.forwarding import ForwardEventsOperator
from windsor_sync.errors import Interrupted
from windsor_sync.sandbox import Faults
from windsor_sync.sandbox.faults import Outage
from windsor_sync.state.audiences import EVENTS
from windsor_sync.state.runs import recent

Run = Callable[..., Any]
TASK = "forward_events.forward"


@pytest.fixture
def archive(configured: World) -> Archive:
    return Archive(configured)


@pytest.fixture
def run_dag(load_dags: Callable[[], dict[str, Any]]) -> Run:
    """Run a DAG once, without waiting between tries."""

    def run(dag_id: str = "segment_event_forwarding", retries: int = 0) -> Any:
        dag = load_dags()[dag_id]
        for task in dag.tasks:
            task.retries = retries
        return dag.test()

    return run


def outcome(dag_run: Any) -> tuple[str, Any]:
    """State and XCom of the forwarding task."""
    instance = dag_run.get_task_instance(TASK)
    return str(instance.state), instance.xcom_pull(task_ids=TASK)


def test_the_dag_runs_every_fifteen_minutes_in_the_pool_and_never_overlaps(
    archive: Archive, load_dags: Callable[[], dict[str, Any]]
) -> None:
    dag = load_dags()["segment_event_forwarding"]
    assert dag.timetable.delta == timedelta(minutes=15)
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    assert [(task.task_id, task.pool) for task in dag.tasks] == [(TASK, "windsor_api")]


def test_without_events_in_the_configuration_nothing_is_scheduled(load_dags: Callable[[], dict[str, Any]]) -> None:
    dags = load_dags()
    assert "segment_event_forwarding" not in dags
    assert TASK not in dags["engage_audience_sync"].task_dict


def test_events_go_out_beside_the_audiences_each_once_whichever_dag_comes_first(
    configured: World, archive: Archive, run_dag: Run
) -> None:
    configured.snapshot(["ana"])
    configured.values({"ana": 1})
    archive.write([archive.message(call, "ana", groupId="g") for call in ("identify", "track", "group", "page")])
    state, pushed = outcome(run_dag("engage_audience_sync"))
    assert (state, pushed["delivered"]) == ("success", 4)
    assert configured.shown() == {"ana": True}
    archive.write([archive.message("track", "ana")])
    state, pushed = outcome(run_dag())
    assert (state, pushed["delivered"]) == ("success", 1)
    (steps,) = pushed["runs"]
    assert (steps["received"], steps["delivered"], steps["awaiting_retry"]) == (1, 1, 0)
    names = [one.message_id or "" for one in configured.windsor.store.accepted]
    forwarded = [name for name in names if name.startswith("message")]
    assert sorted(forwarded) == sorted(message["messageId"] for message in archive.written)


def test_nothing_new_is_green_and_sends_nothing(configured: World, archive: Archive, run_dag: Run) -> None:
    assert outcome(run_dag()) == ("success", {"delivered": 0, "runs": []})
    assert configured.sent == 0


def test_while_another_run_forwards_the_task_is_skipped_and_the_next_one_sends_it(
    configured: World, archive: Archive, run_dag: Run
) -> None:
    archive.write([archive.message("track", "ana")])
    with configured.workspace.hold(EVENTS, "another run"):
        state, _ = outcome(run_dag())
        assert (state, configured.sent) == ("skipped", 0)
    state, _ = outcome(run_dag())
    assert (state, configured.sent) == ("success", 1)


def test_a_refused_key_fails_at_once_and_the_next_run_sends_what_is_owed(
    configured: World, archive: Archive, run_dag: Run
) -> None:
    archive.write([archive.message("track", user) for user in ("ana", "ben")])
    configured.windsor.set_faults(Faults(revoked_after=0))
    dag_run = run_dag(retries=3)
    assert outcome(dag_run)[0] == "failed"
    assert dag_run.get_task_instance(TASK).try_number == 1
    configured.windsor.set_faults(Faults())
    assert outcome(run_dag())[0] == "success"
    assert arrived(configured) == sent(archive.written)


def test_a_stop_commits_what_was_answered_and_the_next_try_sends_the_rest(
    configured: World, archive: Archive, airflow_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.write([archive.message("track", f"user-{number % 50}") for number in range(400)])
    configured.destination["requests_per_second"] = 200
    configured.document["audiences"] = configured.document["computed_traits"] = []
    _ = configured.config
    context: Any = {"dag": DAG("stop", schedule=None), "run_id": "one", "outlet_events": defaultdict(dict)}
    with context["dag"]:
        task = ForwardEventsOperator(task_id="forward")
    with monkeypatch.context() as patched:
        patched.setattr(task, "_report", lambda run, delivery: task.on_kill() if delivery.delivered else None)
        with pytest.raises(Interrupted, match="Stopped on request"):
            task.execute(context)
    assert 0 < configured.sent < 400
    configured.destination["requests_per_second"] = 1_000_000
    _ = configured.config
    task.execute(context)
    assert arrived(configured) == sent(archive.written)
    assert configured.windsor.store.stats()["duplicates"] == 0


def test_airflow_keeps_counts_and_no_user(configured: World, archive: Archive, run_dag: Run, airflow_db: Path) -> None:
    archive.write([archive.message("track", "canary-user", properties={"secret": "canary-value"})])
    run_dag()
    assert configured.sent == 1
    with sqlite3.connect(airflow_db) as database:
        assert "canary" not in "\n".join(database.iterdump())
    (run,) = recent(configured.workspace.database)
    assert run.trigger.startswith("airflow segment_event_forwarding")


def test_lineage_leads_from_the_archive_to_windsors_events(
    configured: World, archive: Archive, airflow_db: Path
) -> None:
    archive.write([archive.message("track", "ana"), archive.message("track", "ben")])
    _ = configured.config
    context: Any = {"dag": DAG("lineage_of_events", schedule=None), "run_id": "one"}
    with context["dag"]:
        task = ForwardEventsOperator(task_id="forward")
    task.execute(context)
    found = task.get_openlineage_facets_on_complete(None)
    assert [(one.namespace, one.name) for one in found.inputs] == [("file", str(archive.root))]
    (written,) = found.outputs
    assert (written.namespace, written.name) == ("windsor://windsor", "events")
    assert written.outputFacets["outputStatistics"].rowCount == 2
    assert KEY not in str(written)


def test_metrics_count_events_and_what_of_them_is_owed(
    configured: World, archive: Archive, run_dag: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from windsor_sync.airflow.metrics import airflows_metrics

    seen: dict[str, Any] = {}
    for kind in ("incr", "gauge"):
        monkeypatch.setattr(
            airflows_metrics(), kind, lambda name, value=1, **more: seen.update({name: (value, more.get("tags"))})
        )
    archive.write([archive.message("track", user) for user in ("ana", "ben")])
    run_dag()
    tags = {"audience": "events"}
    assert (seen["windsor_sync.sent"], seen["windsor_sync.owed"]) == ((2, tags), (0, tags))
    configured.destination["give_up_after_s"] = 0.3
    configured.windsor.set_faults(Faults(outage=Outage.UNAVAILABLE))
    archive.write([archive.message("track", user) for user in ("ana", "ben", "cy")])
    run_dag()
    assert seen["windsor_sync.owed"] == (3, tags)
