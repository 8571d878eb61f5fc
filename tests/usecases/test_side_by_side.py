"""Several tasks deliver one outbox: each its shard, nobody beside them, and the books are closed once."""

import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.support.world import KEY, World
from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.domain.run import Run, RunState
from windsor_sync.errors import CredentialsRefused, DestinationUnavailable, LeaseHeld, LeaseLost
from windsor_sync.sandbox import Faults
from windsor_sync.segment.trait_keys import TraitKey
from windsor_sync.state.leases import Lease, acquire
from windsor_sync.state.runs import run_of
from windsor_sync.usecases.deliver_shards import close_books, deliver_shard
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.run_lifecycle import deliver_run, open_run, seal_newest
from windsor_sync.usecases.workspace import open_workspace

SHARDS = [1, 2, 3, 4]
"""Nobody is told `false`, so there is no FIRST_SHARD."""
USERS = [f"user-{number:03}" for number in range(400)]


@pytest.fixture
def shared(make_world: Callable[..., World]) -> World:
    """An audience of 400 whose delivery four tasks share."""
    world = make_world(give_up_after_s=0.2)
    world.document["audiences"][0]["delivery_shards"] = len(SHARDS)
    world.snapshot(USERS)
    return world


def opened(world: World) -> Run:
    """What the diff task leaves to the tasks after it."""
    workspace, computation, request = world.workspace, world.computation(), Request()
    known = workspace.registry.register(computation)
    snapshot = seal_newest(workspace, computation, request)
    with workspace.hold(known.key, "diff") as lease:
        return open_run(workspace, computation, known, snapshot, request, lease)


def deliver(world: World, run: Run, shard: int) -> int:
    """One task, as in a process of its own."""
    with (
        open_workspace(world.workspace.settings, lambda: world.windsor.api_key) as workspace,
        workspace.hold(TraitKey(KEY), f"task {shard}", shard) as lease,
    ):
        return deliver_shard(workspace, world.computation(), run, shard, lease, CancelToken()).delivered


def close(world: World, run: Run) -> Run:
    """The task after them."""
    with world.workspace.hold(TraitKey(KEY), "closing") as lease:
        return close_books(world.workspace, run, lease)


def test_tasks_side_by_side_deliver_what_one_would_have_and_each_user_once(shared: World) -> None:
    run = opened(shared)
    delivered: dict[int, int] = {}

    def task(shard: int) -> None:
        delivered[shard] = deliver(shared, run, shard)

    tasks = [threading.Thread(target=task, args=(shard,)) for shard in SHARDS]
    for one in tasks:
        one.start()
    for one in tasks:
        one.join()
    assert delivered == dict.fromkeys(SHARDS, 100)
    assert run_of(shared.workspace.database, run.run_id).finished_at is None  # type: ignore[union-attr]
    closed = close(shared, run)
    assert (closed.state, closed.books.delivered) == (RunState.DONE, 400)
    assert (shared.members_shown(), shared.sent) == (set(USERS), 400)
    assert shared.sync().books.changes == 0


def test_a_shard_that_died_is_named_in_the_books_and_its_next_try_goes_on_where_it_stopped(shared: World) -> None:
    run = opened(shared)
    for shard in (1, 2, 4):
        deliver(shared, run, shard)
    closed = close(shared, run)
    assert (closed.state, closed.books.delivered, closed.books.owed) == (RunState.INTERRUPTED, 300, 100)
    assert "A task of its delivery did not come to its end." in str(closed.sentence)
    deliver(shared, run, 3)
    assert (close(shared, run).state, shared.sent) == (RunState.DONE, 400)


def test_the_worst_that_happened_to_a_shard_is_what_the_run_says(shared: World) -> None:
    run = opened(shared)
    deliver(shared, run, 1)
    shared.windsor.set_faults(Faults(outage="unavailable"))
    with pytest.raises(DestinationUnavailable):
        deliver(shared, run, 2)
    shared.windsor.set_faults(Faults(revoked_after=0))
    with pytest.raises(CredentialsRefused):
        deliver(shared, run, 3)
    shared.windsor.set_faults(Faults())
    deliver(shared, run, 4)
    closed = close(shared, run)
    assert (closed.state, closed.books.delivered, closed.books.owed) == (RunState.REFUSED, 200, 200)
    for shard in (2, 3):
        deliver(shared, run, shard)
    assert (close(shared, run).state, shared.members_shown()) == (RunState.DONE, set(USERS))


def test_nobody_opens_a_run_or_closes_the_books_while_a_shard_is_being_delivered(shared: World) -> None:
    run = opened(shared)
    with shared.workspace.hold(TraitKey(KEY), "task 1", shard=1):
        for attempt in (lambda: shared.sync(), lambda: close(shared, run)):
            with pytest.raises(LeaseHeld, match="shard 1: task 1"):
                attempt()


def test_a_shard_of_a_run_that_a_newer_one_replaced_sends_nothing_and_changes_no_books(shared: World) -> None:
    run = opened(shared)
    shared.snapshot(USERS[:390])
    newer = shared.sync()
    sent, books = shared.sent, run_of(shared.workspace.database, run.run_id)
    assert deliver(shared, run, 1) == 0
    assert close(shared, run) == books
    assert (shared.sent, newer.state) == (sent, RunState.DONE)


def test_a_run_that_was_replaced_while_it_stood_still_says_that_it_lost_its_lease(shared: World) -> None:
    run = opened(shared)
    shared.snapshot(USERS[:390])
    lease = acquire(shared.workspace.database, f"{KEY} at windsor", "paused", ttl_s=0.0)
    shared.sync()
    with pytest.raises(LeaseLost):
        deliver_run(shared.workspace, shared.computation(), run, lease, shared.stop)


def test_two_tries_of_the_same_shard_never_meet(shared: World) -> None:
    run = opened(shared)
    with ExitStack() as stack:
        lease: Lease = stack.enter_context(shared.workspace.hold(TraitKey(KEY), "the first try", shard=1))
        with pytest.raises(LeaseHeld, match="the first try"):
            deliver(shared, run, 1)
        assert lease.is_valid
