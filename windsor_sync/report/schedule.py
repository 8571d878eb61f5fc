"""Tells when Airflow's schedule starts a DAG: our runs name its run, and the name says when."""

from datetime import UTC, datetime, timedelta

from windsor_sync.state.database import Database
from windsor_sync.state.runs import last_trigger_since

LOOKS_BACK = timedelta(days=1)
"""A schedule that has started nothing for so long, or for two of its intervals, is paused or not there."""


def last_scheduled(database: Database, dag_id: str, since: datetime) -> datetime | None:
    """Return when the schedule last started a run of the DAG that is in our books; None when that was before `since`."""
    start = f"airflow {dag_id} scheduled__"
    trigger = last_trigger_since(database, start, since)
    if trigger is None:
        return None
    try:
        found = datetime.fromisoformat(trigger.removeprefix(start).split()[0])
    except (ValueError, IndexError):  # Airflow can be told to name its runs otherwise
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def next_scheduled(database: Database, dag_id: str, interval: timedelta) -> datetime | None:
    """Return when the schedule starts the DAG again, whoever started the runs since; None when that is not known."""
    last = last_scheduled(database, dag_id, datetime.now(UTC) - max(LOOKS_BACK, interval * 2))
    return last + interval if last is not None else None
