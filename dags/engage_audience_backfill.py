"""A sync by hand, with a form: shows its plan, asks a person, and sends what they approve."""

from datetime import UTC, datetime

from airflow.sdk import dag

from windsor_sync.airflow.backfill import backfill_form
from windsor_sync.airflow.configuration import names_by_key, task_timeout
from windsor_sync.airflow.groups import backfill_audiences


@dag(
    description="A sync by hand: a plan that a person approves, then what it shows is sent",
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=False,
    params=backfill_form(names_by_key()),
    default_args={"owner": "windsor_sync", "retries": 3, "execution_timeout": task_timeout()},
    tags=["segment", "windsor"],
)
def engage_audience_backfill() -> None:
    """Everyone again, one side only, at most so many, or an older snapshot: nothing is sent before a person has seen it."""
    backfill_audiences()


engage_audience_backfill()
