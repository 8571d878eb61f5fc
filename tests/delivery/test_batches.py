"""Several messages in one request: one answer for all, and still every row gets the verdict it deserves."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.line import HASTY, STORM, Line, patient, pending_row, stop_after, user_of
from tests.delivery.scripted import Reply, answer
from windsor_sync.delivery.bounds import EngineLimits
from windsor_sync.delivery.protocols.windsor_hook import HookWire
from windsor_sync.delivery.retry_policy import RetryState
from windsor_sync.delivery.rows import Attempt, PendingMessage, attempts_of, requests_of
from windsor_sync.domain.progress import ShardProgress
from windsor_sync.errors import CredentialsRefused, DestinationUnavailable, MessagesRejected
from windsor_sync.sandbox import Faults
from windsor_sync.state.ledger import Verdict

MakeLine = Callable[..., Line]
ALONE = EngineLimits(max_in_flight=1, checkpoint_rows=1_000, first_backoff_s=0.001, give_up_after_s=20)
"""One request at a time, so that it is known what shares one."""


def test_twenty_messages_share_a_request_and_one_slot_of_the_rate(line: MakeLine) -> None:
    delivery = line(100, limits=ALONE, is_hook=True)
    delivery.chunk_rows = 100
    booked = 0

    def count(book: Callable[[], float]) -> Callable[[], float]:
        def counted() -> float:
            nonlocal booked
            booked += 1
            return book()

        return counted

    delivery.rate.book = count(delivery.rate.book)  # type: ignore[method-assign]
    outcome = delivery.deliver()
    assert (outcome.delivered, outcome.requests, booked) == (100, len(delivery.requests), len(delivery.requests))
    assert [len(request) for request in delivery.requests] == [20] * 5
    assert delivery.applied == dict.fromkeys(range(100), 1)
    delivery.check(outcome)


def test_as_many_full_batches_are_under_way_as_there_may_be_requests(scripted_line: MakeLine) -> None:
    """No answer comes before all of them are there."""
    rows: set[int] = set()
    are_there = asyncio.Event()

    def fate(row: int, tries: int) -> Reply:
        rows.add(row)
        if len(rows) == HASTY.max_in_flight * 20:
            are_there.set()
        return Reply(answer(200), held_until=are_there)

    delivery = scripted_line(fate, 400, limits=patient(), is_hook=True)
    delivery.chunk_rows = 400
    outcome = delivery.deliver()
    assert (outcome.delivered, outcome.requests) == (400, len(delivery.requests))
    assert [len(request) for request in delivery.requests[: HASTY.max_in_flight]] == [20] * HASTY.max_in_flight


def test_a_batch_does_not_wait_to_be_full(line: MakeLine) -> None:
    delivery = line(3, is_hook=True)
    assert delivery.deliver().requests == 1
    assert delivery.requests == [[0, 1, 2]]


def test_rows_of_one_user_share_a_batch_in_order(line: MakeLine) -> None:
    delivery = line(60, limits=ALONE, is_hook=True)
    outcome = delivery.deliver([pending_row(seq)._replace(ordering_keys=("u",)) for seq in range(60)])
    assert (outcome.delivered, delivery.sent) == (60, list(range(60)))
    assert outcome.requests <= 12


def test_rows_that_waited_behind_one_of_their_user_share_the_next_request(scripted_line: MakeLine) -> None:
    """Two users' rows wait for a row of both; the first of them to go takes its followers along."""
    delivery = scripted_line(
        lambda row, tries: answer(503) if row == 0 and tries < 4 else None, 28, limits=patient(), is_hook=True
    )
    delivery.chunk_rows = 1  # so that nobody is there yet when the first request leaves
    ordering_keys = [("a", "b"), *(("a",) if seq % 2 else ("b",) for seq in range(1, 28))]
    outcome = delivery.deliver(pending_row(seq)._replace(ordering_keys=ordering_keys[seq]) for seq in range(28))
    assert outcome.delivered == 28
    assert delivery.requests[:5] == [[0]] * 5
    assert delivery.requests[5:] == [[*range(1, 28, 2), *range(2, 14, 2)], list(range(14, 28, 2))]


