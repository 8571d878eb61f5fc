"""One destination's rate among several tasks: real databases, and a clock that only moves when it is told to."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.delivery.rate_fleet import EVERY_S, Fleet, busiest_second, claims, shared
from windsor_sync.delivery.shared_rate import EXPIRES_S, Share, Weight, divided
from windsor_sync.state.database import Database, open_database

few = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    (tmp_path / "state").mkdir()
    opened = open_database(f"sqlite:///{tmp_path}/state/state.db")
    yield opened
    opened.close()


# -- dividing ------------------------------------------------------------------------------------------------


@given(
    total=st.integers(1, 10_000),
    weights=st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(1, 5), min_size=1, max_size=12),
)
def test_the_whole_rate_is_divided_by_weight_and_nobody_gets_nothing(total: int, weights: dict[str, int]) -> None:
    parts = divided(total, weights)
    assert sum(parts.values()) == pytest.approx(total)
    for task, part in parts.items():
        assert part > 0
        assert abs(part - total * weights[task] / sum(weights.values())) < 1
    assert all(part.is_integer() for part in parts.values()) or min(parts.values()) < 2


# -- together ------------------------------------------------------------------------------------------------


def test_two_tasks_send_the_configured_rate_together_by_their_weights(database: Database) -> None:
    fleet = Fleet(database, 500)
    events = fleet.start("events", weight=Weight.EVENTS)
    audience = fleet.start("audience", weight=Weight.AUDIENCES)
    fleet.run(30)
    both = [events.during(5, 30), audience.during(5, 30)]
    assert 0.97 * 500 * 25 <= sum(both) <= 500 * 25
    assert both[0] / sum(both) == pytest.approx(2 / 3, rel=0.1)
    assert busiest_second(fleet.sent) <= 500


def test_a_task_that_is_alone_sends_at_the_full_rate_at_once(sqlite: Database) -> None:
    fleet = Fleet(sqlite, 500)
    only = fleet.start("only")
    fleet.run(10)
    assert 0.97 * 500 * 10 <= len(only.sent) <= 500 * 10


def test_tasks_one_after_the_other_do_not_wait_for_each_other(sqlite: Database) -> None:
    fleet = Fleet(sqlite, 500)
    for number in range(10):
        fleet.start(f"audience {number}", at=number, until=number + 0.99)
    fleet.run(10)
    assert len(fleet.sent) >= 0.95 * 500 * 10
    assert busiest_second(fleet.sent) <= 500


def test_a_newcomer_sends_nothing_until_the_others_have_given_its_share_up(sqlite: Database) -> None:
    fleet = Fleet(sqlite, 500)
    first = fleet.start("first")
    second = fleet.start("second", at=10.5)
    fleet.run(20)
    assert min(second.sent) <= 14
    assert first.during(min(second.sent), 20) <= 250 * (20 - min(second.sent)) + 1
    assert first.during(14, 20) + second.during(14, 20) >= 0.97 * 500 * 6


def test_a_task_that_left_gives_its_share_to_the_others(sqlite: Database) -> None:
    fleet = Fleet(sqlite, 500)
    stays = fleet.start("stays")
    fleet.start("leaves", until=10)
    fleet.run(20)
    assert stays.during(13, 20) >= 0.97 * 500 * 7


def test_a_dead_task_loses_its_share(database: Database) -> None:
    fleet = Fleet(database, 500)
    lives = fleet.start("lives")
    fleet.start("dies", until=10, leaves=False)
    fleet.run(30)
    assert lives.during(10, 18) <= 250 * 8
    assert lives.during(10 + EXPIRES_S + 3, 30) >= 0.97 * 500 * 7
    assert set(claims(fleet.database, fleet.destination)) == {"lives"}


def test_a_task_started_again_under_its_name_takes_its_dead_self_over_at_once(database: Database) -> None:
    fleet = Fleet(database, 500)
    fleet.start("other")
    fleet.start("killed", until=10, leaves=False)
    again = fleet.start("killed", at=10.5)
    fleet.run(20)
    assert again.during(10.5, 12) >= 0.9 * 250 * 1.5
    assert busiest_second(fleet.sent) <= 500


def test_destinations_do_not_share(sqlite: Database) -> None:
    here, there = Fleet(sqlite, 100), Fleet(sqlite, 100)
    for fleet in (here, there):
        fleet.start("same name")
        fleet.run(5)
    assert len(here.sent) == len(there.sent) >= 97 * 5


def test_a_share_is_used_a_second_after_it_was_claimed(database: Database) -> None:
    fleet = Fleet(database, 500)
    first, second = fleet.share("first"), fleet.share("second")
    first.refresh()
    second.refresh()
    paces = []
    for _ in range(3):
        fleet.clock.now += EVERY_S
        first.refresh()
        second.refresh()
        paces.append((first.rate.requests_per_second, second.rate.requests_per_second))
    assert paces == [(250, 0), (250, 250), (250, 250)]
    assert claims(database, fleet.destination) == {"first": 250, "second": 250}


def test_a_share_that_somebody_has_just_left_is_not_used_by_a_newcomer_within_the_same_second(
    sqlite: Database,
) -> None:
    fleet = Fleet(sqlite, 500)
    fleet.start("stays")
    fleet.start("leaves", until=10)
    fleet.run(10.1)
    newcomer = fleet.share("newcomer")
    newcomer.refresh()
    assert claims(sqlite, fleet.destination)["newcomer"] == 250
    assert newcomer.rate.requests_per_second == 0
    fleet.clock.now += EVERY_S
    newcomer.refresh()
    assert newcomer.rate.requests_per_second == 250


@few
@given(until=st.floats(3, 4), heir_after_s=st.floats(0, 0.3))
def test_four_tasks_that_end_together_and_an_heir_do_not_send_too_much(
    sqlite: Database, until: float, heir_after_s: float
) -> None:
    fleet = Fleet(sqlite, 20)
    for number in range(4):
        fleet.start(f"task {number}", until=until)
    fleet.start("heir", at=until + 0.001 + heir_after_s)
    fleet.run(6)
    assert busiest_second(fleet.sent) <= 20


lives = st.fixed_dictionaries(
    {
        "at": st.floats(0, 15),
        "length": st.floats(0.05, 20),
        "weight": st.integers(1, 3),
        "leaves": st.booleans(),
        "cut_off": st.none() | st.floats(0, 10),
    }
)


@few
@given(fates=st.lists(lives, min_size=2, max_size=5), per_second=st.integers(15, 60))
def test_no_second_sees_more_than_the_rate_while_tasks_come_leave_die_and_lose_the_database(
    sqlite: Database, fates: list[dict[str, float]], per_second: int
) -> None:
    fleet = Fleet(sqlite, per_second)
    for number, fate in enumerate(fates):
        at, until = fate["at"], fate["at"] + fate["length"]
        cut_off_at = None if fate["cut_off"] is None else at + fate["cut_off"]
        fleet.start(
            f"task {number}", at, until, int(fate["weight"]), leaves=bool(fate["leaves"]), cut_off_at=cut_off_at
        )
    fleet.run(36)
    assert busiest_second(fleet.sent) <= per_second


@pytest.mark.parametrize("is_known", [False, True])
def test_tasks_that_register_at_the_same_moment_do_not_claim_more_than_there_is(
    database: Database, is_known: bool
) -> None:
    if is_known:
        with shared(database, "yesterday", weight=1):
            pass
    shares = [
        Share(database, destination="windsor", task=f"task {number}", requests_per_second=500) for number in range(6)
    ]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(Share.refresh, shares))
    assert 0 < sum(share.rate.requests_per_second for share in shares) <= 500
    assert sum(claims(database, "windsor").values()) <= 500
