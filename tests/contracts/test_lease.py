"""One writer: what a lease lets its holder do, and what it keeps everybody else from doing."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from windsor_sync.errors import (
    LeaseHeld,
    LeaseLost,
    SnapshotError,
    StateUnavailable,
    StoredFileError,
    WindsorSyncError,
)
from windsor_sync.state import leases as lease_module
from windsor_sync.state.database import Database, open_database
from windsor_sync.state.leases import TTL_S, Lease, acquire, held
from windsor_sync.state.tables import leases

VIP = "vip at windsor"
OVER = 0.0
"""A time to live that is over at once: the holder was paused past it."""


def until(condition: Callable[[], object]) -> None:
    """Wait for something that another thread is about to do."""
    give_up_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def stored(database: Database, resource: str = VIP) -> tuple[str | None, datetime]:
    """(holder, deadline) as the state has them."""
    with database.read() as connection:
        row = connection.execute(select(leases).where(leases.c.resource == resource)).one()
    return row.holder, row.deadline


def test_a_second_holder_is_told_who_holds_it_and_since_when(database: Database) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    acquire(database, VIP, "airflow on worker-1:77")
    with pytest.raises(LeaseHeld) as refused:
        acquire(database, VIP, "analyst")
    said = str(refused.value)
    assert "vip at windsor: airflow on worker-1:77, since " in said
    since = datetime.strptime(said.partition("since ")[2][:23], "%Y-%m-%d %H:%M:%S %Z").replace(tzinfo=UTC)
    assert before <= since <= datetime.now(UTC)
    assert "Nothing was done." in said
    assert refused.value.exit_status == 7


def test_leases_on_different_audiences_do_not_meet(database: Database) -> None:
    first, second = acquire(database, VIP, "a"), acquire(database, "dormant at windsor", "b")
    first.renew()
    second.renew()
    assert first.is_valid
    assert second.is_valid


def test_each_holder_gets_a_greater_token_whatever_became_of_the_one_before(database: Database) -> None:
    tokens = []
    for ttl_s in (OVER, TTL_S, OVER, TTL_S):
        taken = acquire(database, VIP, "a", ttl_s)
        tokens.append(taken.token)
        if ttl_s:
            taken.release()
    assert tokens == [1, 2, 3, 4]


def test_releasing_lets_the_next_one_in_at_once(database: Database) -> None:
    first = acquire(database, VIP, "a")
    first.release()
    assert not first.is_valid
    assert acquire(database, VIP, "b").is_valid


def test_a_lease_that_is_not_renewed_ends_by_itself(database: Database) -> None:
    acquire(database, VIP, "died", ttl_s=0.2)

    def taken() -> bool:
        try:
            return acquire(database, VIP, "next").is_valid
        except LeaseHeld:
            return False

    until(taken)
    assert stored(database)[0] == "next"


def test_a_holder_knows_by_its_own_clock_when_its_time_is_over(database: Database) -> None:
    lease = acquire(database, VIP, "paused", ttl_s=0.2)
    until(lambda: not lease.is_valid)
    with pytest.raises(LeaseLost, match=r"It stopped without sending or recording anything more"):
        lease.require()


def test_a_holder_paused_past_its_time_cannot_commit_even_when_nobody_took_over(database: Database) -> None:
    lease = acquire(database, VIP, "paused", OVER)
    with pytest.raises(LeaseLost), database.write() as connection:
        lease.fence(connection)
    with pytest.raises(LeaseLost):
        lease.renew()


def test_a_holder_paused_past_its_time_cannot_commit_nor_renew_after_someone_took_over(database: Database) -> None:
    paused = acquire(database, VIP, "paused", OVER)
    successor = acquire(database, VIP, "successor")
    for act in (paused.renew, paused.require):
        with pytest.raises(LeaseLost):
            act()
    assert not paused.is_valid
    assert stored(database)[0] == "successor"
    successor.renew()


def test_a_lease_that_was_lost_is_not_released_for_the_one_who_holds_it_now(database: Database) -> None:
    paused = acquire(database, VIP, "paused", OVER)
    successor = acquire(database, VIP, "successor")
    paused.release()
    successor.renew()
    with pytest.raises(LeaseHeld, match="successor"):
        acquire(database, VIP, "third")


def test_what_a_lost_holder_writes_beside_the_fence_is_not_committed(database: Database) -> None:
    paused = acquire(database, VIP, "paused", OVER)
    other = acquire(database, "other", "a")

    def overwrite() -> None:
        with database.write() as connection:
            connection.execute(update(leases).where(leases.c.resource == "other").values(holder="nobody"))
            paused.fence(connection)

    with pytest.raises(LeaseLost):
        overwrite()
    assert stored(database, "other")[0] == "a"
    other.renew()


def test_a_fence_in_a_transaction_that_fails_gives_no_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(lease_module, "_clock", lambda: now)
    lease = acquire(database, VIP, "a")
    deadline = stored(database)[1]
    now += TTL_S - 1

    def fail() -> None:
        with database.write() as connection:
            lease.fence(connection)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert stored(database)[1] == deadline
    now += 1
    assert not lease.is_valid


def test_a_keeper_renews_while_the_block_runs_and_releases_after_it(database: Database) -> None:
    with held(database, VIP, "a", ttl_s=2.0) as lease:
        first = stored(database)[1]
        until(lambda: stored(database)[1] > first)
        assert lease.is_valid
    holder, deadline = stored(database)
    assert holder is None
    assert deadline <= datetime.now(UTC) + timedelta(seconds=1)


def test_a_block_that_fails_releases_too_and_its_own_error_is_the_one_that_counts(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), held(database, VIP, "a"):
        raise ZeroDivisionError
    assert acquire(database, VIP, "b").is_valid


@pytest.mark.parametrize("kind", [SnapshotError, StoredFileError])
def test_what_a_block_says_of_snapshots_and_files_counts_only_while_the_lease_is_its_own(
    database: Database, kind: type[WindsorSyncError]
) -> None:
    with pytest.raises(kind, match="an older one"), held(database, VIP, "a"):
        raise kind("an older one")
    with pytest.raises(LeaseLost), held(database, VIP, "a", OVER):
        raise kind("an older one")


def test_a_keeper_that_lost_the_lease_leaves_it_to_its_new_holder(database: Database) -> None:
    with held(database, VIP, "a", ttl_s=0.4) as lease:
        with database.write() as connection:  # as if it had run out and been taken
            connection.execute(
                update(leases).values(token=lease.token + 1, holder="b", deadline=datetime(2100, 1, 1, tzinfo=UTC))
            )
        until(lambda: not lease.is_valid)
    assert stored(database)[0] == "b"


def test_a_state_out_of_reach_at_the_end_does_not_undo_what_the_block_did(state_url: str) -> None:
    database, other = open_database(state_url), open_database(state_url)

    def out_of_reach() -> None:
        raise StateUnavailable

    with held(database, VIP, "a") as lease:
        lease.release = out_of_reach  # type: ignore[method-assign]
    assert stored(other)[0] == "a"  # unreleased, it ends by itself
    database.close()
    other.close()


def test_of_all_who_reach_for_a_lease_nobody_ever_held_one_gets_it(database: Database) -> None:
    for number in range(8):
        outcomes: list[str] = []
        barrier = threading.Barrier(4)

        def reach(number: int = number, outcomes: list[str] = outcomes, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            try:
                outcomes.append(f"token {acquire(database, f'audience {number}', 'somebody').token}")
            except LeaseHeld:
                outcomes.append("held")

        threads = [threading.Thread(target=reach) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["held", "held", "held", "token 1"]


# -- a model -------------------------------------------------------------------------------------------------


class Clock:
    """One clock for the state and every holder, moved by hand."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0

    def seconds(self) -> float:
        """As the holders read it."""
        return 1_000.0 + self.elapsed_s

    def now(self, *_: object) -> datetime:
        """As the database reads it."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.elapsed_s)


@contextmanager
def moved_by_hand() -> Iterator[Clock]:
    """Replace the clocks."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease_module, "_clock", clock.seconds)
        patch.setattr(Database, "now", clock.now)
        yield clock