# -- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("poison", [{0}, {13}, {19}, {3, 4}, {0, 19}, set(range(20))], ids=str)
def test_a_refused_batch_is_cut_until_only_the_refused_message_is_rejected(
    scripted_line: MakeLine, poison: set[int], status: int
) -> None:
    delivery = scripted_line(
        lambda row, tries: answer(status, b'{"message": "no"}') if row in poison else None,
        40,
        limits=replace(ALONE, rejections_to_stop=99),
        is_hook=True,
    )
    outcome = delivery.deliver([pending_row(seq)._replace(ordering_keys=("u",)) for seq in range(40)])
    delivery.check(outcome)
    verdicts = delivery.journal.verdicts
    assert {row for row, verdict in verdicts.items() if verdict.verdict is Verdict.REJECTED} == poison
    assert {(verdicts[row].code, verdicts[row].message, verdicts[row].in_doubt) for row in poison} == {
        (status, "no", False)
    }
    assert list(delivery.applied) == [row for row in range(40) if row not in poison]
    assert set(delivery.applied.values()) == {1}
    tries = Counter(row for request in delivery.requests for row in request)
    assert max(tries.values()) <= 6, "halves: 20, 10, 5, 3, 2, 1"
    assert outcome.requests <= 2 * 20 + 12


def test_a_batch_that_keeps_failing_is_cut_too_so_that_one_message_does_not_hold_up_nineteen(
    scripted_line: MakeLine,
) -> None:
    delivery = scripted_line(
        lambda row, tries: answer(500) if row == 5 else None, 300, limits=patient(rows_put_off=1), is_hook=True
    )
    outcome = delivery.deliver()
    delivery.check(outcome)
    assert (outcome.delivered, outcome.unanswered, outcome.stopped_by) == (299, 1, None)
    assert delivery.journal.verdicts.keys() == {5}
    assert delivery.journal.verdicts[5].in_doubt


def test_a_batch_that_is_only_told_to_slow_down_is_put_off_as_it_is(scripted_line: MakeLine) -> None:
    """A 429 is nobody's fault, and more requests are the last thing that would help."""
    delivery = scripted_line(
        lambda row, tries: answer(429) if row < 7 and tries < 5 else None, 300, limits=patient(), is_hook=True
    )
    ordering_keys = dict.fromkeys(range(7), ("u",))
    outcome = delivery.deliver(
        [pending_row(seq)._replace(ordering_keys=ordering_keys.get(seq, ())) for seq in range(300)]
    )
    delivery.check(outcome)
    assert (outcome.delivered, outcome.unanswered) == (300, 0)
    refused = [rows for rows, got in zip(delivery.requests, delivery.answers, strict=True) if got.status == 429]
    assert (len(refused), min(map(len, refused))) == (5, 7)
    assert [row for row in delivery.applied if row < 7] == list(range(7))
    assert delivery.journal.verdicts.keys() == set(range(7)), "delivered in the second round"


def test_a_call_that_windsor_does_not_take_is_found_in_a_batch_and_not_sent_again(line: MakeLine) -> None:
    delivery = line(400, limits=ALONE, faults=Faults(unsupported_calls=frozenset({"track"})), is_hook=True)
    tracks = {seq for seq in range(400) if seq % 5 == 0}
    outcome = delivery.deliver(
        pending_row(seq, type="track", event="Seen")._replace(call="track") if seq in tracks else pending_row(seq)
        for seq in range(400)
    )
    delivery.check(outcome)
    assert (outcome.delivered, outcome.rejected, outcome.stopped_by) == (320, 80, None)
    assert {delivery.journal.verdicts[seq].code for seq in tracks} == {501}
    assert len({row for request in delivery.requests for row in request} & tracks) <= 20


