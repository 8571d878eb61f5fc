"""What a kill leaves in doubt at any moment of a delivery, and who waits for whom meanwhile."""

import asyncio
from collections.abc import Callable

import pytest

from tests.delivery.line import Line, message_of, patient
from tests.delivery.scripted import Reply, answer
from windsor_sync.delivery.checkpoints import AHEAD_S, Pace
from windsor_sync.delivery.engine import PendingRow
from windsor_sync.delivery.rate import Rate
from windsor_sync.sandbox import Faults

MakeLine = Callable[..., Line]
IN_FLIGHT = 8


def watch_doubt(delivery: Line) -> list[int]:
    """How many rows are in doubt as each request leaves."""
    doubts: list[int] = []
    journal = delivery.journal
    journal.permit = lambda: doubts.append(len(journal.of(journal.is_in_doubt)))
    return doubts


def event(seq: int, user: str) -> PendingRow:
    """One event of a user, whose events keep their order."""
    return PendingRow(0, seq, (message_of(seq, userId=user),), (user,), "identify", (f"u{user}",))


def test_before_the_first_answer_no_more_is_in_doubt_than_what_is_in_flight(scripted_line: MakeLine) -> None:
    came: list[int] = []
    all_came = asyncio.Event()

    def fate(row: int, tries: int) -> Reply:
        came.append(row)
        if len(came) == IN_FLIGHT:
            all_came.set()
        return Reply(answer(200), held_until=all_came)

    delivery = scripted_line(fate, 300, limits=patient(max_in_flight=IN_FLIGHT, checkpoint_rows=10_000))
    doubts = watch_doubt(delivery)
    assert delivery.deliver().delivered == 300
    assert max(doubts[:IN_FLIGHT]) <= IN_FLIGHT


def test_no_more_is_in_doubt_than_a_quarter_of_a_second_and_what_is_in_flight(line: MakeLine) -> None:
    limits = patient(max_in_flight=IN_FLIGHT, checkpoint_rows=10_000, checkpoint_s=9_999)
    delivery = line(600, limits=limits, faults=Faults(latency_ms=(1, 3)))
    delivery.rate = Rate(400)
    doubts = watch_doubt(delivery)
    assert delivery.deliver().delivered == 600
    assert max(doubts) <= IN_FLIGHT + AHEAD_S * 400
    assert delivery.journal.checkpoints <= 100, "a checkpoint is for many rows"


def test_a_pace_is_what_was_answered_in_a_quarter_of_a_second_and_fades_only_while_something_is_asked() -> None:
    now = 0.0
    pace = Pace(lambda: now)
    pace.begins()
    for _ in range(4_000):
        now += 0.001
        pace.answered()
        pace.rows()
    assert pace.rows() == pytest.approx(AHEAD_S * 1_000, rel=0.01)
    pace.ends()
    now += 100
    pace.begins()
    assert pace.rows() == pytest.approx(AHEAD_S * 1_000, rel=0.01)
    now += 100
    assert pace.rows() == 0


# -- one user with many events -----------------------------------------------------------------------------------


def test_one_user_with_many_events_holds_up_nobody_else(line: MakeLine) -> None:
    limits = patient(max_in_flight=IN_FLIGHT, checkpoint_rows=10)
    delivery = line(500, limits=limits, faults=Faults(latency_ms=(2, 3)))
    doubts = watch_doubt(delivery)
    outcome = delivery.deliver([event(seq, "busy" if seq < 300 else f"user-{seq}") for seq in range(500)])
    delivery.check(outcome)
    order = list(delivery.sent)
    assert outcome.delivered == 500
    assert max(order.index(seq) for seq in range(300, 500)) < order.index(200), "others wait for the busy user"
    assert [seq for seq in order if seq < 300] == list(range(300))
    # A checkpoint that takes long on a busy machine covers a few rows more; all that wait would be far more.
    assert max(doubts) <= 4 * (IN_FLIGHT + limits.checkpoint_rows) < 200, "rows that wait are no doubt"


@pytest.mark.parametrize("bound", [{"rows_waiting": 20}, {"bytes_waiting": 20 * len(message_of(0, userId="busy"))}])
def test_only_so_many_rows_wait_in_memory(line: MakeLine, bound: dict[str, int]) -> None:
    delivery = line(300, limits=patient(max_in_flight=IN_FLIGHT, **bound), faults=Faults(latency_ms=(1, 1)))
    outcome = delivery.deliver([event(seq, "busy" if seq % 2 else f"user-{seq}") for seq in range(300)])
    order = delivery.sent
    assert outcome.delivered == 300
    for place, seq in enumerate(order):
        waiting = [row for row in range(1, seq, 2) if row not in order[: place + 1]]
        assert len(waiting) <= 22


def test_a_row_that_gets_no_answer_holds_up_no_other(scripted_line: MakeLine) -> None:
    """However many come after it: it is in doubt, and what is answered meanwhile is not."""
    all_others = asyncio.Event()
    came: set[int] = set()

    def fate(row: int, tries: int) -> Reply:
        came.add(row)
        if len(came) == 400:
            all_others.set()
        return Reply(answer(200), held_until=all_others if row == 0 else None)

    delivery = scripted_line(fate, 400, limits=patient(max_in_flight=IN_FLIGHT, checkpoint_rows=10))
    doubts = watch_doubt(delivery)
    assert delivery.deliver().delivered == 400
    assert max(doubts) <= IN_FLIGHT + 10


# -- a connection that is a step behind --------------------------------------------------------------------------


def test_an_answer_too_many_puts_all_that_its_connection_answered_in_doubt(scripted_line: MakeLine) -> None:
    """From row 4 on each row got the answer of the one before: row 5 was refused, and its yes was row 4's."""

    def fate(row: int, tries: int) -> bytes | Reply | None:
        if row == 4:
            return Reply(answer(200), afterwards=answer(200))
        return answer(400) if row == 5 else None

    delivery = scripted_line(fate, 20, limits=patient(max_in_flight=1))
    delivery.rate = Rate(40)
    outcome = delivery.deliver()
    delivery.check(outcome)
    doubted = delivery.journal.of(delivery.journal.is_in_doubt)
    assert set(range(5)) <= set(doubted) <= set(range(7))
    assert {seq for seq in range(20) if delivery.journal.is_told(seq)} >= set(range(7, 20))
    assert outcome.unanswered == len(doubted)


def test_a_connection_answers_only_so_many_requests(scripted_line: MakeLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windsor_sync.http.pool.MAX_ANSWERS", 10)
    delivery = scripted_line(lambda row, tries: None, 30, limits=patient(max_in_flight=1))
    assert delivery.deliver().delivered == 30
    assert delivery.windsor.connections == 3