CONTESTS = count(1)


class Contest:
    """Contenders for one lease, beside a model that knows whose it is."""

    def __init__(self, database: Database, resource: str, clock: Clock) -> None:
        self.database = database
        self.resource = resource
        self.clock = clock
        self.leases: dict[str, Lease] = {}
        self.owner: int | None = None
        self.token = 0
        self.deadline_s = 0.0

    def take(self, who: str) -> None:
        """Reach for the lease."""
        if self.owner is not None and self.deadline_s > self.clock.elapsed_s:
            with pytest.raises(LeaseHeld):
                acquire(self.database, self.resource, who, ttl_s=10)
            return
        self.leases[who] = acquire(self.database, self.resource, who, ttl_s=10)
        self.token += 1
        self.owner, self.deadline_s = self.token, self.clock.elapsed_s + 10
        assert self.leases[who].token == self.token

    def renew(self, who: str) -> None:
        """Commit something under the lease."""
        lease = self.leases.get(who)
        if lease is None:
            return
        if lease.token == self.owner and self.deadline_s > self.clock.elapsed_s:
            lease.renew()
            self.deadline_s = self.clock.elapsed_s + 10
        else:
            with pytest.raises(LeaseLost):
                lease.renew()

    def release(self, who: str) -> None:
        """Let go."""
        lease = self.leases.get(who)
        if lease is not None:
            lease.release()
            if lease.token == self.owner:
                self.owner = None

    def wait(self, who: str) -> None:
        """Let less than a lease's time go by."""
        self.clock.elapsed_s += 6


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.sampled_from(["take", "renew", "release", "wait"]), st.sampled_from("ab")), max_size=20)
)
def test_whoever_may_send_or_commit_is_the_only_one_who_may(database: Database, steps: list[tuple[str, str]]) -> None:
    with moved_by_hand() as clock:
        contest = Contest(database, f"contest {next(CONTESTS)}", clock)
        for verb, who in steps:
            getattr(contest, verb)(who)
            may_send = {lease.token for lease in contest.leases.values() if lease.is_valid}
            assert may_send <= {contest.owner}
            assert not may_send or contest.deadline_s > clock.elapsed_s
