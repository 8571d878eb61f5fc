"""Waiting for a newer snapshot: at once when it is there, else in the triggerer, whose loop is never blocked."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.bases.operator import TriggerFailureReason
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, TaskDeferralError, TaskDeferred

from tests.support.world import KEY, World
from windsor_sync.airflow.sensors.windsor import NewerSnapshotSensor
from windsor_sync.airflow.triggers import windsor as trigger_module
from windsor_sync.airflow.triggers.windsor import NewerSnapshotTrigger
from windsor_sync.errors import ConfigError


@pytest.fixture
def sensor() -> NewerSnapshotSensor:
    from datetime import timedelta

    with DAG("waits", schedule=None):
        return NewerSnapshotSensor(
            task_id="wait", audience=KEY, poke_interval=timedelta(seconds=0.02), timeout=timedelta(hours=2)
        )


def execute(sensor: NewerSnapshotSensor) -> Any:
    return sensor.execute(SimpleNamespace())  # type: ignore[arg-type]


def fired(trigger: NewerSnapshotTrigger, meanwhile: Any = None) -> Any:
    """What the triggerer hands back, the trigger having been serialised on its way there."""
    path, arguments = trigger.serialize()
    assert path == "windsor_sync.airflow.triggers.windsor.NewerSnapshotTrigger"

    async def run() -> Any:
        waiting = asyncio.ensure_future(anext(NewerSnapshotTrigger(**arguments).run()))
        if meanwhile is not None:
            await asyncio.sleep(0.1)
            assert not waiting.done()
            meanwhile()
        return (await asyncio.wait_for(waiting, 30)).payload

    return asyncio.run(run())


def test_any_snapshot_is_newer_than_none(configured: World, sensor: NewerSnapshotSensor) -> None:
    configured.snapshot(["ana"])
    _ = configured.config
    assert execute(sensor)["audience"] == KEY


def test_it_waits_in_the_triggerer_for_a_snapshot_newer_than_the_one_windsor_was_told(
    configured: World, sensor: NewerSnapshotSensor
) -> None:
    configured.snapshot(["ana"])
    configured.sync()
    with pytest.raises(TaskDeferred) as deferred:
        execute(sensor)
    payload = fired(deferred.value.trigger, lambda: configured.snapshot(["ana", "ben"]))  # type: ignore[arg-type]
    assert payload == {"taken_at": "2026-01-01T05:00:00+00:00"}
    assert sensor.execute_complete(SimpleNamespace(), payload) == {"audience": KEY, **payload}  # type: ignore[arg-type]
    assert execute(sensor)["taken_at"] == payload["taken_at"]


def test_a_folder_without_snapshots_is_waited_for(configured: World, sensor: NewerSnapshotSensor) -> None:
    _ = configured.config
    with pytest.raises(TaskDeferred) as deferred:
        execute(sensor)
    assert fired(deferred.value.trigger, lambda: configured.snapshot(["ana"]))["taken_at"]  # type: ignore[arg-type]


def test_a_slow_store_does_not_hold_up_the_triggerers_loop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def slow(*_: Any) -> None:
        time.sleep(0.2)  # a store that takes its time; what counts is who waits for it

    monkeypatch.setattr(trigger_module, "taken_after", slow)
    ticks = 0

    async def run() -> None:
        nonlocal ticks
        waiting = asyncio.ensure_future(anext(NewerSnapshotTrigger(str(tmp_path), None, None, 60).run()))
        for _ in range(20):
            await asyncio.sleep(0)
            ticks += not waiting.done()
        waiting.cancel()

    asyncio.run(run())
    assert ticks == 20


def test_when_the_time_is_over_it_says_so_and_is_not_tried_again(sensor: NewerSnapshotSensor) -> None:
    # What the scheduler sets when a trigger's time is over; the exception is one that Airflow never tries again.
    with pytest.raises(AirflowSensorTimeout, match=f"No snapshot of {KEY} came within 2 hours"):
        sensor.resume_execution("__fail__", {"error": TriggerFailureReason.TRIGGER_TIMEOUT}, SimpleNamespace())  # type: ignore[arg-type]
    with pytest.raises(TaskDeferralError):
        sensor.resume_execution("__fail__", {"error": "the trigger died"}, SimpleNamespace())  # type: ignore[arg-type]


def test_a_query_is_nothing_to_wait_for(configured: World, sensor: NewerSnapshotSensor) -> None:
    configured.document["audiences"][0]["snapshot"] = {"connection": "warehouse", "query": "select user_id from vip"}
    _ = configured.config
    with pytest.raises((ConfigError, AirflowFailException), match="there is no snapshot to wait for"):  # as before 3.3
        execute(sensor)
