"""`kill -9` at any moment: nothing is lost, nothing stays stale, and little is repeated."""

import signal
import time
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from tests.chaos.processes import IS_CHAOS, until, windsor_sync
from tests.support.world import KEY, TRAIT_KEY, World
from windsor_sync.delivery.checkpoints import AHEAD_S
from windsor_sync.domain.run import Run
from windsor_sync.sandbox import Faults
from windsor_sync.state.runs import recent
from windsor_sync.usecases.why import why

IN_FLIGHT = 16
RATE = 2_000
AT_STAKE = int(AHEAD_S * RATE) + IN_FLIGHT
"""Messages that one kill may leave in doubt: what is sent in a quarter of a second, and what is in flight."""

EVERYBODY = [f"user-{number:04}" for number in range(2_500)]
VALUED = EVERYBODY[:500]

CALM = Faults(latency_ms=(1, 4))
ROUGH = Faults(
    latency_ms=(0, 5), busy_rate=0.04, retry_after_s=0.02, error_rate=0.05, error_statuses=(500, 503), reset_rate=0.04,
    lost_answer_rate=0.06, false_error_rate=0.03,
)  # fmt: skip

SIEGES = [(seed, 4, 6) for seed in range(1, 11)] if IS_CHAOS else [(1, 2, 2)]
"""(seed, kills in calm weather, kills in rough weather)"""


class Company:
    """A world whose syncs are killed; it remembers what its snapshots said."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.chance = Random(seed)
        self.members: set[str] = set()
        self.values: dict[str, Any] = {}
        self.taken: dict[float, set[str]] = {}
        """members by the moment their snapshot was taken"""
        self.been_in: set[str] = set()
        """whom Windsor has shown as a member"""

    # -- what happens ----------------------------------------------------------------------------------------

    def compute(self, moving: int) -> None:
        """Segment computes again: so many users enter or leave the audience, and many values change."""
        moved = self.chance.sample(EVERYBODY, moving)
        self.members = self.members.symmetric_difference(moved) or {EVERYBODY[0]}
        path = self.world.snapshot(self.chance.sample(sorted(self.members), len(self.members)))
        self.taken[path.stat().st_mtime] = set(self.members)
        for user in self.chance.sample(VALUED, self.chance.choice([10, 450])):
            self.values[user] = self.chance.randrange(1_000_000)
        self.world.values(self.values)

    def kill_a_sync(self) -> None:
        """Start a sync and kill it: as it starts, reads, compares, sends or records."""
        while not self._is_killed():
            self.compute(2_000)

    def _is_killed(self) -> bool:
        """Whether it was killed before it ended by itself."""
        traffic = self.world.windsor.store.traffic
        enough = traffic.requests + self.chance.choice([1, *(self.chance.randrange(2_000) for _ in range(5))])
        latest = time.monotonic() + self.chance.choice([1.5 * self.chance.random(), 5, 5, 5, 5])
        with windsor_sync(self.world, "sync", "--all") as run:
            until(lambda: not run.is_running or traffic.requests >= enough or time.monotonic() > latest)
            ended = run.kill()
        self.been_in |= self.world.members_shown()
        assert ended.status in (-signal.SIGKILL, 0, 6), ended.errors
        return ended.status == -signal.SIGKILL

    def sync(self) -> None:
        """One healthy sync, which has nothing to wait for although the one before was killed."""
        self.world.windsor.set_faults(Faults())
        with windsor_sync(self.world, "sync", "--all") as run:
            ended = run.end()
        assert ended.status == 0, ended.errors
        self.assert_windsor_shows_the_newest_snapshots()
        self.been_in |= self.members

    # -- what came of it -------------------------------------------------------------------------------------

    @property
    def repeats(self) -> int:
        """Messages that Windsor applied although it had applied them before."""
        duplicates: int = self.world.windsor.store.stats()["duplicates"]
        return duplicates

    @property
    def told_false_only(self) -> set[str]:
        """Who is shown as having left and was never seen in."""
        return {user for user, value in self.world.shown().items() if value is False} - self.been_in

    @property
    def runs(self) -> list[Run]:
        """All of them, dead ones too."""
        return recent(self.world.workspace.database, limit=10_000)

    def assert_windsor_shows_the_newest_snapshots(self) -> None:
        """Nobody is missing, and nobody who left is still in."""
        assert self.world.members_shown() == self.members
        shown = self.world.shown(TRAIT_KEY)
        assert {user: shown.get(user) for user in self.values} == self.values

    def assert_only_members_of_some_run_were_told_anything(self) -> None:
        """Who was told `false` had been told `true`, or was about to be when the run died."""
        opened = {run.taken_at.timestamp() for run in self.runs}
        maybe_told = set().union(*(members for moment, members in self.taken.items() if moment in opened))
        assert set(self.world.shown()) <= maybe_told

    def assert_why_ends_in_what_windsor_shows(self) -> None:
        """For somebody, whoever it is."""
        user = self.chance.choice(sorted(self.world.shown()))
        account = next(one for one in why(self.world.workspace, user) if one.audience == KEY)
        assert (account.told, account.is_in_doubt) == (self.world.shown()[user], False)


@pytest.mark.parametrize(("seed", "calm_kills", "rough_kills"), SIEGES)
def test_syncs_killed_at_any_moment_lose_nothing_and_repeat_little(
    make_world: Callable[..., World], seed: int, calm_kills: int, rough_kills: int
) -> None:
    company = Company(make_world(max_in_flight=IN_FLIGHT, requests_per_second=RATE), seed)
    company.world.document["defaults"] = {"max_exited_percent": None}
    company.compute(2_000)
    for _ in range(calm_kills):
        repeats, told_false_only = company.repeats, company.told_false_only
        company.world.windsor.set_faults(CALM)
        company.kill_a_sync()
        if company.chance.random() < 0.3:
            company.compute(2_000)
        company.sync()
        assert company.repeats - repeats <= AT_STAKE
        assert len(company.told_false_only - told_false_only) <= AT_STAKE
        company.compute(2_000)
    for _ in range(rough_kills):
        company.world.windsor.set_faults(ROUGH)
        company.kill_a_sync()
        if company.chance.random() < 0.6:
            company.compute(company.chance.choice([200, 1_500]))
    company.sync()
    sent = company.world.sent
    company.sync()
    assert company.world.sent == sent
    for run in company.runs:
        assert run.finished_at is not None  # the killed ones were closed by their successors
        run.books.check(run.run_id)
    company.assert_only_members_of_some_run_were_told_anything()
    company.assert_why_ends_in_what_windsor_shows()
