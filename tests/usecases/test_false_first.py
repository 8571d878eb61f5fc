"""Of an audience's changes every `false` is answered or set aside before the first `true` leaves."""

import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, SupportsIndex

import duckdb
import pytest

from tests.chaos.mortal import Died, Life, Message, mortal
from tests.chaos.processes import until, windsor_sync
from tests.contracts.stage import stretches
from tests.support.windsor import StartWindsor
from tests.support.world import KEY, TRAIT_KEY, World
from windsor_sync.delivery.bounds import EngineLimits
from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.diff import duckdb as diff
from windsor_sync.domain.change import FALSE_FIRST, Limits
from windsor_sync.domain.progress import FIRST_SHARD
from windsor_sync.domain.run import Run, RunState
from windsor_sync.errors import CredentialsRefused, DestinationUnavailable, LeaseHeld, WindsorSyncError
from windsor_sync.sandbox import Faults
from windsor_sync.sandbox.store import Merge, Store
from windsor_sync.segment.trait_keys import TraitKey
from windsor_sync.state.runs import run_of
from windsor_sync.usecases import run_lifecycle
from windsor_sync.usecases.deliver_shards import close_books, deliver_shard
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.run_lifecycle import deliver_run, open_run, seal_newest

HALF = 24
STAYS = [f"stays-{number:03}" for number in range(HALF)]
LEAVES = [f"leaves-{number:03}" for number in range(HALF)]
COMES = [f"comes-{number:03}" for number in range(HALF)]
STORM = {
    "latency_ms": [0, 3],
    "busy_rate": 0.05,
    "retry_after_s": 0.002,
    "error_rate": 0.15,
    "reset_rate": 0.1,
    "lost_answer_rate": 0.1,
    "false_error_rate": 0.05,
}
HASTY = EngineLimits(
    max_in_flight=6,
    checkpoint_rows=10,
    checkpoint_s=0.02,
    first_backoff_s=0.001,
    longest_backoff_s=0.01,
    tries_in_turn=99,
)
"""Nothing is set aside for having no answer."""


class Wire(list[Message]):
    """What leaves, whichever process sends it; fails as soon as a `true` leaves before everyone who left is answered for."""

    def __init__(self, leaving: set[str]) -> None:
        super().__init__()
        self.unanswered = set(leaving)

    def append(self, message: Message) -> None:
        """A message leaves."""
        assert message.value is False or not self.unanswered, f"{message.user} was told before {self.unanswered}"
        super().append(message)

    def __setitem__(self, place: SupportsIndex, message: Message) -> None:  # type: ignore[override]
        """A message was answered with a yes."""
        super().__setitem__(place, message)
        if message.value is False:
            self.unanswered.discard(message.user)


@pytest.fixture
def changed(make_world: Callable[..., World]) -> Callable[[int], World]:
    """An audience that was told once, and of which as many have left as have come."""

    def make(shards: int = 1) -> World:
        world = make_world(max_in_flight=6)
        world.document["defaults"] |= {"max_exited_percent": None}
        world.document["audiences"][0]["delivery_shards"] = shards
        world.snapshot([*STAYS, *LEAVES])
        assert world.sync().state is RunState.DONE
        world.windsor.store.reset()
        world.snapshot([*STAYS, *COMES])
        return world

    return make


def opened(world: World, **limits: Any) -> Run:
    """A run whose changes are all owed."""
    workspace, computation, request = world.workspace, world.computation(), Request(limits=Limits(**limits))
    known = workspace.registry.register(computation)
    with workspace.hold(known.key, "diff") as lease:
        return open_run(workspace, computation, known, seal_newest(workspace, computation, request), request, lease)


def outbox(world: World, run: Run) -> list[tuple[int, str]]:
    """The rows of a run's outbox: number and change."""
    assert run.outbox is not None
    query = f"SELECT seq, change FROM read_parquet('{world.workspace.files.location(run.outbox)}') ORDER BY seq"
    return duckdb.sql(query).fetchall()


def arrived(world: World) -> list[str]:
    """Users in the order in which Windsor took what it was told."""
    return [accepted.user_id for accepted in world.windsor.store.accepted]


def is_in_order(users: list[str]) -> bool:
    """Whether nobody who left comes after somebody who entered."""
    kinds = [user in LEAVES for user in users]
    return kinds == sorted(kinds, reverse=True)


