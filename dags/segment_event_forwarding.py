"""Forwards what is new in Segment's event archive to Windsor, every fifteen minutes."""

from datetime import UTC, datetime

from airflow.sdk import DeltaTriggerTimetable, dag

from windsor_sync.airflow.configuration import events_interval, task_timeout
from windsor_sync.airflow.groups import forward_events

INTERVAL = events_interval()


@dag(
    description="New events of Segment's raw archive to Windsor, each once and in order",
    doc_md=__doc__,
    schedule=DeltaTriggerTimetable(INTERVAL) if INTERVAL else None,
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "windsor_sync", "retries": 3, "execution_timeout": task_timeout()},
    tags=["segment", "windsor"],
)
def segment_event_forwarding() -> None:
    """Each event once, in its user's order; skipped while `engage_audience_sync` does the same."""
    forward_events()


if INTERVAL:  # without `events:` in windsor.yaml there is nothing to forward
    segment_event_forwarding()
