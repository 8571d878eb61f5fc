"""Brings Windsor's audience traits up to date with Engage's memberships, every two to three hours."""

from datetime import UTC, datetime

from airflow.sdk import DeltaTriggerTimetable, dag

from windsor_sync.airflow.configuration import audience_interval, audiences_by_shards, events_interval
from windsor_sync.airflow.groups import forward_events, sync_audiences


@dag(
    schedule=DeltaTriggerTimetable(audience_interval()),
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3},
    tags=["segment", "windsor"],
)
def engage_audience_sync() -> None:
    """Seal each audience's newest snapshot, compare it with what Windsor was told, and send the changes; events beside."""
    sync_audiences(audiences_by_shards(), audience_interval())
    if events_interval():
        forward_events()


engage_audience_sync()