# -- the outbox ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 2, 3, 4])
def test_the_falses_have_the_lowest_numbers_and_a_shard_of_their_own(
    changed: Callable[[int], World], shards: int
) -> None:
    world = changed(shards)
    run = opened(world)
    rows = outbox(world, run)
    assert [seq for seq, _ in rows] == list(range(2 * HALF))
    assert [change in FALSE_FIRST for _, change in rows] == [True] * HALF + [False] * HALF
    head = world.workspace.ledger.of_run(run.run_id)
    assert head is not None
    bounds = [(shard.shard, shard.first, shard.last) for shard in head.shards]
    assert bounds == [
        (FIRST_SHARD, 0, HALF),
        *(
            (number + 1, HALF + HALF * number // shards, HALF + HALF * (number + 1) // shards)
            for number in range(shards)
        ),
    ]


def test_where_only_one_thing_is_told_all_shards_share_it(make_world: Callable[..., World]) -> None:
    world = make_world()
    world.document["defaults"] |= {"max_exited_percent": None}
    world.document["audiences"][0]["delivery_shards"] = 3
    for members in ([*STAYS, *LEAVES], STAYS):
        world.snapshot(members)
        run = opened(world)
        head = world.workspace.ledger.of_run(run.run_id)
        assert head is not None
        assert [shard.shard for shard in head.shards] == [1, 2, 3]
        with world.workspace.hold(TraitKey(KEY), "test") as lease:
            deliver_run(world.workspace, world.computation(), run, lease, CancelToken())
    assert world.members_shown() == set(STAYS)


@pytest.mark.parametrize("limits", [{}, {"count": 30}, {"only": "entered"}, {"is_resync": True}], ids=str)
def test_a_plan_lists_the_falses_first_and_the_run_sends_the_same(
    changed: Callable[[int], World], limits: dict[str, Any]
) -> None:
    world = changed(2)
    request = Request(limits=Limits(**limits))
    planned = world.plan(request=request)
    values = [message["traits"][KEY] for message in planned]
    assert values == sorted(values)
    assert len(values) in (HALF, 30, 2 * HALF, 3 * HALF)
    world.destination["max_in_flight"] = 1
    world.reopen()
    world.sync(request=request)
    assert [accepted.message_id for accepted in world.windsor.store.accepted] == [each["messageId"] for each in planned]


def test_who_lost_a_value_is_sent_null_before_others_are_sent_theirs(make_world: Callable[..., World]) -> None:
    world = make_world()
    world.document["defaults"] |= {"max_exited_percent": None}
    world.document["computed_traits"][0]["on_missing"] = None
    world.values(dict.fromkeys(LEAVES, 1))
    world.sync(TRAIT_KEY)
    world.values(dict.fromkeys(COMES, 2))
    world.sync(TRAIT_KEY)
    assert is_in_order(arrived(world)[HALF:])


# -- faults and deaths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_no_true_leaves_before_every_false_is_answered_whoever_dies_and_goes_on(
    changed: Callable[[int], World], seed: int
) -> None:
    chance = Random(seed)
    world = changed(1 + seed % 4)
    run = opened(world)
    world.windsor.set_faults(Faults.parse({**STORM, "seed": seed}))
    workspace = replace(world.workspace, engine_limits=HASTY)
    wire = Wire(set(LEAVES))
    deaths = 0
    for _ in range(60):
        life = Life(moments_left=chance.randint(10, 150), wire=wire)
        with suppress(Died, WindsorSyncError), world.workspace.hold(TraitKey(KEY), "a task") as lease:
            deliver_run(mortal(workspace, life, KEY), world.computation(), run, lease, CancelToken())
        deaths += life.is_over
        run = run_of(world.workspace.database, run.run_id) or run
        if run.state is RunState.DONE:
            break
    assert (run.state, world.members_shown()) == (RunState.DONE, {*STAYS, *COMES} & set(world.shown()))
    assert deaths
    assert not wire.unanswered
    assert is_in_order(list(dict.fromkeys(reversed(arrived(world))))[::-1])


def test_a_kill_and_the_sync_after_it_keep_the_order(changed: Callable[[int], World]) -> None:
    world = changed(1)
    world.windsor.set_faults(Faults(latency_ms=(5, 15)))
    with windsor_sync(world, "sync", KEY) as command:
        until(lambda: not command.is_running or world.windsor.store.traffic.requests >= HALF)
        assert command.kill().status == -signal.SIGKILL
    assert world.sync().state is RunState.DONE
    assert world.members_shown() == set(COMES)
    assert is_in_order(arrived(world))


