"""How a process ends when Windsor, the key, the snapshot or another run is in its way, and what it leaves behind."""

import json
import os
import re
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.processes import Ended, until, windsor_sync
from tests.support.ports import nobody_at
from tests.support.world import KEY, World
from windsor_sync.domain.run import RunState
from windsor_sync.sandbox import Faults

EVERYBODY = [f"user-{number:04}" for number in range(1_500)]
IN_FLIGHT = 16


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """1,500 members that Windsor has not been told of, and little patience."""
    world = make_world(max_in_flight=IN_FLIGHT, give_up_after_s=0.5)
    world.document["computed_traits"] = []
    world.snapshot(EVERYBODY)
    return world


def sync(world: World) -> Ended:
    """One sync from start to end."""
    with windsor_sync(world, "sync", "--all", "--json") as run:
        return run.end()


def books(ended: Ended) -> dict[str, Any]:
    """The one run that a sync reports."""
    (run,) = json.loads(ended.output)["runs"]
    assert run["delivered"] + run["rejected"] + run["withheld"] + run["owed"] == run["changes"]
    return dict(run)


def assert_the_next_sync_completes(world: World) -> None:
    """With Windsor healthy again, one sync is enough."""
    world.windsor.set_faults(Faults())
    assert world.sync().state is RunState.DONE
    assert world.members_shown() == set(EVERYBODY)


@pytest.mark.parametrize("outage", ["unavailable", "reset"])
def test_with_windsor_down_a_sync_ends_with_6_and_owes_every_change(world: World, outage: str) -> None:
    world.windsor.set_faults(Faults.parse({"outage": outage}))
    ended = sync(world)
    assert (ended.status, books(ended)["delivered"], books(ended)["owed"]) == (6, 0, 1_500)
    assert "stay owed and the next run sends them" in ended.errors
    assert_the_next_sync_completes(world)


def test_a_windsor_that_cannot_be_reached_leaves_nothing_in_doubt(world: World) -> None:
    world.windsor.stop()
    with nobody_at(world.windsor.port):
        ended = sync(world)
    assert (ended.status, books(ended)["owed"], books(ended)["in_doubt"]) == (6, 1_500, 0)
    world.windsor.start()
    assert_the_next_sync_completes(world)
    assert world.sent == 1_500


def test_windsor_going_down_half_way_keeps_what_was_delivered(world: World) -> None:
    world.windsor.set_faults(Faults(latency_ms=(2, 6)))
    with windsor_sync(world, "sync", "--all", "--json") as run:
        until(lambda: world.sent >= 300)
        world.windsor.set_faults(Faults.parse({"outage": "unavailable"}))
        ended = run.end()
    assert ended.status == 6
    assert books(ended)["delivered"] == len(world.members_shown())
    assert_the_next_sync_completes(world)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_revoked_half_way_ends_a_sync_with_5_after_what_was_in_flight(world: World, status: int) -> None:
    world.windsor.set_faults(Faults(latency_ms=(2, 6), revoked_after=300, revoked_status=status))
    ended = sync(world)
    assert ended.status == 5
    assert 1 <= world.windsor.store.stats()["answers"][str(status)] <= IN_FLIGHT
    assert world.windsor.store.stats()["requests"] <= 300 + IN_FLIGHT
    assert books(ended)["delivered"] == len(world.members_shown()) == 300
    assert (books(ended)["owed"], books(ended)["in_doubt"]) == (1_200, 0)
    assert f"Windsor refused the API key ({status})" in ended.errors
    assert_the_next_sync_completes(world)
    assert world.sent == 1_500


def test_a_second_sync_ends_with_7_and_names_who_holds_the_lease_since_when(world: World) -> None:
    world.windsor.set_faults(Faults(latency_ms=(20, 40)))
    with windsor_sync(world, "sync", "--all") as first:
        until(lambda: world.sent > 0)
        second = sync(world)
        assert first.is_running
        named = (
            rf"Another run is writing to {KEY} at windsor: command line on \S+:{first.process.pid}, since 20\S+ \S+ UTC"
        )
        assert first.end().status == 0
    assert second.status == 7
    assert re.search(named, second.errors)
    assert json.loads(second.output) == {"runs": []}
    assert world.sent == 1_500


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_a_sync_ends_it_with_130_and_leaves_nothing_in_doubt(
    world: World, number: signal.Signals
) -> None:
    world.windsor.set_faults(Faults(latency_ms=(20, 40)))
    with windsor_sync(world, "sync", "--all", "--json") as run:
        until(lambda: world.sent >= 100)
        run.send(number)
        ended = run.end()
    assert ended.status == 130
    assert (books(ended)["delivered"], books(ended)["in_doubt"]) == (len(world.members_shown()), 0)
    assert books(ended)["owed"] > 0
    assert_the_next_sync_completes(world)
    assert world.sent == 1_500


def test_an_unusable_snapshot_ends_a_sync_with_8_and_changes_nothing(world: World) -> None:
    world.sync()
    path = world.snapshot(EVERYBODY[:100])
    taken_at = path.stat().st_mtime
    path.write_bytes(path.read_bytes() + b"\x00\xff")
    os.utime(path, (taken_at, taken_at))
    ended = sync(world)
    assert ended.status == 8
    assert "Nothing was sent; the last good snapshot stands." in ended.errors
    world.snapshot(EVERYBODY)
    assert_the_next_sync_completes(world)
    assert world.sent == 1_500
