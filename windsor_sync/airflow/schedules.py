"""The DAGs of the audiences: one for all that share a schedule, and one for each audience with a schedule of its own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

from airflow.sdk import Asset, AssetAny, AssetOrTimeSchedule, CronTriggerTimetable, DeltaTriggerTimetable

from windsor_sync.airflow.configuration import settings_of_dags
from windsor_sync.settings import Computation
from windsor_sync.settings.timing import Cron, OnAssets, Timing, interval_of

SYNC_DAG = "engage_audience_sync"

BACKFILL = "backfill"
"""How Airflow calls a run of its own backfill."""


@dataclass(frozen=True, slots=True)
class AudienceDag:
    """One DAG: when it runs, and the audiences that it syncs."""

    dag_id: str
    timing: Timing
    audiences: dict[int, list[str]]
    """trait keys by the number of tasks that share an audience's delivery"""
    has_events: bool
    """whether events are forwarded beside them"""
    is_dated: bool
    """whether a snapshot of a past day can be found for any of them"""
    task_timeout: timedelta | None
    """how long one try of a task may take"""

    @property
    def run_types(self) -> Any:
        """Return the kinds of run that Airflow may start: its backfill only where it would find dated files. None: every kind."""
        from airflow.sdk.api.datamodels._generated import DagRunType

        return None if self.is_dated else [kind for kind in DagRunType if kind.value != BACKFILL]

    @property
    def interval(self) -> timedelta:
        """Return the shortest time from one start to the next."""
        return interval_of(self.timing)

    @property
    def timetable(self) -> Any:
        """Return Airflow's timetable."""
        return timetable_of(self.timing)


def audience_dags() -> list[AudienceDag]:
    """Return the DAG of the audiences without a schedule of their own, and then one for each other."""
    settings = settings_of_dags()
    enabled = [each for each in settings.computations if each.enabled]
    shared = [each for each in enabled if each.schedule is None]
    limit = settings.schedule.task_timeout
    main = AudienceDag(
        SYNC_DAG,
        settings.schedule.audiences,
        _by_shards(shared),
        settings.events is not None,
        any(map(is_dated, shared)),
        limit,
    )
    own = [
        AudienceDag(
            _dag_id(str(each.key)),
            each.schedule,
            _by_shards([each]),
            has_events=False,
            is_dated=is_dated(each),
            task_timeout=limit,
        )
        for each in enabled
        if each.schedule is not None
    ]
    return [main, *own]


def is_dated(computation: Computation) -> bool:
    """Tell whether the audience's files say in their path of which day they are."""
    return computation.snapshot.path is not None and computation.snapshot.taken_at is not None


def timetable_of(timing: Timing) -> Any:
    """Return Airflow's timetable of a schedule; any of the assets starts a run."""
    if isinstance(timing, Cron):
        return CronTriggerTimetable(timing.expression, timezone=timing.timezone)
    if isinstance(timing, OnAssets):
        assets = [Asset.ref(uri=each) if "://" in each else Asset.ref(name=each) for each in timing.assets]
        return AssetOrTimeSchedule(timetable=DeltaTriggerTimetable(timing.every), assets=AssetAny(*assets))
    return DeltaTriggerTimetable(timing)


def _by_shards(computations: Sequence[Computation]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for each in computations:
        found.setdefault(each.delivery_shards, []).append(str(each.key))
    return found


def _dag_id(key: str) -> str:
    """Return a name that Airflow takes; one whose signs had to be replaced is told from others by a digest."""
    plain = re.sub(r"[^\w.-]", "_", key, flags=re.ASCII)[:150]
    return f"{SYNC_DAG}_{plain}" + ("" if plain == key else f"_{sha256(key.encode()).hexdigest()[:8]}")