@pytest.mark.parametrize("rule", Merge)
def test_a_merge_that_nobody_told_us_of_ends_in_the_truth(
    tmp_path: Path, start_windsor: StartWindsor, rule: Merge
) -> None:
    """The customer's own program sends the aliases; the next snapshot has the new ids."""
    world = World(tmp_path, start_windsor(store=Store(merge=rule)), max_in_flight=6)
    world.document["defaults"] |= {"max_exited_percent": None}
    world.document["audiences"][0]["delivery_shards"] = 2
    world.snapshot(LEAVES)
    world.sync()
    for old, new in zip(LEAVES, COMES, strict=True):
        world.windsor.store.apply({"type": "alias", "userId": new, "previousId": old}, 0.0)
    world.windsor.set_faults(Faults(latency_ms=(0, 8)))
    world.snapshot(COMES)
    world.sync()
    assert world.shown() == dict.fromkeys(COMES, True)
    world.reopen()


def test_falses_that_are_rejected_are_set_aside_and_the_trues_go_out(
    changed: Callable[[int], World],
) -> None:
    world = changed(1)
    world.windsor.set_faults(Faults(rejected_users=frozenset(LEAVES)))
    run = world.sync()
    assert (run.books.delivered, run.books.rejected) == (HALF, HALF)
    assert set(arrived(world)) == set(COMES)


@pytest.mark.parametrize("shards", [1, 3])
def test_an_outbox_of_an_older_version_is_delivered_whole(
    changed: Callable[[int], World], shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its falses stand anywhere, and its shards are numbered from 0."""
    world = changed(shards)
    with monkeypatch.context() as older:
        older.setattr(
            diff, "_false_first", lambda changes: diff._numbered(f"(FROM ({changes}) ORDER BY hash(identity))")
        )
        older.setattr(run_lifecycle, "cut_into_shards", lambda tally, count: stretches(tally.rows, count))
        run = opened(world)
    assert [change for _, change in outbox(world, run)] != sorted(change for _, change in outbox(world, run))
    world.windsor.set_faults(Faults.parse(STORM))
    workspace = replace(world.workspace, engine_limits=HASTY)
    for life in (Life(moments_left=40), Life()):
        with suppress(Died), world.workspace.hold(TraitKey(KEY), "test") as lease:
            run = deliver_run(mortal(workspace, life, KEY), world.computation(), run, lease, CancelToken())
    assert (run.state, run.books.delivered) == (RunState.DONE, 2 * HALF)
    assert world.members_shown() == set(COMES)


# -- tasks side by side --------------------------------------------------------------------------------------


def deliver(world: World, run: Run, shard: int) -> int:
    """One task."""
    with world.workspace.hold(TraitKey(KEY), f"task {shard}", shard) as lease:
        return deliver_shard(world.workspace, world.computation(), run, shard, lease, CancelToken()).delivered


@pytest.mark.parametrize("shards", [1, 2, 3, 4])
def test_a_task_of_trues_tells_the_falses_first_where_nobody_did(changed: Callable[[int], World], shards: int) -> None:
    world = changed(shards)
    run = opened(world)
    told = [deliver(world, run, shard) for shard in range(shards, -1, -1)]
    assert (sum(told), told[-1]) == (HALF, 0)
    assert is_in_order(arrived(world))
    assert len(arrived(world)) == 2 * HALF
    with world.workspace.hold(TraitKey(KEY), "closing") as lease:
        assert close_books(world.workspace, run, lease).state is RunState.DONE


def test_a_task_of_trues_sends_nothing_while_another_one_tells_the_falses(changed: Callable[[int], World]) -> None:
    world = changed(2)
    run = opened(world)
    with world.workspace.hold(TraitKey(KEY), "the falses", FIRST_SHARD), pytest.raises(LeaseHeld, match="the falses"):
        deliver(world, run, 1)
    assert arrived(world) == []


def test_a_task_of_trues_sends_nothing_when_the_falses_cannot_be_told(changed: Callable[[int], World]) -> None:
    world = changed(2)
    world.destination["give_up_after_s"] = 0.1
    world.reopen()
    run = opened(world)
    for faults, error in (
        (Faults(outage="reset"), DestinationUnavailable),
        (Faults(revoked_after=3), CredentialsRefused),
    ):
        world.windsor.set_faults(faults)
        with pytest.raises(error):
            deliver(world, run, 2)
    assert set(arrived(world)) < set(LEAVES)
    world.windsor.set_faults(Faults())
    assert [deliver(world, run, shard) for shard in (2, 1)] == [HALF // 2] * 2
    assert is_in_order(arrived(world))


def test_falses_that_were_set_aside_hold_up_no_task(changed: Callable[[int], World]) -> None:
    world = changed(2)
    run = opened(world)
    world.windsor.set_faults(Faults(rejected_users=frozenset(LEAVES)))
    assert [deliver(world, run, shard) for shard in (0, 1, 2)] == [0, HALF // 2, HALF // 2]
    assert sorted(arrived(world)) == COMES
