"""The engine against a real Windsor: delivered means applied, owed means remembered, and a stop is a stop."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.delivery.line import HASTY, STORM, Line, email_of, patient, pending_row, row_of, user_of
from tests.delivery.scripted import Reply, answer
from tests.support.ports import nobody_at
from windsor_sync.domain.progress import ShardProgress
from windsor_sync.errors import (
    CredentialsRefused,
    DestinationUnavailable,
    MessagesRejected,
)
from windsor_sync.sandbox import Faults
from windsor_sync.state.ledger import Verdict

MakeLine = Callable[..., Line]


@pytest.mark.parametrize("shards", [1, 3, 40])
def test_a_healthy_run_sends_every_row_exactly_once_whatever_order_answers_come_in(line: MakeLine, shards: int) -> None:
    delivery = line(120, shards, faults=Faults(latency_ms=(0, 15)))
    outcome = delivery.deliver()
    assert (outcome.delivered, outcome.requests, outcome.stopped_by) == (120, 120, None)
    assert delivery.applied == dict.fromkeys(range(120), 1)
    assert delivery.journal.of(delivery.journal.is_in_doubt) == []
    delivery.check(outcome)


def test_nothing_to_deliver_is_done_at_once(line: MakeLine) -> None:
    delivery = line(0)
    assert delivery.deliver().requests == 0


def test_rows_that_are_left_out_are_passed_over(line: MakeLine) -> None:
    delivery = line(100)
    delivery.journal.absent = frozenset(seq for seq in range(100) if seq % 3)
    outcome = delivery.deliver()
    assert (outcome.delivered, sorted(delivery.applied)) == (34, list(range(0, 100, 3)))


def test_a_row_without_messages_is_recorded_as_suppressed_and_nothing_is_sent(line: MakeLine) -> None:
    delivery = line(3)
    outcome = delivery.deliver([pending_row(0), pending_row(1)._replace(messages=()), pending_row(2)])
    assert (outcome.delivered, sorted(delivery.applied)) == (2, [0, 2])
    assert delivery.journal.verdicts[1].verdict is Verdict.SUPPRESSED


# -- what is tried again -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "faults",
    [
        {"error_rate": 0.4, "error_statuses": [500, 502, 503, 504]},
        {"reset_rate": 0.3},
        {"garbage_rate": 0.3},
        {"html_rate": 0.3},
        {"lost_answer_rate": 0.3},
        {"false_error_rate": 0.3},
        {"busy_rate": 0.3, "retry_after_s": 0.01},
        {"busy_rate": 0.3, "retry_after_s": None},
        {"busy_rate": 0.05, "retry_after_s": 0.4, "retry_after_as_date": True},
        {"error_rate": 0.3, "error_statuses": [408, 423]},
        {"outage": "reset", "outage_requests": 30},
        {"outage": "unavailable", "outage_requests": 30},
        {**STORM, "busy_rate": 0.1, "retry_after_s": 0.001, "latency_ms": [0, 5]},
    ],
    ids=str,
)
def test_what_passes_is_tried_until_it_is_over(line: MakeLine, faults: dict[str, object]) -> None:
    delivery = line(80, limits=patient(tries_in_turn=10, longest_backoff_s=1), faults=Faults.parse(faults))
    outcome = delivery.deliver()
    delivery.check(outcome)
    assert (outcome.delivered, outcome.stopped_by, sorted(delivery.applied)) == (80, None, list(range(80)))


def test_a_row_that_never_gets_through_holds_nobody_up_and_stays_owed(scripted_line: MakeLine) -> None:
    """Far more rows than one checkpoint lets go, so the poison row must not hold the position."""
    delivery = scripted_line(lambda row, tries: answer(500) if row == 3 else None, 300, limits=patient())
    outcome = delivery.deliver()
    delivery.check(outcome)
    assert (outcome.delivered, outcome.unanswered, outcome.stopped_by) == (299, 1, None)
    verdict = delivery.journal.verdicts[3]
    assert (verdict.verdict, verdict.in_doubt, verdict.code) == (Verdict.UNANSWERED, True, 500)
    assert delivery.sent[-1] == 3  # tried again once all others were done


def test_more_poison_than_requests_in_flight_does_not_stop_the_others(scripted_line: MakeLine) -> None:
    delivery = scripted_line(lambda row, tries: answer(503) if row % 10 == 0 else None, 300, limits=patient())
    outcome = delivery.deliver()
    delivery.check(outcome)
    assert (outcome.delivered, outcome.unanswered, outcome.stopped_by) == (270, 30, None)


def test_no_more_rows_are_put_off_than_may_be_kept_in_memory(scripted_line: MakeLine) -> None:
    delivery = scripted_line(
        lambda row, tries: answer(500) if row % 10 == 0 and tries < 7 else None, 60, limits=patient(rows_put_off=2)
    )
    outcome = delivery.deliver()
    delivery.check(outcome)
    assert (outcome.delivered, outcome.unanswered) == (60, 0)
    assert [verdict.verdict for verdict in delivery.journal.verdicts.values()] == [Verdict.DELIVERED] * 2


def test_a_row_that_was_put_off_is_delivered_when_its_trouble_has_passed(scripted_line: MakeLine) -> None:
    delivery = scripted_line(
        lambda row, tries: Reply(closes=True) if row == 3 and tries < 7 else None, 200, limits=patient()
    )
    outcome = delivery.deliver()
    delivery.check(outcome)
    assert (outcome.delivered, outcome.unanswered) == (200, 0)
    assert delivery.journal.verdicts[3].verdict is Verdict.DELIVERED


def test_a_locked_user_is_left_owed_when_the_wait_is_long_and_nobody_else_waits(scripted_line: MakeLine) -> None:
    locked = answer(423, b"{}", "Retry-After: 100")
    delivery = scripted_line(lambda row, tries: locked if row == 3 else None, 200, limits=patient(HASTY))
    outcome = delivery.deliver()
    delivery.check(outcome)
    assert (outcome.delivered, outcome.unanswered, outcome.stopped_by) == (199, 1, None)


def test_a_429_lowers_the_rate_and_is_no_fault_of_the_row(scripted_line: MakeLine) -> None:
    delivery = scripted_line(lambda row, tries: answer(429) if tries < 3 else None, 20, limits=patient())
    outcome = delivery.deliver()
    delivery.check(outcome)
    assert (outcome.delivered, outcome.requests, outcome.stopped_by) == (20, 80, None)
    assert delivery.rate.refused_share() == 60 / 80


# -- what is not -----------------------------------------------------------------------------------------------


def test_an_outage_stops_the_run_as_unavailable_with_everything_owed(line: MakeLine) -> None:
    delivery = line(300, faults=Faults.parse({"outage": "unavailable"}))
    outcome = delivery.deliver()
    delivery.check(outcome)
    assert isinstance(outcome.stopped_by, DestinationUnavailable)
    assert "status 503" in str(outcome.stopped_by)
    assert (outcome.delivered, delivery.applied, delivery.journal.of(delivery.journal.is_told)) == (0, {}, [])
    assert len(set(delivery.sent)) == delivery.limits.max_in_flight


def test_a_windsor_that_is_not_there_leaves_nothing_in_doubt(line: MakeLine) -> None:
    delivery = line(300)
    delivery.windsor.stop()  # type: ignore[union-attr]
    with nobody_at(delivery.windsor.port):  # type: ignore[union-attr]
        outcome = delivery.deliver()
    assert "connection refused" in str(outcome.stopped_by)
    assert delivery.journal.of(delivery.journal.is_in_doubt) == []


def test_a_resumed_run_sends_what_an_outage_left_and_nothing_twice(line: MakeLine) -> None:
    delivery = line(100, faults=Faults.parse({"outage": "unavailable"}))
    delivery.deliver()
    delivery.windsor.set_faults(Faults())  # type: ignore[union-attr]
    outcome = delivery.deliver()
    delivery.check(outcome)
    assert delivery.applied == dict.fromkeys(range(100), 1)


def test_lost_answers_are_owed_and_in_doubt(line: MakeLine) -> None:
    delivery = line(50, faults=Faults(lost_answer_rate=1))
    outcome = delivery.deliver()
    delivery.check(outcome)
    assert isinstance(outcome.stopped_by, DestinationUnavailable)
    assert delivery.applied
    assert set(delivery.applied) <= set(delivery.journal.of(delivery.journal.is_in_doubt))


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_beyond_our_retry_policy_stops_at_once_and_says_so(scripted_line: MakeLine, status: int) -> None:
    delivery = scripted_line(lambda row, tries: answer(status, b"{}", "Retry-After: 3600"), 100)
    outcome = delivery.deliver()
    assert isinstance(outcome.stopped_by, DestinationUnavailable)
    assert outcome.stopped_by.retry_after_s == 3600
    assert "asks to wait 3600 s" in str(outcome.stopped_by)
    assert outcome.requests <= delivery.limits.max_in_flight


def test_a_429_that_never_ends_is_given_up(line: MakeLine) -> None:
    delivery = line(50, faults=Faults(busy_rate=1, retry_after_s=0.01))
    outcome = delivery.deliver()
    delivery.check(outcome)
    assert isinstance(outcome.stopped_by, DestinationUnavailable)
    assert delivery.journal.of(delivery.journal.is_in_doubt) == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_revoked_half_way_costs_no_more_than_what_was_in_flight(line: MakeLine, status: int) -> None:
    delivery = line(300, faults=Faults(revoked_after=100, revoked_status=status, latency_ms=(0, 3)))
    outcome = delivery.deliver()
    delivery.check(outcome)
    assert isinstance(outcome.stopped_by, CredentialsRefused)
    assert str(status) in str(outcome.stopped_by)
    assert (outcome.delivered, len(delivery.journal.of(delivery.journal.is_told))) == (100, 100)
    assert 100 < outcome.requests <= 100 + delivery.limits.max_in_flight
    assert delivery.journal.of(delivery.journal.is_in_doubt) == []


def test_a_wrong_key_stops_before_anything_is_told(line: MakeLine) -> None:
    delivery = line(300)
    delivery.windsor.api_key = "another"
    outcome = delivery.deliver()
    assert isinstance(outcome.stopped_by, CredentialsRefused)
    assert outcome.requests <= delivery.limits.max_in_flight
    assert (delivery.applied, delivery.journal.verdicts) == ({}, {})


def test_a_rejected_user_is_set_aside_with_windsors_words_without_the_email(line: MakeLine) -> None:
    delivery = line(60, faults=Faults(rejected_users=frozenset({user_of(5), user_of(50)})))
    outcome = delivery.deliver()
    delivery.check(outcome)
    assert (outcome.delivered, outcome.rejected, outcome.stopped_by) == (58, 2, None)
    verdict = delivery.journal.verdicts[5]
    assert (verdict.verdict, verdict.code, verdict.in_doubt) == (Verdict.REJECTED, 400, False)
    assert verdict.message == "… is not a contact that can be updated"


def test_when_nothing_but_rejections_comes_the_run_stops_early(line: MakeLine) -> None:
    delivery = line(400, faults=Faults(rejected_share=1))
    outcome = delivery.deliver()
    delivery.check(outcome)
    assert isinstance(outcome.stopped_by, MessagesRejected)
    assert "not a contact" in str(outcome.stopped_by)
    assert email_of(1)[-12:] not in str(outcome.stopped_by)
    assert 50 <= outcome.rejected <= 50 + delivery.limits.max_in_flight


def test_rejections_after_a_yes_do_not_stop_the_run(scripted_line: MakeLine) -> None:
    delivery = scripted_line(
        lambda row, tries: answer(400) if row else None, 200, limits=replace(HASTY, max_in_flight=1)
    )
    outcome = delivery.deliver()
    assert (outcome.delivered, outcome.rejected, outcome.stopped_by) == (1, 199, None)


def test_a_call_that_windsor_does_not_take_is_not_sent_again_in_this_run(line: MakeLine) -> None:
    delivery = line(100, faults=Faults(unsupported_calls=frozenset({"screen"})))
    screens = {seq for seq in range(100) if seq % 2}
    outcome = delivery.deliver(
        pending_row(seq, type="screen")._replace(call="screen") if seq in screens else pending_row(seq)
        for seq in range(100)
    )
    delivery.check(outcome)
    assert (outcome.delivered, outcome.rejected, outcome.stopped_by) == (50, 50, None)
    assert {delivery.journal.verdicts[seq].code for seq in screens} == {501}
    assert outcome.requests <= 50 + delivery.limits.max_in_flight


# -- several messages of one row ---------------------------------------------------------------------------------


def test_a_row_of_several_messages_is_delivered_when_all_of_them_are(line: MakeLine) -> None:
    delivery = line(40, faults=Faults(latency_ms=(0, 4)))
    outcome = delivery.deliver([pending_row(seq, parts=3) for seq in range(40)])
    assert (outcome.delivered, outcome.requests, delivery.applied) == (40, 120, dict.fromkeys(range(40), 3))


def test_a_row_whose_second_message_is_refused_is_rejected_and_in_doubt(scripted_line: MakeLine) -> None:
    delivery = scripted_line(lambda row, tries: None, 30)
    delivery.windsor.script = lambda body, tries: answer(400 if b"part_1" in body and row_of(body) == 4 else 200)  # type: ignore[union-attr]
    outcome = delivery.deliver([pending_row(seq, parts=2) for seq in range(30)])
    verdict = delivery.journal.verdicts[4]
    assert (outcome.rejected, verdict.verdict, verdict.in_doubt) == (1, Verdict.REJECTED, True)


@pytest.mark.parametrize("status", [429, 401])
def test_a_row_that_stopped_after_its_first_message_is_in_doubt(scripted_line: MakeLine, status: int) -> None:
    delivery = scripted_line(lambda row, tries: None, 30)
    delivery.windsor.script = lambda body, tries: answer(status if b"part_1" in body else 200)  # type: ignore[union-attr]
    delivery.deliver([pending_row(seq, parts=2) for seq in range(30)])
    assert set(delivery.applied) <= set(delivery.journal.of(delivery.journal.is_in_doubt))
    assert delivery.applied


# -- doubt that an earlier try left ------------------------------------------------------------------------------


def test_a_try_that_ends_at_once_keeps_the_doubt_it_found(line: MakeLine) -> None:
    delivery = line(100)
    delivery.journal.shards = [ShardProgress(0, 0, 100, position=10, reach=70, delivered=10)]
    delivery.windsor.stop()  # type: ignore[union-attr]
    with nobody_at(delivery.windsor.port):  # type: ignore[union-attr]
        delivery.deliver()
    assert delivery.journal.of(delivery.journal.is_in_doubt) == list(range(10, 70))


def test_a_refusal_now_does_not_undo_that_an_earlier_try_may_have_been_applied(line: MakeLine) -> None:
    delivery = line(100, faults=Faults(rejected_users=frozenset({user_of(20), user_of(90)})))
    delivery.journal.shards = [ShardProgress(0, 0, 100, position=10, reach=70, delivered=10)]
    delivery.deliver()
    assert delivery.journal.verdicts[20].in_doubt
    assert not delivery.journal.verdicts[90].in_doubt
