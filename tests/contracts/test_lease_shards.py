"""The whole and its shards: tasks side by side, and never beside one who holds all of it."""

import pytest

from windsor_sync.errors import LeaseHeld, LeaseLost
from windsor_sync.state.database import Database
from windsor_sync.state.leases import acquire

VIP = "vip at windsor"


def test_shards_have_a_holder_each(database: Database) -> None:
    first, second = (acquire(database, VIP, f"task {shard}", shard=shard) for shard in range(2))
    first.renew()
    second.renew()
    with pytest.raises(LeaseHeld, match="vip at windsor / shard 1: task 1, since "):
        acquire(database, VIP, "a second try", shard=1)


def test_nobody_gets_the_whole_while_a_shard_is_being_delivered(database: Database) -> None:
    acquire(database, VIP, "task 0", shard=0).release()
    shard = acquire(database, VIP, "task 1", shard=1)
    with pytest.raises(LeaseHeld, match="vip at windsor / shard 1: task 1"):
        acquire(database, VIP, "the next run")
    shard.release()
    assert acquire(database, VIP, "the next run").is_valid


def test_nobody_gets_a_shard_while_the_whole_is_held(database: Database) -> None:
    whole = acquire(database, VIP, "the next run")
    with pytest.raises(LeaseHeld, match="vip at windsor: the next run"):
        acquire(database, VIP, "task 0", shard=0)
    whole.release()
    assert acquire(database, VIP, "task 0", shard=0).is_valid


@pytest.mark.parametrize(("left", "taken"), [(0, None), (None, 0)])
def test_a_holder_that_stood_still_does_not_come_back(database: Database, left: int | None, taken: int | None) -> None:
    paused = acquire(database, VIP, "paused", ttl_s=0, shard=left)
    acquire(database, VIP, "the next", shard=taken).release()
    for attempt in (paused.renew, paused.require):
        with pytest.raises(LeaseLost):
            attempt()


def test_shards_of_an_audience_whose_key_differs_by_case_are_another_audiences(database: Database) -> None:
    acquire(database, "VIP at windsor", "task 0", shard=0)
    assert acquire(database, VIP, "a run").is_valid
    assert acquire(database, "vip at windsor 2", "a run").is_valid
