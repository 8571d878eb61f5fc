"""Charts: every number has its place, whatever the numbers are."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windsor_sync.domain.labels import ago, lasting, short
from windsor_sync.domain.run import Books, Run, RunState
from windsor_sync.report.charts import HEIGHT, LEFT, WIDTH, deliveries, entered_and_exited, size_over_time

MOMENT = datetime(2026, 1, 1, 3, tzinfo=UTC)
COUNTS = st.integers(0, 10**10)


def run(number: int, **counts: int) -> Run:
    books = Books(0, 0, {}, 0, entered=0, exited=0, updated=0)
    when = MOMENT + timedelta(hours=number)
    return Run(
        f"run-{number}", "vip", "VIP", number + 2, "sync", "a test", RunState.DONE, when, when, when, None,
        replace(books, **counts), (), None, 1, {},
    )  # fmt: skip


RUNS = st.lists(
    st.fixed_dictionaries(dict.fromkeys(("members", "entered", "exited", "delivered", "rejected", "owed"), COUNTS)),
    max_size=80,
).map(lambda drawn: [run(number, **counts) for number, counts in enumerate(drawn)])


@given(RUNS)
def test_everything_is_drawn_inside_the_picture_and_bars_are_as_high_as_their_numbers(runs: list[Run]) -> None:
    for chart in (size_over_time(runs), entered_and_exited(runs), deliveries(runs)):
        for bar in chart.bars:
            assert bar.x >= LEFT
            assert bar.x + bar.width <= WIDTH
            assert bar.y >= 0
            assert bar.y + bar.height <= HEIGHT
        for dot in chart.dots:
            assert LEFT <= dot.x <= WIDTH
            assert 0 <= dot.y <= HEIGHT
        assert len({tick.text for tick in chart.ticks}) >= 2
    shown = {bar.title for bar in entered_and_exited(runs).bars}
    assert len(shown) == sum((one.books.entered > 0) + (one.books.exited > 0) for one in runs)


def test_a_bar_says_when_and_how_many() -> None:
    (bar,) = entered_and_exited([run(0, entered=1)]).bars
    assert bar.title == "2026-01-01 03:00 UTC: 1 user entered"
    assert [bar.title for bar in deliveries([run(0, delivered=2_000)]).bars] == [
        "2026-01-01 03:00 UTC: 2,000 changes delivered"
    ]


def test_an_initial_sync_does_not_dwarf_the_runs_after_it() -> None:
    runs = [run(-1, entered=1_000_000, members=1_000_000), run(0, entered=5, members=1_000_005)]
    (bar,) = entered_and_exited(runs).bars
    assert bar.title.endswith("5 users entered")
    assert entered_and_exited(runs).unit == "users a run, without the initial sync"
    assert len(entered_and_exited(runs[:1]).bars) == 1
    assert len(size_over_time(runs).dots) == 2


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (950, "950"), (12_000, "12k"), (1_500_000, "1.5M"), (2e9, "2B")]
)
def test_numbers_on_an_axis_are_short(number: float, text: str) -> None:
    assert short(number) == text


def test_times_are_said_in_their_largest_unit() -> None:
    assert ago(MOMENT, MOMENT + timedelta(hours=5, minutes=50)) == "5 hours ago"
    assert ago(MOMENT + timedelta(minutes=1), MOMENT) == "in 1 minute"
    assert [lasting(timedelta(seconds=n)) for n in (0, 59, 86_400)] == ["0 seconds", "59 seconds", "1 day"]
