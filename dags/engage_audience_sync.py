"""Brings Windsor's audience traits up to date with Engage's memberships, every two to three hours."""

from datetime import UTC, datetime

from airflow.sdk import DeltaTriggerTimetable, dag, task_group

from windsor_sync.airflow.configuration import audience_interval, audience_keys
from windsor_sync.airflow.operators import DeliverOperator, DiffOperator, SealSnapshotOperator


@dag(
    schedule=DeltaTriggerTimetable(audience_interval()),
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3},
    tags=["segment", "windsor"],
)
def engage_audience_sync() -> None:
    """Seal each audience's newest snapshot, compare it with what Windsor was told, and send the changes."""

    @task_group
    def sync_audience(audience: str) -> None:
        sealed = SealSnapshotOperator(task_id="seal", audience=audience)
        changes = DiffOperator(task_id="diff", audience=audience, sealed=sealed.output)
        DeliverOperator(task_id="deliver", audience=audience, run=changes.output)

    sync_audience.expand(audience=audience_keys())


engage_audience_sync()