def test_a_call_that_the_wire_has_no_words_for_is_rejected_and_never_sent(line: MakeLine) -> None:
    delivery = line(100, is_hook=True)
    outcome = delivery.deliver(
        pending_row(seq, type="page")._replace(ordering_keys=("u",))
        if seq % 10 == 0
        else pending_row(seq)._replace(ordering_keys=("u",))
        for seq in range(100)
    )
    delivery.check(outcome)
    assert (outcome.delivered, outcome.rejected, outcome.stopped_by) == (90, 10, None)
    assert {verdict.code for verdict in delivery.journal.verdicts.values()} == {501}
    assert not [row for row in delivery.sent if row % 10 == 0]


def test_when_nothing_but_rejections_comes_the_run_stops_early(line: MakeLine) -> None:
    delivery = line(400, limits=replace(HASTY, max_in_flight=2), faults=Faults(rejected_share=1), is_hook=True)
    outcome = delivery.deliver()
    assert isinstance(outcome.stopped_by, MessagesRejected)
    assert outcome.rejected <= 52
    assert outcome.requests <= 2 * (50 + 2 * 20)


# -- doubt -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "faults", [STORM, {"lost_answer_rate": 1}, {"outage": "unavailable"}, {"busy_rate": 1}], ids=str
)
def test_what_a_batch_leaves_behind_is_remembered_row_by_row(line: MakeLine, faults: dict[str, Any]) -> None:
    delivery = line(200, 3, faults=Faults.parse(faults), is_hook=True)
    outcome = delivery.deliver(meanwhile=stop_after(60))
    delivery.check(outcome)
    if faults == {"busy_rate": 1}:
        assert isinstance(outcome.stopped_by, DestinationUnavailable)
        assert delivery.journal.of(delivery.journal.is_in_doubt) == []


@pytest.mark.parametrize(
    ("answers", "in_doubt"),
    [
        ([400, 401], [0, 1, 2, 3, 4, 5, 6]),
        ([400, 200, 401], [3, 4, 5, 6]),
        ([400, 200, 429, 401], [3, 4, 5, 6]),
        ([429, 401], []),
        ([400, 200, 400, 200, 400, 400, 401], [6]),
    ],
    ids=str,
)
def test_a_batch_that_was_refused_leaves_doubt_until_each_message_is_judged(
    scripted_line: MakeLine, answers: list[int], in_doubt: list[int]
) -> None:
    """Windsor does not say whether it applied a part of it; then the key is revoked."""
    delivery = scripted_line(lambda row, tries: None, 7, limits=ALONE, is_hook=True)
    statuses = iter(answers)
    delivery.windsor.script = lambda body, tries: answer(next(statuses))  # type: ignore[union-attr]
    outcome = delivery.deliver()
    assert isinstance(outcome.stopped_by, CredentialsRefused)
    assert delivery.journal.of(delivery.journal.is_in_doubt) == in_doubt


def test_a_refusal_of_one_alone_undoes_the_doubt_of_the_batch_but_not_that_of_an_earlier_try(line: MakeLine) -> None:
    delivery = line(100, faults=Faults(rejected_users=frozenset({user_of(20), user_of(90)})), is_hook=True)
    delivery.journal.shards = [ShardProgress(0, 0, 100, position=10, reach=70, delivered=10)]
    delivery.deliver()
    assert delivery.journal.verdicts[20].in_doubt
    assert not delivery.journal.verdicts[90].in_doubt


def test_a_revoked_key_costs_no_more_than_what_was_in_flight(line: MakeLine) -> None:
    delivery = line(2_000, faults=Faults(revoked_after=5, latency_ms=(0, 3)), is_hook=True)
    outcome = delivery.deliver()
    assert isinstance(outcome.stopped_by, CredentialsRefused)
    assert outcome.requests <= 5 + delivery.limits.max_in_flight
    assert sorted(delivery.applied) == delivery.journal.of(delivery.journal.is_told)
    assert delivery.journal.of(delivery.journal.is_in_doubt) == []


