"""When the DAGs run: every so often, by cron across daylight saving, on assets; with one DAG for each schedule."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Asset

from tests.support.world import KEY, World

Load = Callable[[], dict[str, Any]]

BERLIN = {"cron": "0 */3 * * *", "timezone": "Europe/Berlin"}


def test_an_audience_with_a_schedule_of_its_own_has_a_dag_of_its_own(configured: World, load_dags: Load) -> None:
    configured.document["computed_traits"] = []
    configured.document["audiences"] += [
        configured.entry("VIP", "vip", schedule="2h"),
        configured.entry("Odd key", "odd", trait="odd key/%", schedule="2h"),
        configured.entry("Off", "off", schedule="2h", enabled=False),
    ]
    found = {dag_id: dag for dag_id, dag in load_dags().items() if dag_id.startswith("engage_audience_sync")}
    assert set(found) == {
        "engage_audience_sync",
        "engage_audience_sync_vip",
        next(dag_id for dag_id in found if dag_id.startswith("engage_audience_sync_odd_key___")),
    }
    for dag in found.values():
        assert (dag.max_active_runs, dag.catchup) == (1, False)
        assert {task.task_id.partition(".")[0] for task in dag.tasks} == {"sync_audience"}


def test_a_dag_of_its_own_syncs_its_audience_and_the_shared_one_the_others(configured: World, load_dags: Load) -> None:
    configured.document["computed_traits"] = []
    configured.document["audiences"].append(configured.entry("VIP", "vip", schedule="2h"))
    configured.snapshot(["ana"])
    configured.snapshot(["ben"], folder="vip")
    dags = load_dags()
    dags["engage_audience_sync_vip"].test()
    assert (configured.members_shown(KEY), configured.members_shown("vip")) == (set(), {"ben"})
    dags["engage_audience_sync"].test()
    assert configured.members_shown(KEY) == {"ana"}


def test_a_cron_schedule_runs_at_each_local_time_once_across_both_changes_of_the_clocks(
    configured: World, load_dags: Load
) -> None:
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables.base import TimeRestriction

    configured.document["schedule"] = {"audiences": BERLIN}
    dag = load_dags()["engage_audience_sync"]
    timetable = DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable
    for day, hours in ((datetime(2026, 3, 28, tzinfo=UTC), 47), (datetime(2026, 10, 24, tzinfo=UTC), 49)):
        restriction = TimeRestriction(earliest=day, latest=day + timedelta(hours=hours), catchup=True)
        moments, last = [], None
        while True:
            info = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
            if info is None:
                break
            last = info.data_interval
            moments.append(info.run_after)
        local = [f"{moment.in_timezone('Europe/Berlin'):%d %H}" for moment in moments]
        assert len(local) == len(set(local)) >= 15, local
        assert {moment.in_timezone("Europe/Berlin").hour % 3 for moment in moments} == {0}


def test_assets_start_a_dag_each_by_itself_and_the_clock_does_at_the_latest(configured: World, load_dags: Load) -> None:
    configured.document["schedule"] = {"audiences": {"on": ["s3://exports/vip", "dbt_vip"], "every": "2h"}}
    timetable = load_dags()["engage_audience_sync"].timetable
    assert [ref.uri for ref in timetable.asset_condition.objects if hasattr(ref, "uri")] == ["s3://exports/vip"]
    assert [ref.name for ref in timetable.asset_condition.objects if hasattr(ref, "name")] == ["dbt_vip"]
    assert type(timetable.asset_condition).__name__ == "AssetAny"
    assert timetable.timetable.delta == timedelta(hours=2)


COSMOS = "postgres://db.example:5432/shop/dbt/vip"
"""How Cosmos names the asset of a dbt model."""


def test_a_real_scheduler_starts_the_sync_when_an_upstream_asset_changed(
    configured: World, load_dags: Load, register_dag: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.jobs.job import Job, run_job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    configured.document["computed_traits"] = []
    on = {"on": [COSMOS, "s3://exports/never"], "every": "1d"}
    configured.document["audiences"] = [configured.entry("Bought", "bought", schedule=on)]
    configured.snapshot(["ana"], folder="bought")
    with DAG("dbt_like", schedule=None) as upstream:
        BashOperator(task_id="run_vip", bash_command="true", outlets=[Asset("vip", uri=COSMOS)])
    register_dag(upstream)
    sync = load_dags()["engage_audience_sync_bought"]
    register_dag(sync)
    with create_session() as session:
        session.query(DagModel).filter(DagModel.dag_id == sync.dag_id).update({"is_paused": False})
        # The clock's own first run is long done, as in an Airflow that has been running.
        later = datetime.now(UTC) + timedelta(days=1)
        session.query(DagModel).update({"next_dagrun_create_after": later})
    upstream.test()
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "1")
    scheduler = SchedulerJobRunner(job=Job(), num_runs=1)
    run_job(scheduler.job, execute_callable=scheduler._execute)
    with create_session() as session:
        runs = session.query(DagRun).filter(DagRun.dag_id == sync.dag_id)
        assert "asset_triggered" in {str(run.run_type) for run in runs}
