"""Syncs chosen audiences and computed traits beside the schedule; the button *Sync now* on an audience's page starts it."""

from datetime import UTC, datetime

from airflow.sdk import DAG

from windsor_sync.airflow.backfill import audiences_form
from windsor_sync.airflow.configuration import audiences_interval, names_by_key, task_timeout
from windsor_sync.airflow.groups import sync_chosen

with DAG(
    "engage_sync_now",
    description="Seal, compare and send the audiences that a person chooses in the form, beside the schedule.",
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=False,
    params=audiences_form(names_by_key()),
    default_args={"owner": "windsor_sync", "retries": 3, "execution_timeout": task_timeout()},
    tags=["segment", "windsor"],
):
    sync_chosen(audiences_interval())
