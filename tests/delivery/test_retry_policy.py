"""When a row is tried again, put off or left, and when Windsor is given up; by a clock that the test moves."""

import pytest

from windsor_sync.delivery.retry_policy import RetryDecision, RetryLimits, RetryPolicy, RetryState
from windsor_sync.delivery.verdicts import Answer, Decision, decide

BOUNDS = RetryLimits(give_up_after_s=100, first_backoff_s=1, longest_backoff_s=20, tries_in_turn=3)


class Played:
    """Patience with a clock in the test's hands."""

    def __init__(self) -> None:
        self.now = 0.0
        self.retry_policy = RetryPolicy(BOUNDS, lambda: self.now)

    def step(
        self, row: RetryState, status: int = 500, *, wait_s: float | None = None, has_room: bool = True
    ) -> RetryDecision:
        answer = Answer(status, wait_s)
        return self.retry_policy.after(answer, decide(answer), row, has_room=has_room)

    def sent(self, *, is_second_round: bool = False) -> RetryState:
        row = RetryState(is_second_round)
        self.retry_policy.sending(row)
        return row

    def others_get_through(self) -> None:
        self.now += 1
        self.retry_policy.useful_answer()


@pytest.fixture
def played() -> Played:
    return Played()


def test_while_nothing_gets_through_every_row_waits_its_turn(played: Played) -> None:
    row = played.sent()
    assert {played.step(row) for _ in range(50)} == {RetryDecision.AGAIN}


def test_when_nothing_got_through_for_too_long_windsor_is_given_up(played: Played) -> None:
    row = played.sent()
    played.now = 99.9
    assert played.step(row) is RetryDecision.AGAIN
    played.now = 100
    assert played.step(row) is RetryDecision.GIVE_UP


def test_a_row_that_fails_while_others_get_through_is_put_off(played: Played) -> None:
    row = played.sent()
    played.others_get_through()
    assert [played.step(row) for _ in range(3)] == [RetryDecision.AGAIN, RetryDecision.AGAIN, RetryDecision.LATER]


def test_a_row_is_not_put_off_when_there_is_no_room(played: Played) -> None:
    row = played.sent()
    played.others_get_through()
    assert {played.step(row, has_room=False) for _ in range(9)} == {RetryDecision.AGAIN}
    played.now = 99
    played.retry_policy.useful_answer()
    played.now = 100
    assert played.step(row, has_room=False) is RetryDecision.LEAVE


def test_in_the_second_round_a_row_is_left_after_twice_as_many_failures(played: Played) -> None:
    row = played.sent(is_second_round=True)
    assert [played.step(row) for _ in range(6)] == [RetryDecision.AGAIN] * 5 + [RetryDecision.LEAVE]


def test_a_429_is_no_failure_in_the_second_round(played: Played) -> None:
    row = played.sent(is_second_round=True)
    assert {played.step(row, 429) for _ in range(20)} == {RetryDecision.AGAIN}


@pytest.mark.parametrize(
    ("status", "step"),
    [
        (429, RetryDecision.GIVE_UP),
        (503, RetryDecision.GIVE_UP),
        (423, RetryDecision.LEAVE),
        (408, RetryDecision.LEAVE),
    ],
)
def test_a_wait_beyond_our_retry_policy_concerns_everybody_or_one_row(
    played: Played, status: int, step: RetryDecision
) -> None:
    assert played.step(played.sent(), status, wait_s=100) is step


def test_a_row_whose_long_wait_concerns_only_itself_is_put_off_at_once(played: Played) -> None:
    row = played.sent()
    played.others_get_through()
    assert played.step(row, 423, wait_s=50) is RetryDecision.LATER


def test_a_pause_is_as_long_as_asked_or_drawn_from_a_bound_that_doubles_and_ends(played: Played) -> None:
    row = played.sent()
    assert played.retry_policy.pause_s(Answer(429, 7), row) == 7
    for waits, bound in ((1, 2), (2, 4), (4, 16), (5, 20), (10_000, 20)):
        row.waits = waits
        drawn = [played.retry_policy.pause_s(Answer(500, 0), row) for _ in range(200)]
        assert 0 <= min(drawn) < bound / 4
        assert bound * 3 / 4 < max(drawn) <= bound


def test_every_decision_that_is_not_final_has_a_step(played: Played) -> None:
    for decision in Decision:
        assert decision.is_final == (decision in (Decision.DELIVERED, Decision.REJECTED, Decision.UNSUPPORTED))
