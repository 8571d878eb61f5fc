"""A shared rate in bad times: a Windsor that answers 429, a database out of reach, tasks that fail."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from tests.delivery.rate_fleet import EVERY_S, Fleet, Windsor, claims, shared
from windsor_sync.delivery import shared_rate
from windsor_sync.delivery.shared_rate import EXPIRES_S, VALID_S, Weight
from windsor_sync.errors import StateUnavailable
from windsor_sync.state.database import Database, open_database


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    (tmp_path / "state").mkdir()
    opened = open_database(f"sqlite:///{tmp_path}/state/state.db")
    yield opened
    opened.close()


# -- a busy Windsor ------------------------------------------------------------------------------------------


def limited(per_second: int, retry_after_s: float) -> Windsor:
    """A Windsor that takes so many requests in each second of its clock."""
    taken: dict[int, int] = {}

    def answer(moment: float) -> float | None:
        second = int(moment)
        taken[second] = taken.get(second, 0) + 1
        return None if taken[second] <= per_second else retry_after_s

    return answer


@pytest.mark.parametrize("retry_after_s", [0, 1])
def test_429s_slow_everybody_down_to_little_more_than_windsor_takes(sqlite: Database, retry_after_s: float) -> None:
    fleet = Fleet(sqlite, 500, limited(200, retry_after_s))
    both = [fleet.start("events", weight=Weight.EVENTS), fleet.start("audience")]
    fleet.run(30)
    sent = sum(task.during(10, 30) for task in both)
    taken = sum(moment >= 10 for task in both for moment in task.taken)
    assert sent <= 1.15 * 200 * 20
    assert taken >= 0.9 * 200 * 20
    assert both[0].during(10, 30) / sent == pytest.approx(2 / 3, rel=0.1)


def test_a_429_of_one_task_lowers_the_others_too(sqlite: Database) -> None:
    fleet = Fleet(sqlite, 500)
    refused, other = fleet.start("refused"), fleet.start("other")
    fleet.run(5)
    before = other.share.rate.requests_per_second
    for _ in range(200):
        refused.share.rate.slow_down(None)
    fleet.run(8)
    assert other.share.rate.requests_per_second < 0.9 * before


def test_the_rate_comes_back_when_windsor_has_recovered(sqlite: Database) -> None:
    fleet = Fleet(sqlite, 500, lambda moment: 0 if moment < 5 else None)
    only = fleet.start("only")
    fleet.run(70)
    assert only.during(4, 5) <= 100
    assert only.during(60, 70) >= 0.97 * 500 * 10


def test_one_429_in_a_hundred_costs_less_than_three_percent(sqlite: Database) -> None:
    numbers = count(1)
    fleet = Fleet(sqlite, 500, lambda _: 1.0 if next(numbers) % 100 == 0 else None)
    fleet.start("only")
    fleet.run(60)
    assert 0.97 * 500 * 60 <= len(fleet.sent) <= 500 * 60


# -- out of reach --------------------------------------------------------------------------------------------


def test_a_task_cut_off_from_the_database_keeps_its_pace_for_a_while_and_then_sends_nothing(
    database: Database,
) -> None:
    fleet = Fleet(database, 500)
    alone = fleet.start("alone", cut_off_at=10)
    fleet.run(40)
    assert 10 + VALID_S - 2 * EVERY_S < max(alone.sent) < 10 + VALID_S
    assert VALID_S + 1 < EXPIRES_S  # nobody else may have had its share by then


def test_a_database_that_comes_back_gives_the_share_back(sqlite: Database, tmp_path: Path) -> None:
    fleet = Fleet(sqlite, 500)
    task = fleet.start("task", cut_off_at=1)
    fleet.run(5)
    sqlite.close()
    (tmp_path / "state").rename(tmp_path / "away")
    with pytest.raises(StateUnavailable):
        task.share.refresh()
    fleet.run(20)
    assert task.during(12, 20) == 0
    (tmp_path / "away").rename(tmp_path / "state")
    task.share.refresh()
    fleet.run(25)
    assert task.during(20, 25) >= 0.9 * 500 * 5


def test_a_destination_whose_tasks_all_died_is_sent_to_at_the_full_rate_again(sqlite: Database) -> None:
    fleet = Fleet(sqlite, 500)
    fleet.start("one", until=5, leaves=False)
    fleet.start("two", until=5, leaves=False)
    heir = fleet.start("heir", at=60)
    fleet.run(70)
    assert heir.during(60, 70) >= 0.97 * 500 * 10


# -- sharing -------------------------------------------------------------------------------------------------


def test_sharing_keeps_running_tasks_in_step_and_gives_the_share_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_rate, "REFRESH_S", 0.005)
    with ExitStack() as running:
        first = running.enter_context(shared(database, "first", weight=2))
        assert first.requests_per_second == 300
        second = running.enter_context(shared(database, "second", weight=1))
        _until(lambda: (first.requests_per_second, second.requests_per_second) == (200, 100))
        assert claims(database, "windsor") == {"first": 200, "second": 100}
    assert claims(database, "windsor") == {}
    assert first.requests_per_second == second.requests_per_second == 0


def test_a_task_that_fails_gives_its_share_back(sqlite: Database) -> None:
    with pytest.raises(ZeroDivisionError), shared(sqlite, "task", weight=1):
        raise ZeroDivisionError
    assert claims(sqlite, "windsor") == {}


def test_sharing_says_so_when_the_database_is_out_of_reach(sqlite: Database, tmp_path: Path) -> None:
    sqlite.close()
    (tmp_path / "state").rename(tmp_path / "away")
    with pytest.raises(StateUnavailable), shared(sqlite, "task", weight=1):
        pass


def test_a_database_that_is_out_of_reach_at_the_end_hides_no_outcome(sqlite: Database, tmp_path: Path) -> None:
    with shared(sqlite, "task", weight=1) as rate:
        sqlite.close()
        (tmp_path / "state").rename(tmp_path / "away")
    assert rate.book() > 0


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)
