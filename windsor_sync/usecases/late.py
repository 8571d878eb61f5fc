"""Tells which syncs were due and did not run, for whatever still runs to look for: a command, cron, another DAG."""

from datetime import datetime, timedelta

from windsor_sync.domain.alert import AlertEvent
from windsor_sync.domain.labels import counted, moment
from windsor_sync.errors import harmless
from windsor_sync.settings import Computation, Settings
from windsor_sync.settings.timing import interval_of, next_after
from windsor_sync.state.alerts import ended_at
from windsor_sync.state.runs import newest_of_each
from windsor_sync.state.tries import last_tries
from windsor_sync.usecases.orphans import entries_by_id
from windsor_sync.usecases.workspace import Workspace

LEAST_GRACE = timedelta(minutes=30)
"""A sync may begin so much after it was due, or half an interval where that is longer."""

MANY = 10**6


def late_audiences(workspace: Workspace, now: datetime) -> dict[str, str]:
    """Return a sentence for each audience that is late, by trait key; one for the whole destination where all are."""
    due = _due(workspace, now)
    late = {audience: at for audience, (at, grace) in due.items() if now > at + grace}
    if not late:
        return {}
    if len(late) == len(due):
        return {"": _all_late(workspace, min(late.values()), len(late))}
    return {audience: _one_late(audience, at) for audience, at in late.items()}


def _due(workspace: Workspace, now: datetime) -> dict[str, tuple[datetime, timedelta]]:
    """Return when each audience that was ever synced is due, and how much later it may begin.

    A moment after `now` is of a clock that was put back since, and does not count.
    """
    destination, rows = workspace.settings.destination.name, workspace.registry.known()
    entries = entries_by_id(workspace.settings, rows)
    begun = {run.audience_id: run.started_at for run in newest_of_each(workspace.database, destination, limit=MANY)}
    tries = last_tries(workspace.database, destination)
    resumed_at = ended_at(workspace.database, destination, AlertEvent.LATE)
    found = {}
    for row in rows:
        if row.id in entries and row.id in begun:
            known = (begun[row.id], tries.get(row.trait_key), resumed_at)
            last = max((at for at in known if at is not None and at <= now), default=now)
            found[row.trait_key] = due_after(workspace.settings, entries[row.id], last)
    return found


def due_after(settings: Settings, computation: Computation, last: datetime) -> tuple[datetime, timedelta]:
    """Return when an audience is due again after a sync, and how much later it may begin."""
    timing = computation.schedule or settings.schedule.audiences
    return next_after(timing, last), max(LEAST_GRACE, interval_of(timing) / 2)


def _one_late(audience: str, due: datetime) -> str:
    return (
        f"{harmless(audience)} was due at {moment(due)} and was not synced since. Windsor has the state of the last sync. Check "
        f"its tasks in Airflow, or sync it now: windsor-sync sync {harmless(audience)}"
    )


def _all_late(workspace: Workspace, due: datetime, number: int) -> str:
    return (
        f"Nothing was synced to {harmless(workspace.settings.destination.name)} since {counted(number, 'audience')} "
        f"{'was' if number == 1 else 'were'} due ({moment(due)}). Windsor has the state of the last sync. Check that the "
        "scheduler runs and engage_audience_sync is not paused, or sync now: windsor-sync sync --all"
    )
