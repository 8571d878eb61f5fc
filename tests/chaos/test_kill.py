"""`kill -9` at any moment: nothing is lost, nothing stays stale, and little is repeated."""

import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.chaos.processes import IS_CHAOS, until, windsor_sync
from tests.support.world import KEY, TRAIT_KEY, World
from windsor_sync.delivery.engine import EngineLimits
from windsor_sync.runs import Run, recent
from windsor_sync.sandbox import Faults, Sandbox
from windsor_sync.sandbox.journal import Journal
from windsor_sync.why import why

IN_FLIGHT = 16
REPEATS_PER_KILL = EngineLimits().checkpoint_rows + IN_FLIGHT

EVERYBODY = [f"user-{number:04}" for number in range(4_000)]
VALUED = EVERYBODY[:1_000]

CALM = Faults(latency_ms=(1, 4))
ROUGH = Faults(
    latency_ms=(0, 5), busy_rate=0.04, retry_after_s=0.02, error_rate=0.05, error_statuses=(500, 503), reset_rate=0.04,
    lost_answer_rate=0.06, false_error_rate=0.03,
)  # fmt: skip

SIEGES = [(seed, 1, 5) for seed in range(1, 11)] if IS_CHAOS else [(1, 1, 2)]
"""(seed, how often calm and rough weather take turns, kills in each)"""


class Company:
    """A world whose syncs are killed; it remembers what its snapshots said."""

    def __init__(self, world: World, chance: Random) -> None:
        self.world = world
        self.chance = chance
        self.members: set[str] = set()
        self.values: dict[str, Any] = {}
        self.taken: dict[float, set[str]] = {}
        """members by the moment their snapshot was taken"""

    def new_snapshots(self) -> None:
        """Segment has computed the audience and the trait again: anything from a few users to most of them moved."""
        moved = self.chance.sample(EVERYBODY, self.chance.choice([200, 2_000, 3_000]))
        self.members = self.members.symmetric_difference(moved) or {EVERYBODY[0]}
        path = self.world.snapshot(self.chance.sample(sorted(self.members), len(self.members)))
        self.taken[path.stat().st_mtime] = set(self.members)
        for user in self.chance.sample(VALUED, self.chance.choice([10, 900])):
            self.values[user] = self.chance.randrange(1_000_000)
        self.world.values(self.values)

    def kill_a_sync(self) -> bool:
        """Start a sync and kill it while it starts, reads, compares, sends or records; False if it ended before."""
        traffic = self.world.windsor.store.traffic
        requests = self.chance.choice([1, self.chance.randrange(500), *(self.chance.randrange(2_500) for _ in range(3))])
        seconds = self.chance.choice([self.chance.random() * 1.5, 9, 9, 9])
        enough, latest = traffic.requests + requests, time.monotonic() + seconds
        with windsor_sync(self.world, "sync", "--all") as run:
            until(lambda: not run.is_running or traffic.requests >= enough or time.monotonic() > latest)
            ended = run.kill()
        assert ended.status in (-signal.SIGKILL, 0, 6), ended.errors
        return ended.status == -signal.SIGKILL

    def sync(self) -> None:
        """A healthy sync, which has nothing to wait for although the one before was killed."""
        with windsor_sync(self.world, "sync", "--all") as run:
            ended = run.end()
        assert ended.status == 0, ended.errors

    def weather(self, faults: Faults, kills: int) -> None:
        """Kill so many syncs under these faults, then let one be healthy and compare.

        In calm weather every repeat is a killed run's doing; in rough weather Windsor's faults make some too.
        """
        before = self.repeats
        for number in range(kills):
            self.world.windsor.set_faults(faults)
            while not self.kill_a_sync():
                self.new_snapshots()
            assert faults is ROUGH or self.repeats - before <= (number + 1) * REPEATS_PER_KILL
            if self.chance.random() < 0.7:
                self.new_snapshots()
        self.world.windsor.set_faults(Faults())
        self.sync()
        assert faults is ROUGH or self.repeats - before <= kills * REPEATS_PER_KILL
        self.assert_windsor_shows_the_newest_snapshots()

    @property
    def repeats(self) -> int:
        """Messages that Windsor applied although it had applied them before."""
        duplicates: int = self.world.windsor.store.stats()["duplicates"]
        return duplicates

    def assert_windsor_shows_the_newest_snapshots(self) -> None:
        """Nobody is missing, and nobody who left is still in."""
        assert self.world.members_shown() == self.members
        shown = self.world.shown(TRAIT_KEY)
        assert {user: shown.get(user) for user in self.values} == self.values

    def assert_the_books_of_every_run_balance(self) -> None:
        """Of the killed ones too, which their successors closed."""
        for run in recent(self.world.workspace.database, limit=10_000):
            assert run.finished_at is not None
            run.books.check(run.run_id)

    def assert_why_ends_in_what_windsor_shows(self) -> None:
        """For somebody, whoever it is."""
        user = self.chance.choice(sorted(self.world.shown()))
        account = next(one for one in why(self.world.workspace, user) if one.audience == KEY)
        assert (account.told, account.is_in_doubt) == (self.world.shown()[user], False)

    def members_of_runs(self) -> set[str]:
        """Everybody whom a run may have told Windsor about, answered or not."""
        opened = {run.taken_at.timestamp() for run in recent(self.world.workspace.database, limit=10_000)}
        return set().union(*(members for moment, members in self.taken.items() if moment in opened))


@contextmanager
def company(folder: Path, seed: int) -> Iterator[Company]:
    """A company before its first sync; Windsor writes down whatever it accepts."""
    with Sandbox(state_file=folder / "windsor.db") as windsor:
        world = World(folder, windsor, max_in_flight=IN_FLIGHT)
        world.document["defaults"] = {"max_exited_percent": None}
        yield Company(world, Random(seed))
        world.reopen()


def values_applied(folder: Path) -> Iterator[tuple[str, bool]]:
    """(user, value) of each message about the audience that Windsor applied, in order."""
    with closing(Journal(folder / "windsor.db")) as journal:
        for message, _ in journal.messages():
            if KEY in message["traits"]:
                yield message["userId"], message["traits"][KEY]


@pytest.mark.parametrize(("seed", "turns", "kills"), SIEGES)
def test_syncs_killed_at_any_moment_lose_nothing_and_repeat_little(
    tmp_path: Path, seed: int, turns: int, kills: int
) -> None:
    with company(tmp_path, seed) as besieged:
        besieged.new_snapshots()
        for _ in range(turns):
            besieged.weather(CALM, kills)
            besieged.weather(ROUGH, kills)
        sent = besieged.world.sent
        besieged.sync()
        assert besieged.world.sent == sent
        besieged.assert_the_books_of_every_run_balance()
        besieged.assert_why_ends_in_what_windsor_shows()
        maybe_told = besieged.members_of_runs()
    assert {user for user, _ in values_applied(tmp_path)} <= maybe_told


def test_nobody_is_told_false_who_was_not_told_true_or_may_have_been(tmp_path: Path) -> None:
    kills = 20 if IS_CHAOS else 2
    with company(tmp_path, seed=99) as besieged:
        besieged.new_snapshots()
        besieged.weather(CALM, kills)
    first: dict[str, bool] = {}
    for user, value in values_applied(tmp_path):
        first.setdefault(user, value)
    assert list(first.values()).count(False) <= kills * REPEATS_PER_KILL
