"""An address that redirects is named, however few the messages, and no user is to blame."""

import pytest

from tests.delivery.scripted import ScriptedWindsor, answer
from tests.support.world import World
from windsor_sync.domain.run import RunState


@pytest.mark.parametrize("members", [1, 3, 120])
def test_a_redirect_names_the_address_to_put_in_and_rejects_nobody(world: World, members: int) -> None:
    users = [f"user-{number}" for number in range(members)]
    world.snapshot(users)
    right = world.destination["url"]
    with ScriptedWindsor() as moved:
        moved.script = lambda body, tries: answer(308, b"", "Location: https://www.windsor.example/in/")
        world.destination["url"] = moved.url
        world.reopen()
        run = world.sync()
    assert (run.state, run.books.rejected, run.books.owed) == (RunState.UNAVAILABLE, 0, members)
    assert run.sentence is not None
    assert "is redirected (308) to https://www.windsor.example/in/: if that is Windsor's, put it into" in run.sentence
    world.destination["url"] = right
    world.reopen()
    assert world.sync().books.delivered == members
