"""Tells when Airflow's schedule starts a DAG: our runs name its run, and the name says when."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from windsor_sync.settings.timing import Timing, interval_of, next_after
from windsor_sync.state.database import Database
from windsor_sync.state.runs import last_trigger_since, triggers_since

LOOKS_BACK = timedelta(days=1)
"""A schedule that has started nothing for so long, or for two of its intervals, is paused or not there."""


def last_scheduled(database: Database, dag_id: str, since: datetime) -> datetime | None:
    """Return when the schedule last started a run of the DAG that is in our books; None when that was before `since`."""
    start = f"airflow {dag_id} scheduled__"
    trigger = last_trigger_since(database, start, since)
    if trigger is None:
        return None
    return _moment(trigger.removeprefix(start))


def next_scheduled(database: Database, dag_id: str, interval: timedelta) -> datetime | None:
    """Return when the schedule starts the DAG again, whoever started the runs since; None when that is not known."""
    last = last_scheduled(database, dag_id, datetime.now(UTC) - max(LOOKS_BACK, interval * 2))
    return last + interval if last is not None else None


def next_of_each(database: Database, timings: Mapping[int, Timing]) -> dict[int, datetime]:
    """Return when the schedule of each audience starts its sync again, whatever DAG does it; without those not known.

    `timings`: the schedule of each audience by its id.
    """
    now = datetime.now(UTC)
    looks_back = {audience_id: max(LOOKS_BACK, interval_of(timing) * 2) for audience_id, timing in timings.items()}
    last: dict[int, datetime] = {}
    for audience_id, trigger, at in triggers_since(
        database, "airflow ", now - max(looks_back.values(), default=LOOKS_BACK)
    ):
        _, is_scheduled, name = trigger.partition(" scheduled__")
        found = _moment(name) if is_scheduled else None
        if found is not None and audience_id in timings and at > now - looks_back[audience_id]:
            last[audience_id] = max(found, last.get(audience_id, found))
    return {audience_id: next_after(timings[audience_id], found) for audience_id, found in last.items()}


def _moment(name: str) -> datetime | None:
    """Return the moment in the name of a run of the schedule; Airflow can be told to name its runs otherwise."""
    try:
        found = datetime.fromisoformat(name.split()[0])
    except (ValueError, IndexError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
