"""`kill -9` while events are forwarded: none is lost, few are repeated, and every user's order holds."""

import signal
import time
from random import Random

import pytest

from tests.chaos.processes import IS_CHAOS, Ended, until, windsor_sync
from tests.support.archive import Archive, arrived, sent
from tests.support.world import World
from windsor_sync.delivery.checkpoints import AHEAD_S
from windsor_sync.sandbox import Faults
from windsor_sync.state.runs import recent

IN_FLIGHT = 16
RATE = 2_000
AT_STAKE = int(AHEAD_S * RATE) + IN_FLIGHT
CALLS = ("track", "page", "screen", "identify", "group", "alias")

SIEGES = [(seed, 8) for seed in range(1, 7)] if IS_CHAOS else [(1, 3)]
"""(seed, kills)"""


def more_events(archive: Archive, chance: Random, events: int) -> None:
    """One more file about a hundred users, in which anyone may do anything."""
    users = [f"user-{number}" for number in range(100)]
    archive.write(
        archive.message(
            chance.choice(CALLS), chance.choice(users), groupId="acme", previousId=f"old-{chance.randrange(100)}"
        )
        for _ in range(events)
    )


def kill_a_forwarding(world: World, chance: Random) -> None:
    """Start one and kill it as it starts, reads, sends or records; it may end before, and then it ended well."""
    traffic = world.windsor.store.traffic
    enough = traffic.requests + chance.choice([1, chance.randrange(1, 3_000), chance.randrange(1, 3_000)])
    latest = time.monotonic() + chance.choice([2 * chance.random(), 5, 5])
    with windsor_sync(world, "forward") as run:
        until(lambda: not run.is_running or traffic.requests >= enough or time.monotonic() > latest)
        assert run.kill().status in (-signal.SIGKILL, 0)


def forward_all_the_rest(world: World) -> Ended:
    """A forwarding to its end, however long it takes as long as it gets on: nearly all of the siege may be left for it."""
    traffic = world.windsor.store.traffic
    with windsor_sync(world, "forward") as run:
        while run.is_running:
            so_far = traffic.requests
            until(lambda so_far=so_far: not run.is_running or traffic.requests > so_far)  # type: ignore[misc]
        return run.end()


@pytest.mark.parametrize(("seed", "kills"), SIEGES)
def test_forwardings_killed_at_any_moment_lose_nothing_and_keep_every_users_order(
    world: World, seed: int, kills: int
) -> None:
    chance = Random(seed)
    archive = Archive(world)
    world.destination |= {"max_in_flight": IN_FLIGHT, "requests_per_second": RATE}
    world.windsor.set_faults(Faults(latency_ms=(0, 3), error_rate=0.02, reset_rate=0.02))
    for _ in range(kills):
        more_events(archive, chance, 2_000)
        kill_a_forwarding(world, chance)
    more_events(archive, chance, 100)
    ended = forward_all_the_rest(world)
    assert ended.status == 0, ended.errors
    assert arrived(world) == sent(archive.written)
    assert world.windsor.store.stats()["duplicates"] <= kills * AT_STAKE
    for one in recent(world.workspace.database, limit=1_000):
        assert one.finished_at is not None
        one.books.check(one.run_id)
