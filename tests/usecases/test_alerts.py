"""One message for each change of state, whoever finds it out."""

from dataclasses import replace

import pytest

from tests.support.world import KEY, TRAIT_KEY, World
from windsor_sync.domain.run import Run, RunState
from windsor_sync.sandbox import Faults
from windsor_sync.state.alerts import News, alerting

MANY = [f"user-{number:03}" for number in range(200)]


def told(world: World, run: Run) -> list[tuple[News, str]]:
    with alerting(world.workspace.database, run) as found:
        return [(each.news, each.subject) for each in found]


def test_a_healthy_audience_is_no_news(world: World) -> None:
    world.snapshot(MANY)
    assert told(world, world.sync()) == []


def test_withheld_is_told_once_and_so_is_its_end(world: World) -> None:
    world.snapshot(MANY)
    world.sync()
    world.snapshot(MANY[:10])
    withheld = world.sync()
    assert told(world, withheld) == [(News.WITHHELD, f"{KEY} at windsor")]
    assert told(world, withheld) == []
    assert told(world, world.sync()) == []
    world.snapshot(MANY)
    assert told(world, world.sync()) == [(News.RECOVERED, f"{KEY} at windsor")]
    assert told(world, world.sync()) == []


def test_a_refused_key_is_told_once_however_many_audiences_find_it_out(world: World) -> None:
    world.snapshot(MANY)
    world.values({"ana": 1})
    world.windsor.set_faults(Faults(revoked_after=0))
    assert told(world, world.sync()) == [(News.REFUSED, "windsor")]
    assert told(world, world.sync(TRAIT_KEY)) == []
    world.windsor.set_faults(Faults())
    assert told(world, world.sync(TRAIT_KEY)) == [(News.RECOVERED, "windsor")]
    assert told(world, world.sync()) == []


def test_an_outage_in_between_is_no_end_of_what_was_told(world: World) -> None:
    world.snapshot(MANY)
    world.sync()
    world.snapshot(MANY[:10])
    withheld = world.sync()
    assert len(told(world, withheld)) == 1
    assert told(world, replace(withheld, state=RunState.UNAVAILABLE)) == []
    assert told(world, withheld) == []


def test_what_could_not_be_told_is_told_next_time(world: World) -> None:
    world.snapshot(MANY)
    world.windsor.set_faults(Faults(revoked_after=0))
    refused = world.sync()
    with pytest.raises(OSError, match="no mail today"), alerting(world.workspace.database, refused):
        raise OSError("no mail today")
    assert told(world, refused) == [(News.REFUSED, "windsor")]


def test_no_user_is_in_a_message(world: World) -> None:
    world.snapshot(MANY)
    world.sync()
    world.snapshot(MANY[:10])
    with alerting(world.workspace.database, world.sync()) as found:
        assert "190 of 200 members exited" in found[0].text
        assert "user-" not in repr(found)
