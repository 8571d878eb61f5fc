"""The DAG does what the command line does, task by task, and its colours tell the truth."""

import json
import os
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import ParamValidationError

from tests.support.commands import run
from tests.support.world import KEY, TRAIT_KEY, World
from windsor_sync.errors import DestinationUnavailable
from windsor_sync.sandbox import Faults
from windsor_sync.state.runs import recent
from windsor_sync.usecases.close_run import error_of

Run = Callable[[], Any]

INVALID = (ParamValidationError, ValueError)
"""The errors with which Airflow refuses a run's configuration."""


def states(dag_run: Any) -> dict[tuple[str, int], str]:
    """State of each task instance, by task id and map index."""
    return {(one.task_id, one.map_index): str(one.state) for one in dag_run.get_task_instances()}


def test_the_dag_has_a_row_of_tasks_for_each_audience_and_never_overlaps(
    load_dags: Callable[[], dict[str, Any]],
) -> None:
    dag = load_dags()["engage_audience_sync"]
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    names = ("seal", "diff", "deliver", "approve", "deliver_approved")
    assert {task.task_id for task in dag.tasks} == {f"sync_audience.{name}" for name in names}
    assert {task.pool for task in dag.tasks if "deliver" in task.task_id} == {"windsor_api"}
    assert dag.timetable.delta == timedelta(hours=2, minutes=30)


def test_the_dag_brings_windsor_up_to_date_and_then_sends_changes_only(configured: World, run_sync: Run) -> None:
    configured.snapshot(["ana", "ben"])
    configured.values({"ana": 1.5})
    assert str(run_sync().state) == "success"
    assert configured.shown() == {"ana": True, "ben": True}
    assert configured.shown(TRAIT_KEY) == {"ana": 1.5}
    configured.snapshot(["ben", "cy"])
    assert str(run_sync().state) == "success"
    assert configured.shown() == {"ana": False, "ben": True, "cy": True}
    assert configured.sent == 5


def test_chosen_audiences_are_synced_beside_the_schedule_and_no_other(
    configured: World, load_dags: Callable[[], dict[str, Any]]
) -> None:
    configured.snapshot(["ana", "ben"])
    configured.values({"ana": 1.5})
    dag = load_dags()["engage_sync_now"]
    for task in dag.tasks:
        task.retries = 0
    found = states(dag.test(run_conf={"audiences": [TRAIT_KEY]}))
    assert (found["sync_audience.deliver", 0], len(found)) == ("success", 6)
    assert (configured.shown(), configured.shown(TRAIT_KEY)) == ({}, {"ana": 1.5})
    before = configured.sent
    unusable = ({"audiences": []}, {"audiences": "vip"}, {"audiences": [KEY, "no_such_audience"]})
    for conf in unusable:
        with pytest.raises(INVALID):
            dag.test(run_conf=conf)
    dag.params = type(dag.params)()  # a company's own DAG may have no such form
    for conf in ({}, *unusable):
        assert states(dag.test(run_conf=conf))["choose", -1] == "failed", conf
    assert configured.sent == before


def test_the_form_of_sync_now_offers_every_audience_and_trait_by_its_name(
    load_dags: Callable[[], dict[str, Any]],
) -> None:
    dag = load_dags()["engage_sync_now"]
    schema = dag.params.get_param("audiences").schema
    assert schema["items"]["enum"] == schema["examples"] == [KEY, TRAIT_KEY]
    assert schema["values_display"][KEY] == "Order Completed Last 30days"
    assert set(dag.get_task("sync_audience.approve").params) == {"max_exited", "max_entered", "note"}


def test_plan_and_dag_agree_on_every_message(configured: World, run_sync: Run, tmp_path: Path) -> None:
    configured.snapshot([f"user-{number}" for number in range(30)])
    configured.values({f"user-{number}": number for number in range(20)})
    run_sync()
    configured.snapshot([f"user-{number}" for number in range(5, 35)])
    configured.values({f"user-{number}": number + number % 2 for number in range(22)})
    before = configured.sent
    options = ["plan", "--all", "--json", "--messages", str(tmp_path / "messages.jsonl")]
    printed = run("-m", "windsor_sync.cli", "--config", str(configured.config), *options, env=os.environ).stdout
    planned = [json.loads(line) for line in (tmp_path / "messages.jsonl").read_text().splitlines()]
    run_sync()
    arrived = configured.windsor.store.accepted[before:]
    assert sorted(one.message_id for one in arrived) == sorted(message["messageId"] for message in planned)
    assert sum(plan["messages"] for plan in json.loads(printed)["plans"]) == len(arrived) == 22


def test_an_audience_that_fails_holds_no_other(configured: World, run_sync: Run) -> None:
    broken = configured.snapshot(["ana"])
    configured.values({"ana": 7})
    broken.write_text("this,is,not\nan,engage,download\n")
    dag_run = run_sync()
    assert str(dag_run.state) == "failed"
    assert states(dag_run) == {
        ("sync_audience.seal", 0): "failed",
        ("sync_audience.diff", 0): "upstream_failed",
        ("sync_audience.deliver", 0): "upstream_failed",
        ("sync_audience.approve", 0): "upstream_failed",
        ("sync_audience.deliver_approved", 0): "upstream_failed",
        ("sync_audience.seal", 1): "success",
        ("sync_audience.diff", 1): "success",
        ("sync_audience.deliver", 1): "success",
        ("sync_audience.approve", 1): "skipped",
        ("sync_audience.deliver_approved", 1): "skipped",
    }
    assert configured.shown(TRAIT_KEY) == {"ana": 7}


def test_a_refused_key_is_a_failure_and_the_next_run_sends_what_is_owed(configured: World, run_sync: Run) -> None:
    configured.snapshot(["ana", "ben"])
    configured.values({"ana": 1})
    configured.windsor.set_faults(Faults(revoked_after=0))
    dag_run = run_sync()
    assert states(dag_run)["sync_audience.deliver", 0] == "failed"
    assert configured.sent == 0
    configured.windsor.set_faults(Faults())
    assert str(run_sync().state) == "success"
    assert configured.members_shown() == {"ana", "ben"}


def test_airflow_keeps_counts_and_no_user(configured: World, run_sync: Run, airflow_db: Path) -> None:
    configured.snapshot({"canary-user": "canary@example.com"})
    configured.values({"canary-user": "canary-value"})
    dag_run = run_sync()
    pushed = dag_run.get_task_instance("sync_audience.deliver", map_index=0).xcom_pull(
        task_ids="sync_audience.deliver", map_indexes=0
    )
    assert (pushed["audience"], pushed["delivered"], pushed["owed"]) == (KEY, 1, 0)
    with sqlite3.connect(airflow_db) as database:
        dump = "\n".join(database.iterdump())
    assert "canary" not in dump
    triggers = [run.trigger for run in recent(configured.workspace.database)]
    assert len(triggers) == 2
    assert all(trigger.startswith("airflow engage_audience_sync") for trigger in triggers)


def test_a_task_waits_as_long_as_windsor_asked(configured: World) -> None:
    configured.destination["give_up_after_s"] = 0.5
    configured.snapshot(["ana"])
    configured.windsor.set_faults(Faults(busy_rate=1, retry_after_s=1800))
    error = error_of(configured.sync())
    assert isinstance(error, DestinationUnavailable)
    assert error.retry_after_s == 1800
