"""Brings Windsor's audience traits up to date with Engage's memberships, every two to three hours or as `schedule` says."""

from datetime import UTC, datetime

from airflow.sdk import DAG

from windsor_sync.airflow.groups import forward_events, sync_audiences
from windsor_sync.airflow.schedules import audience_dags

for each in audience_dags():
    with DAG(
        each.dag_id,
        description="Seal each audience's newest snapshot, compare it with what Windsor was told, and send the changes.",
        doc_md=__doc__,
        schedule=each.timetable,
        start_date=datetime(2025, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        allowed_run_types=each.run_types,
        default_args={"owner": "windsor_sync", "retries": 3, "execution_timeout": each.task_timeout},
        tags=["segment", "windsor"],
    ):
        sync_audiences(each.audiences, each.interval)
        if each.has_events:
            forward_events()
