"""How a delivery ends before its end: what was answered is recorded, the rest is owed, and nothing is forgotten."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.delivery.line import HASTY, STORM, Line, patient, stop_after
from tests.delivery.scripted import Reply, answer
from windsor_sync.delivery.engine import Engine, PendingRow
from windsor_sync.errors import (
    LeaseLost,
    StateUnavailable,
)
from windsor_sync.sandbox import Faults
from windsor_sync.state.ledger import Verdict

MakeLine = Callable[..., Line]


@pytest.mark.parametrize("faults", [{}, {"latency_ms": [20, 40]}, {**STORM, "latency_ms": [0, 10]}], ids=str)
def test_a_stop_lets_answers_in_records_them_and_leaves_the_rest_owed(
    line: MakeLine, faults: dict[str, object]
) -> None:
    delivery = line(400, limits=patient(), faults=Faults.parse(faults))
    outcome = delivery.deliver(meanwhile=stop_after(30))
    delivery.check(outcome)
    assert (outcome.was_interrupted, outcome.stopped_by) == (True, None)
    assert 0 < outcome.delivered < 400
    assert len(delivery.journal.of(delivery.journal.is_told)) == outcome.delivered
    delivery.windsor.set_faults(Faults())  # type: ignore[union-attr]
    before = sum(delivery.applied.values())
    again = delivery.deliver()
    assert again.delivered == 400 - outcome.delivered - outcome.unanswered
    assert sum(delivery.applied.values()) == before + again.requests


def test_a_stop_before_the_start_sends_nothing(line: MakeLine) -> None:
    outcome = line(100).deliver(before=Engine.stop)
    assert (outcome.requests, outcome.was_interrupted) == (0, True)


def test_a_stop_wakes_who_waits_for_windsor(scripted_line: MakeLine) -> None:
    """Every row was told to wait for longer than a test may take; a stop ends the waits."""
    wait = answer(429, b"{}", "Retry-After: 3000")
    delivery = scripted_line(lambda row, tries: wait if row >= 30 else None, 100, limits=patient(give_up_after_s=9_999))
    outcome = delivery.deliver(meanwhile=stop_after(30))
    assert (outcome.delivered, outcome.was_interrupted, outcome.stopped_by) == (30, True, None)
    assert delivery.journal.of(delivery.journal.is_in_doubt) == []


def test_what_does_not_answer_within_the_drain_is_cut_and_in_doubt(scripted_line: MakeLine) -> None:
    delivery = scripted_line(lambda row, tries: Reply() if row >= 10 else None, 100, limits=replace(HASTY, drain_s=0.1))
    outcome = delivery.deliver(meanwhile=stop_after(10))
    assert outcome.delivered == 10
    assert set(delivery.sent) - set(range(10)) <= set(delivery.journal.of(delivery.journal.is_in_doubt))


def test_a_lost_lease_stops_before_the_next_request_and_records_nothing(line: MakeLine) -> None:
    """But for a checkpoint that was being written at that moment; the one at the end is not made."""
    delivery = line(300, limits=patient(checkpoint_s=9_999))
    permitted = iter(range(200))
    recorded: list[int] = []

    def permit() -> None:
        if next(permitted, None) is None:
            recorded.append(delivery.journal.checkpoints)
            raise LeaseLost("lost")

    delivery.journal.permit = permit
    outcome = delivery.deliver()
    assert isinstance(outcome.stopped_by, LeaseLost)
    assert 0 < len(delivery.applied) <= 200
    known = delivery.journal.of(lambda seq: delivery.journal.is_in_doubt(seq) or delivery.journal.is_told(seq))
    assert set(delivery.applied) <= set(known)
    assert delivery.journal.checkpoints <= recorded[0] + 1


def test_a_journal_that_refuses_the_lease_stops_the_sending(line: MakeLine) -> None:
    delivery = line(300)
    _fail_at(delivery, 3, LeaseLost("lost"), for_good=True)
    outcome = delivery.deliver()
    assert isinstance(outcome.stopped_by, LeaseLost)
    assert len(delivery.applied) < 300


@pytest.mark.parametrize("for_good", [True, False])
@pytest.mark.parametrize("error", [StateUnavailable("out of reach"), OSError("disk full")], ids=["ours", "not ours"])
def test_a_journal_that_fails_stops_the_sending_and_loses_no_verdict(
    line: MakeLine, error: Exception, *, for_good: bool
) -> None:
    delivery = line(300, faults=Faults(rejected_share=0.5, seed=3))
    _fail_at(delivery, 3, error, for_good=for_good)
    if isinstance(error, OSError):
        with pytest.raises(OSError, match="disk full"):
            delivery.deliver()
    else:
        assert delivery.deliver().stopped_by is error
    told, doubted = delivery.journal.of(delivery.journal.is_told), delivery.journal.of(delivery.journal.is_in_doubt)
    assert len(delivery.applied) < 150
    assert set(told) <= set(delivery.applied)
    assert set(delivery.applied) <= {*told, *doubted}


def test_an_outbox_that_cannot_be_read_is_an_error_after_what_was_sent_is_recorded(line: MakeLine) -> None:
    delivery = line(300, faults=Faults(latency_ms=(1, 5)))

    def broken() -> Iterator[PendingRow]:
        yield from delivery.rows()[:70]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        delivery.deliver(broken())
    assert delivery.applied
    assert sorted(delivery.applied) == delivery.journal.of(delivery.journal.is_told)
    assert delivery.journal.of(delivery.journal.is_in_doubt) == []


def test_progress_reports_count_up_to_the_end(line: MakeLine) -> None:
    delivery = line(200, shards=2)
    seen: list[int] = []
    delivery.deliver(meanwhile=lambda engine: seen.append(engine.outcome.delivered))
    assert seen == sorted(seen)
    assert seen[-1] == 200


@pytest.mark.parametrize(
    "faults",
    [
        STORM,
        {"rejected_share": 1},
        {"rejected_share": 0.5},
        {"revoked_after": 20},
        {"html_rate": 1},
        {"garbage_rate": 1},
        {"lost_answer_rate": 1},
        {"busy_rate": 1},
        {"outage": "reset"},
        {"outage": "unavailable"},
        {"unsupported_calls": ["identify"]},
    ],
    ids=str,
)
def test_no_failure_says_who_or_shows_the_key(
    line: MakeLine,
    faults: dict[str, object],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("DEBUG")
    delivery = line(60, limits=replace(HASTY, give_up_after_s=0.2), faults=Faults.parse(faults), api_key="canary-4242")
    outcome = delivery.deliver()
    said = [caplog.text, *capfd.readouterr(), repr(outcome), str(outcome.stopped_by)]
    said += [repr(verdict) for verdict in delivery.journal.verdicts.values()]
    key = base64.b64encode(b"canary-4242:").decode()
    assert not [secret for secret in ("canary", key, "user-0", "example.com") if secret in "".join(said)]


# -- kills -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_a_kill_at_any_checkpoint_loses_nothing_and_repeats_no_more_than_one_window(line: MakeLine, seed: int) -> None:
    """Each kill is played by going on from what the journal had at that moment."""
    limits = patient(checkpoint_s=9_999, tries_in_turn=10)
    delivery = line(200, 3, limits, Faults(seed=seed, latency_ms=(0, 3), error_rate=0.1, rejected_share=0.02))
    window, state = limits.checkpoint_rows + limits.max_in_flight, delivery.journal
    for kill_at in (1, 4, 9, 10_000):
        before = set(state.of(state.is_in_doubt))
        _killed(delivery, kill_at)
        doubted = set(state.of(state.is_in_doubt))
        assert len(doubted - before) <= window
        assert set(delivery.applied) <= {*state.of(state.is_told), *doubted}
    told = set(state.of(state.is_told))
    rejected = {seq for seq, verdict in state.verdicts.items() if verdict.verdict is Verdict.REJECTED}
    assert told | rejected == set(range(200))
    assert told == set(delivery.applied)
    repeated = sum(delivery.applied.values()) - len(delivery.applied)
    assert repeated <= 3 * window


def _killed(delivery: Line, checkpoints: int) -> None:
    """Deliver until so many checkpoints are recorded; nothing is recorded or sent after that."""
    journal = delivery.journal
    last = journal.checkpoints + checkpoints
    journal.permit = lambda: _die_if(journal.checkpoints >= last)
    delivery.deliver()


def _die_if(is_time: bool) -> None:
    if is_time:
        raise LeaseLost("a kill leaves no time to record anything")


def _fail_at(delivery: Line, checkpoint: int, error: Exception, *, for_good: bool) -> None:
    calls = iter(range(1_000_000))

    def fail() -> None:
        number = next(calls)
        if number == checkpoint or (for_good and number > checkpoint):
            raise error

    delivery.journal.before_checkpoint = fail
