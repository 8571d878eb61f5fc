"""The main job on either database: the same calls, the same history, the same refusals."""

import pytest

from tests.support.world import KEY, World
from windsor_sync.domain.run import RunState
from windsor_sync.errors import LeaseHeld
from windsor_sync.state.runs import recent


def test_a_sync_does_the_same_whatever_its_state_lives_in(world: World, state_url: str) -> None:
    world.document["state"] = state_url
    world.snapshot(["ana", "ben", "cy"])
    world.sync()
    world.reopen()
    world.snapshot(["ben", "cy", "dee"])
    run = world.sync()
    assert world.shown() == {"ana": False, "ben": True, "cy": True, "dee": True}
    assert (run.state, run.books.entered, run.books.exited, run.books.delivered) == (RunState.DONE, 1, 1, 2)
    assert world.sync().books.changes == 0
    assert world.sent == 5
    assert [found.number for found in recent(world.workspace.database)] == [3, 2, 1]


def test_a_sync_beside_another_one_is_told_who_is_at_work_and_sends_nothing(world: World, state_url: str) -> None:
    world.document["state"] = state_url
    world.snapshot(["ana"])
    with world.workspace.hold(world.computation().key, "an analyst"), pytest.raises(LeaseHeld, match="an analyst on "):
        world.sync()
    assert world.sent == 0
    assert world.sync().audience == KEY
