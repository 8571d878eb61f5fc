"""What goes first is answered or set aside, and recorded, before anything else leaves; and it holds nothing up for ever."""

from collections.abc import Callable

import pytest

from tests.delivery.line import Line, patient, stop_after
from tests.delivery.scripted import Reply, answer
from windsor_sync.delivery.engine import PendingRow
from windsor_sync.delivery.retry_policy import RetryDecision, RetryLimits, RetryPolicy, RetryState
from windsor_sync.delivery.verdicts import Answer, decide
from windsor_sync.errors import DestinationUnavailable, MessagesRejected
from windsor_sync.sandbox import Faults
from windsor_sync.state.ledger import Verdict

MakeLine = Callable[..., Line]
WIRES = pytest.mark.parametrize("is_hook", [False, True], ids=["segment_webhook", "windsor_hook"])

WEATHER = {
    "latency_ms": [0, 4],
    "error_rate": 0.15,
    "busy_rate": 0.05,
    "retry_after_s": 0.002,
    "reset_rate": 0.1,
    "lost_answer_rate": 0.1,
    "false_error_rate": 0.05,
}


def rows_of(delivery: Line, first: int) -> list[PendingRow]:
    """What is left of the outbox; rows below `first` go first."""
    return [row._replace(goes_first=row.seq < first) for row in delivery.rows()]


def watched(delivery: Line, first: int) -> Line:
    """The line, which fails as soon as a later row leaves while the journal lacks a verdict on one that goes first."""
    journal = delivery.journal

    def check(row: int) -> None:
        open_rows = [seq for seq in range(first) if not journal.is_told(seq) and seq not in journal.verdicts]
        assert row < first or not open_rows, f"row {row} was sent before rows {open_rows[:9]}"

    journal.before_sending = check
    return delivery


@WIRES
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("shards", [1, 4])
def test_nothing_else_leaves_before_what_goes_first_in_bad_weather(
    line: MakeLine, seed: int, shards: int, *, is_hook: bool
) -> None:
    faults = Faults.parse({**WEATHER, "seed": seed, "rejected_users": ["user-0003", "user-0250"]})
    limits = patient(tries_in_turn=2 + 3 * seed, max_in_flight=16)
    delivery = watched(line(300, shards, limits=limits, faults=faults, is_hook=is_hook), 120)
    outcome = delivery.deliver(rows_of(delivery, 120))
    assert outcome.stopped_by is None
    assert outcome.delivered + outcome.rejected + outcome.unanswered == 300
    delivery.check(outcome)


@pytest.mark.parametrize("after", [1, 40, 119])
def test_what_was_stopped_goes_on_with_what_goes_first(line: MakeLine, after: int) -> None:
    delivery = watched(line(300, 2, limits=patient(tries_in_turn=99), faults=Faults.parse(WEATHER)), 120)
    stopped = delivery.deliver(rows_of(delivery, 120), meanwhile=stop_after(after))
    assert stopped.was_interrupted
    assert stopped.delivered < 300
    delivery.windsor.set_faults(Faults())
    delivery.deliver(rows_of(delivery, 120))
    assert delivery.journal.of(delivery.journal.is_told) == list(range(300))


def test_a_stop_before_the_border_sends_nothing_beyond_it(line: MakeLine) -> None:
    delivery = line(300, limits=patient(max_in_flight=4), faults=Faults(latency_ms=(2, 2)))
    delivery.deliver(rows_of(delivery, 200), meanwhile=stop_after(20))
    assert max(delivery.sent) < 200


@WIRES
def test_a_row_that_never_gets_through_is_set_aside_and_the_others_go(
    scripted_line: MakeLine, *, is_hook: bool
) -> None:
    def fate(row: int, tries: int) -> bytes | Reply | None:
        return answer(500) if row == 7 else None

    delivery = watched(scripted_line(fate, rows=60, limits=patient(tries_in_turn=2), is_hook=is_hook), 20)
    outcome = delivery.deliver(rows_of(delivery, 20))
    assert (outcome.delivered, outcome.unanswered, outcome.stopped_by) == (59, 1, None)
    assert delivery.journal.verdicts[7].verdict is Verdict.UNANSWERED


