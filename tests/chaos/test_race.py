"""A run that stood still past its lease: its commits are refused, and it sends nothing more when it wakes."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from signal import SIGCONT

import pytest
from sqlalchemy import select

from tests.chaos.processes import IS_CHAOS, Command, brisk_sync, until
from tests.support.world import World
from windsor_sync.domain.run import RunState
from windsor_sync.errors import LeaseHeld
from windsor_sync.sandbox import Faults
from windsor_sync.state.runs import recent
from windsor_sync.state.tables import leases

EVERYBODY = [f"user-{number:04}" for number in range(1_500)]
LEASE_S = 0.7
LATE = 1
"""No program can look at the clock and write in one step: a request that was stopped between the two leaves on waking."""

ROUNDS = 70 if IS_CHAOS else 1


class Track:
    """A world in which one process sets out to sync and is stopped on the way."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.chance = Random(seed)
        self.members: set[str] = set()

    def compute(self) -> None:
        """Segment computes again: most users enter or leave."""
        self.members = self.members.symmetric_difference(self.chance.sample(EVERYBODY, 1_000))
        self.world.snapshot(self.chance.sample(sorted(self.members), len(self.members)))

    @contextmanager
    def stopped_run(self) -> Iterator[Command]:
        """A run of another process that stands still in the middle of its delivery; its lease has run out meanwhile."""
        while True:
            self.compute()
            with brisk_sync(self.world, lease_s=LEASE_S, checkpoint_rows=50) as run:
                if self._is_stopped_half_way(run):
                    until(self._is_lease_over)
                    yield run
                    return

    def _is_stopped_half_way(self, run: Command) -> bool:
        traffic = self.world.windsor.store.traffic
        enough = traffic.requests + self.chance.randrange(1, 900)
        until(lambda: traffic.requests >= enough or not run.is_running)
        while run.stand_still() and not self._is_state_free():
            run.send(SIGCONT)  # inside a transaction SQLite lets nobody else write: neither of the two can go on
        return run.is_running

    def _is_state_free(self) -> bool:
        with closing(sqlite3.connect(self.state, timeout=0)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            return True

    def _is_lease_over(self) -> bool:
        database = self.world.workspace.database
        with database.read() as connection:
            deadline = connection.execute(select(leases.c.deadline)).scalar_one()
            return bool(deadline < database.now(connection))

    @property
    def state(self) -> Path:
        """The state database."""
        return self.world.folder / ".windsor" / "state.db"

    def recorded(self) -> list[str]:
        """Everything in the state but who holds what, which a run that gives up lets go of."""
        with closing(sqlite3.connect(self.state)) as connection:
            return [row for row in connection.iterdump() if "leases" not in row and "rate_shares" not in row]

    def wake(self, run: Command) -> list[str]:
        """Let it go on, and return the users that Windsor hears of after that."""
        sent = self.world.sent
        run.send(SIGCONT)
        ended = run.end()
        assert ended.status == LeaseHeld.exit_status
        assert "lost its lease on order_completed_last_30days at windsor" in ended.errors
        late = [message.user_id for message in self.world.windsor.store.accepted[sent:]]
        assert len(late) <= LATE
        return late

    @property
    def differing(self) -> set[str]:
        """Users whom Windsor does not show as the newest snapshot has them."""
        return self.world.members_shown() ^ self.members


@pytest.fixture
def track(make_world: Callable[..., World], request: pytest.FixtureRequest) -> Track:
    """A world in which every change goes out, and answers take their time."""
    world = make_world(max_in_flight=16)
    world.document |= {"defaults": {"max_exited_percent": None}, "computed_traits": []}
    world.windsor.set_faults(Faults(latency_ms=(0, 3)))
    return Track(world, seed=len(request.node.name))


def test_a_run_that_wakes_after_another_one_took_over_neither_sends_nor_commits(track: Track) -> None:
    for _ in range(ROUNDS):
        with track.stopped_run() as stopped:
            track.compute()
            assert track.world.sync().state is RunState.DONE
            before = track.recorded()
            late = track.wake(stopped)
            assert track.recorded() == before
            assert track.differing <= set(late)


def test_a_run_that_wakes_past_its_lease_stops_even_when_nobody_took_over(track: Track) -> None:
    for _ in range(ROUNDS):
        with track.stopped_run() as stopped:
            before = track.recorded()
            track.wake(stopped)
            assert track.recorded() == before
        assert track.world.sync().state is RunState.DONE
        assert not track.differing


def test_a_run_that_wakes_while_another_one_delivers_does_not_disturb_it(track: Track) -> None:
    for _ in range(ROUNDS):
        with track.stopped_run() as stopped:
            run = track.world.sync(on_progress=lambda *_, stopped=stopped: stopped.send(SIGCONT))
            assert run.state is RunState.DONE
            assert stopped.end().status == LeaseHeld.exit_status
        assert len(track.differing) <= LATE
        for one in recent(track.world.workspace.database, limit=2):
            one.books.check(one.run_id)
