"""The pace of one task, by a clock that only moves when it is told to."""

from heapq import heappop, heappush
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.rate_fleet import Clock, busiest_second, send
from windsor_sync.delivery.rate import LONGEST_NAP_S, Rate

ONE_MS = 0.001


@pytest.fixture
def clock() -> Clock:
    return Clock()


lateness = st.lists(st.floats(ONE_MS, 15 * ONE_MS), min_size=1, max_size=50)
stalls = st.lists(st.floats(0, 1.5), min_size=1, max_size=50)


@given(per_second=st.integers(1, 700), late=st.one_of(lateness, stalls))
def test_no_second_sees_more_requests_than_the_rate_however_late_the_sender_wakes(
    per_second: int, late: list[float]
) -> None:
    clock = Clock()
    assert busiest_second(send(Rate(per_second, clock), clock, 3, late)) <= per_second


@given(per_second=st.integers(1, 700), slips=st.lists(st.floats(0, 1.5), min_size=1, max_size=50))
def test_a_sender_that_stalls_between_its_slot_and_the_write_sends_no_more_in_any_second(
    per_second: int, slips: list[float]
) -> None:
    clock, slip, sent = Clock(), cycle(slips), []
    rate = Rate(per_second, clock)
    while clock.now < 1_003:
        wait_s = rate.book()
        clock.now += wait_s or next(slip)
        if not wait_s:
            rate.left()
            sent.append(clock.now)
    assert busiest_second(sent) <= per_second


@given(per_second=st.integers(1, 700), slips=st.lists(st.floats(0, 0.2), min_size=1, max_size=50))
def test_many_that_wait_for_a_connection_at_once_leave_no_faster_than_the_rate(
    per_second: int, slips: list[float]
) -> None:
    """Each has its slot, and opens a connection of its own; they may overtake each other, or leave in one moment."""
    clock, slip = Clock(), cycle(slips)
    rate = Rate(per_second, clock)
    on_their_way: list[float] = []
    sent: list[float] = []
    end = clock.now + 3
    while clock.now < end:
        wait_s = rate.book()
        if not wait_s:
            heappush(on_their_way, clock.now + next(slip))
        until = clock.now + wait_s
        while on_their_way and on_their_way[0] <= until:
            clock.now = max(clock.now, heappop(on_their_way))
            rate.left()
            sent.append(clock.now)
        clock.now = max(clock.now, until)
    assert busiest_second(sent) <= per_second


def test_a_slot_that_nobody_used_holds_up_nobody(clock: Clock) -> None:
    rate = Rate(100, clock)
    for _ in range(1_000):
        clock.now += 0.02
        assert rate.book() == 0
        rate.stayed()
    assert len(send(rate, clock, 1)) > 97


@given(late=lateness)
def test_waking_late_costs_less_than_three_percent_of_500_a_second(late: list[float]) -> None:
    clock = Clock()
    sent = send(Rate(500, clock), clock, 10, late)
    assert 0.97 * 500 * 10 <= len(sent) <= 500 * 10


@given(paces=st.lists(st.tuples(st.integers(0, 300), st.floats(0, 2)), min_size=1, max_size=8), late=lateness)
def test_a_second_in_which_the_rate_changes_sees_no_more_than_the_higher_one(
    paces: list[tuple[int, float]], late: list[float]
) -> None:
    clock = Clock()
    rate = Rate(0, clock)
    sent = []
    for per_second, seconds in paces:
        rate.allow(per_second)
        sent += send(rate, clock, seconds, late)
    assert busiest_second(sent) <= max(per_second for per_second, _ in paces)


def test_a_rate_of_zero_sends_nothing_and_has_itself_asked_again(clock: Clock) -> None:
    rate = Rate(0, clock)
    assert send(rate, clock, 100) == []
    assert rate.book() == LONGEST_NAP_S


def test_a_raised_rate_is_noticed_within_one_nap(clock: Clock) -> None:
    rate = Rate(0.01, clock)
    assert rate.book() == LONGEST_NAP_S
    rate.allow(100)
    assert len(send(rate, clock, 1)) >= 97


def test_what_is_not_trusted_any_longer_sends_nothing(clock: Clock) -> None:
    rate = Rate(100, clock)
    rate.trust_until(clock.now + 2)
    sent = send(rate, clock, 10)
    assert 190 < len(sent) < 200
    rate.trust_until(clock.now + 2)
    assert len(send(rate, clock, 10)) > 190


def test_one_refusal_among_many_holds_up_nobody_else(clock: Clock) -> None:
    rate = Rate(500, clock)
    for _ in range(60):
        rate.refused_share()
        send(rate, clock, 0.5)
        rate.slow_down(retry_after_s=30)
        assert len(send(rate, clock, 0.5)) > 240


def test_a_windsor_that_refuses_most_requests_gets_the_pause_it_asks_for(clock: Clock) -> None:
    rate = Rate(500, clock)
    for _ in send(rate, clock, 0.1):
        rate.slow_down(retry_after_s=7)
    asked_at = clock.now
    assert send(rate, clock, 10)[0] >= asked_at + 7


def test_a_refused_first_request_pauses_all_of_them(clock: Clock) -> None:
    rate = Rate(500, clock)
    clock.now += 1
    assert rate.book() == 0
    rate.slow_down(retry_after_s=7)
    assert send(rate, clock, 6.9) == []


def test_a_pause_leaves_nothing_to_catch_up(clock: Clock) -> None:
    rate = Rate(500, clock)
    rate.rest(5)
    assert busiest_second(send(rate, clock, 7)) <= 500


def test_the_refused_share_is_counted_from_one_asking_to_the_next(clock: Clock) -> None:
    rate = Rate(100, clock)
    for moment in (0, 1, 2):
        sent = send(rate, clock, 1)
        for _ in sent[: len(sent) * moment // 4]:
            rate.slow_down(None)
        assert rate.refused_share() == pytest.approx(moment / 4, abs=0.01)
    assert rate.refused_share() == 0