def test_a_single_row_that_never_gets_through_is_set_aside_when_windsor_would_be_given_up(
    scripted_line: MakeLine,
) -> None:
    def fate(row: int, tries: int) -> bytes | Reply | None:
        return answer(500) if row == 0 else None

    delivery = watched(scripted_line(fate, rows=20, limits=patient(give_up_after_s=0.1)), 1)
    outcome = delivery.deliver(rows_of(delivery, 1))
    assert (outcome.delivered, outcome.unanswered, outcome.stopped_by) == (19, 1, None)


@pytest.mark.parametrize("first", [3, 60])
def test_a_windsor_that_is_down_is_given_up_whatever_goes_first(line: MakeLine, first: int) -> None:
    delivery = watched(line(100, faults=Faults(outage="unavailable")), first)
    outcome = delivery.deliver(rows_of(delivery, first))
    assert isinstance(outcome.stopped_by, DestinationUnavailable)
    assert (outcome.delivered, outcome.rejected) == (0, 0)
    delivery.check(outcome)


def test_a_windsor_that_asks_everybody_to_wait_is_not_sent_what_comes_later(line: MakeLine) -> None:
    delivery = line(20, limits=patient(give_up_after_s=0.2), faults=Faults(busy_rate=1, retry_after_s=0.02))
    outcome = delivery.deliver(rows_of(delivery, 2))
    assert isinstance(outcome.stopped_by, DestinationUnavailable)
    assert set(delivery.sent) == {0, 1}


def test_rejections_of_what_goes_first_do_not_hold_up_the_others(line: MakeLine) -> None:
    users = frozenset(f"user-{row:04}" for row in range(80))
    delivery = watched(line(100, faults=Faults(rejected_users=users)), 80)
    outcome = delivery.deliver(rows_of(delivery, 80))
    assert (outcome.delivered, outcome.rejected, outcome.stopped_by) == (20, 80, None)


@pytest.mark.parametrize(("status", "first"), [(400, 10), (404, 80), (501, 80)])
def test_a_windsor_that_rejects_everything_is_a_stop_all_the_same(
    scripted_line: MakeLine, status: int, first: int
) -> None:
    delivery = watched(scripted_line(lambda row, tries: answer(status), rows=100), first)
    outcome = delivery.deliver(rows_of(delivery, first))
    assert isinstance(outcome.stopped_by, MessagesRejected)


def test_an_older_outbox_has_such_rows_anywhere_and_is_delivered_whole(line: MakeLine) -> None:
    delivery = line(200, 2, limits=patient(), faults=Faults.parse(WEATHER))
    rows = [row._replace(goes_first=row.seq % 3 == 0 and row.shard == 0) for row in delivery.rows()]
    outcome = delivery.deliver(rows)
    assert outcome.stopped_by is None
    delivery.check(outcome)
    assert outcome.delivered + outcome.unanswered == 200


def test_a_wait_that_windsor_asks_for_is_no_sign_against_a_row_at_the_border() -> None:
    now = [0.0]
    retry_policy = RetryPolicy(RetryLimits(100, 1, 20, 3), lambda: now[0])
    row = RetryState()
    retry_policy.sending(row)

    def step(status: int, wait_s: float | None = None) -> RetryDecision:
        reply = Answer(status, wait_s)
        return retry_policy.after(reply, decide(reply), row, has_room=True, is_at_border=True)

    now[0] = 50
    assert (step(503, 100), step(500)) == (RetryDecision.GIVE_UP, RetryDecision.AGAIN)
    now[0] = 100
    assert (step(500), step(429), step(503, 10)) == (RetryDecision.LEAVE, RetryDecision.GIVE_UP, RetryDecision.LEAVE)