# -- several messages of one row ---------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [2, 3, 30])
def test_rows_of_several_messages_share_requests_and_are_delivered_when_all_of_them_are(
    line: MakeLine, parts: int
) -> None:
    delivery = line(40, faults=Faults(latency_ms=(0, 4)), is_hook=True)
    outcome = delivery.deliver([pending_row(seq, parts=parts) for seq in range(40)])
    assert (outcome.delivered, delivery.applied) == (40, dict.fromkeys(range(40), parts))
    assert max(map(len, delivery.requests)) <= 20
    assert outcome.requests < 40 * parts / 2
    delivery.check(outcome)


@pytest.mark.parametrize(("part", "in_doubt"), [(0, True), (1, True)])
def test_a_row_is_rejected_with_the_one_of_its_messages_that_is_refused(
    scripted_line: MakeLine, part: int, *, in_doubt: bool
) -> None:
    delivery = scripted_line(lambda row, tries: None, 30, is_hook=True)

    def script(body: bytes, tries: int) -> bytes | Reply:
        refused = any(message["messageId"] == f"message-4-{part}" for message in json.loads(body)["batch"])
        return answer(400 if refused else 200)

    delivery.windsor.script = script  # type: ignore[union-attr]
    outcome = delivery.deliver([pending_row(seq, parts=2) for seq in range(30)])
    verdict = delivery.journal.verdicts[4]
    assert (outcome.delivered, outcome.rejected) == (29, 1)
    assert (verdict.verdict, verdict.in_doubt) == (Verdict.REJECTED, in_doubt)


# -- size --------------------------------------------------------------------------------------------------------


def test_large_messages_are_sent_in_requests_that_windsor_takes(line: MakeLine) -> None:
    delivery = line(60, limits=ALONE, is_hook=True)
    traits = {"note": "x" * 31_000}
    outcome = delivery.deliver([pending_row(seq, traits=traits)._replace(ordering_keys=("u",)) for seq in range(60)])
    assert (outcome.delivered, delivery.sent) == (60, list(range(60)))
    assert {got.status for got in delivery.answers} == {200}
    assert outcome.requests <= 12


@given(st.lists(st.integers(1, 60)), st.integers(1, 5), st.integers(1, 100))
def test_requests_joined_are_the_messages_and_none_is_larger_than_it_may_be(
    sizes: list[int], most: int, most_bytes: int
) -> None:
    attempt = Attempt(pending_row(0), in_doubt=False, retry_state=RetryState())
    messages = [PendingMessage(attempt, b"x" * size, is_last=False) for size in sizes]
    requests = list(requests_of(messages, most=most, most_bytes=most_bytes))
    assert [message for request in requests for message in request] == messages
    for request in requests:
        assert 1 <= len(request) <= most
        assert sum(len(message.body) for message in request) <= most_bytes or len(request) == 1
    for request, following in pairwise(requests):
        fits = sum(len(message.body) for message in [*request, following[0]]) <= most_bytes
        assert len(request) == most or not fits, "one more would have had its place"


def test_a_row_of_several_messages_is_one_row() -> None:
    one, other = (Attempt(pending_row(seq), in_doubt=False, retry_state=RetryState()) for seq in range(2))
    messages = [PendingMessage(attempt, b"{}", is_last=False) for attempt in (one, one, other, other)]
    assert attempts_of(messages) == [one, other]


def test_the_largest_batch_is_within_500_kb() -> None:
    wire = HookWire("http://127.0.0.1/hook", "token")
    full = [b"x" * (wire.most_bytes // wire.batch_size)] * wire.batch_size
    assert 499 * 1024 - wire.batch_size < len(wire.request(full).content) <= 500 * 1024
