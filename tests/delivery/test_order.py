"""One user's messages reach Windsor in the order of the outbox, whatever goes wrong; other users do not wait for them."""

import asyncio
import random
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest

from tests.delivery.line import HASTY, Line, MemoryJournal, message_of, patient, pending_row, row_named
from tests.delivery.scripted import Reply, answer
from windsor_sync.delivery.engine import PendingRow
from windsor_sync.errors import LeaseLost
from windsor_sync.sandbox import Faults
from windsor_sync.state.ledger import Verdict

MakeLine = Callable[..., Line]
WIRES = pytest.mark.parametrize("is_hook", [False, True], ids=["segment_webhook", "windsor_hook"])

WEATHER = {
    "latency_ms": [0, 6],
    "error_rate": 0.06,
    "busy_rate": 0.03,
    "retry_after_s": 0.002,
    "reset_rate": 0.03,
    "lost_answer_rate": 0.03,
    "false_error_rate": 0.03,
}


def event(seq: int, *ordering_keys: str, shard: int = 0, parts: int = 1) -> PendingRow:
    """One row of a forward run's outbox."""
    messages = tuple(message_of(seq, part, userId=ordering_keys[0]) for part in range(parts))
    return PendingRow(shard, seq, messages, (ordering_keys[0],), "identify", ordering_keys)


def traffic(rows: int, users: int, seed: int = 1) -> list[PendingRow]:
    """Rows of many users, some far busier than others, with merges of two among them."""
    chance = random.Random(seed)
    busy = [chance.randrange(users) for _ in range(users // 10)]

    def somebody() -> str:
        return f"u{chance.choice(busy) if chance.random() < 0.3 else chance.randrange(users)}"

    return [event(seq, somebody(), *([somebody()] if chance.random() < 0.05 else [])) for seq in range(rows)]


def by_ordering_key(rows: Iterable[PendingRow]) -> dict[str, list[int]]:
    """The rows of each ordering key, in the order given."""
    found: dict[str, list[int]] = {}
    for row in rows:
        for ordering_key in dict.fromkeys(row.ordering_keys):
            found.setdefault(ordering_key, []).append(row.seq)
    return found


def arrivals(delivery: Line) -> list[int]:
    """Rows in the order in which Windsor first accepted them."""
    return list(dict.fromkeys(row_named(accepted.message_id) for accepted in delivery.windsor.store.accepted))


def check_order(delivery: Line, given: Iterable[PendingRow]) -> None:
    """What Windsor saw of every ordering key is how it was given."""
    place = {row: number for number, row in enumerate(arrivals(delivery))}
    for rows in by_ordering_key(given).values():
        seen = [place[row] for row in rows if row in place]
        assert all(first < second for first, second in pairwise(seen))


@WIRES
def test_every_user_is_told_in_order_by_many_requests_at_once_in_bad_weather(line: MakeLine, *, is_hook: bool) -> None:
    limits = patient(max_in_flight=64, checkpoint_rows=1_000, tries_in_turn=12)
    delivery = line(2_000, limits=limits, faults=Faults.parse(WEATHER), is_hook=is_hook)
    rows = traffic(2_000, 300)
    outcome = delivery.deliver(rows)
    assert (outcome.delivered, outcome.unanswered, outcome.stopped_by) == (2_000, 0, None)
    check_order(delivery, rows)
    delivery.check(outcome)


@WIRES
@pytest.mark.parametrize("seed", range(3))
def test_order_holds_when_rows_are_put_off_and_rejected(line: MakeLine, seed: int, *, is_hook: bool) -> None:
    faults = Faults.parse({**WEATHER, "error_rate": 0.3, "seed": seed, "rejected_users": ["u3", "u4"]})
    delivery = line(400, 3, limits=patient(tries_in_turn=2, max_in_flight=16), faults=faults, is_hook=is_hook)
    shards = delivery.journal.shards
    rows = [
        row._replace(shard=next(s.shard for s in shards if s.first <= row.seq < s.last))
        for row in traffic(400, 40, seed)
    ]
    outcome = delivery.deliver(rows)
    assert outcome.stopped_by is None
    assert outcome.delivered + outcome.rejected + outcome.unanswered == 400
    check_order(delivery, rows)
    delivery.check(outcome)


def test_users_do_not_wait_for_each_other(line: MakeLine) -> None:
    """One user has a thousand rows and another one each in between: eight requests are under way all the same."""
    delivery = line(300, limits=patient(max_in_flight=8, checkpoint_rows=300), faults=Faults(latency_ms=(5, 5)))
    rows = [event(seq, "hot" if seq % 3 == 0 else f"u{seq}") for seq in range(300)]
    delivery.deliver(rows)
    assert delivery.windsor.store.traffic.most_in_flight == 8
    last_other = max(arrivals(delivery).index(seq) for seq in range(300) if seq % 3)
    assert arrivals(delivery).index(150) > 120, "rows behind the hot user's went before them"
    assert last_other < 299
    check_order(delivery, rows)


def test_rows_that_waited_go_out_side_by_side(scripted_line: MakeLine) -> None:
    """All wait for one row of many users; after it none of the requests that may be under way is idle."""
    users = [f"u{number}" for number in range(HASTY.max_in_flight)]
    arrived: set[int] = set()
    all_arrived = asyncio.Event()

    def fate(row: int, tries: int) -> bytes | Reply | None:
        if row == 0:
            return answer(503) if tries < 3 else None
        arrived.add(row)
        if len(arrived) == len(users):
            all_arrived.set()
        return Reply(answer(200), held_until=all_arrived)

    delivery = scripted_line(fate, 9, limits=patient())
    outcome = delivery.deliver([event(0, *users), *(event(seq, user) for seq, user in enumerate(users, start=1))])
    assert (outcome.delivered, outcome.requests, delivery.sent[:4]) == (9, 12, [0, 0, 0, 0])


def test_who_is_released_does_not_wait_for_a_slow_answer_to_somebody_else(scripted_line: MakeLine) -> None:
    """The slow answer comes only when the other user's last row has arrived."""
    arrived = asyncio.Event()

    def fate(row: int, tries: int) -> Reply | None:
        if row == 4:
            arrived.set()
        return Reply(answer(200), held_until=arrived) if row == 1 else None

    delivery = scripted_line(fate, 5, limits=patient(checkpoint_s=9_999, checkpoint_rows=1_000))
    outcome = delivery.deliver([event(seq, "slow" if seq == 1 else "quick") for seq in range(5)])
    assert (outcome.delivered, outcome.requests) == (5, 5)


def test_a_second_round_does_not_wait_for_a_slow_answer_to_somebody_else(scripted_line: MakeLine) -> None:
    arrived = asyncio.Event()

    def fate(row: int, tries: int) -> bytes | Reply | None:
        if row == 1 and tries == 5:
            arrived.set()
        if row == 1 and tries < 5:
            return answer(500)
        return Reply(answer(200), held_until=arrived) if row == 0 else None

    delivery = scripted_line(fate, 60, limits=patient(checkpoint_s=9_999, checkpoint_rows=1_000))
    outcome = delivery.deliver([event(seq, "late" if seq in (1, 2, 3) else f"u{seq}") for seq in range(60)])
    assert (outcome.delivered, outcome.requests) == (60, 65)
    assert delivery.sent.count(0) == 1


def test_a_merge_waits_for_both_its_users_and_both_wait_for_it(scripted_line: MakeLine) -> None:
    delivery = scripted_line(
        lambda row, tries: answer(503) if row in (0, 1) and tries < 3 else None, 6, limits=patient()
    )
    rows = [event(0, "a"), event(1, "b"), event(2, "a", "b"), event(3, "a"), event(4, "b"), event(5, "c")]
    assert delivery.deliver(rows).delivered == 6
    place = {row: number for number, row in enumerate(arrivals(delivery))}
    assert max(place[0], place[1]) < place[2] < min(place[3], place[4])
    assert place[5] == 0


# -- behind a row that does not get through ----------------------------------------------------------------------


@WIRES
def test_behind_a_row_that_is_left_owed_its_users_rows_stay_owed_unsent(
    scripted_line: MakeLine, *, is_hook: bool
) -> None:
    delivery = scripted_line(
        lambda row, tries: answer(500) if row == 3 else None, 200, limits=patient(), is_hook=is_hook
    )
    behind = [7, 40, 41, 150]
    rows = [event(seq, "stuck" if seq in (1, 3, *behind) else f"u{seq}") for seq in range(200)]
    outcome = delivery.deliver(rows)
    delivery.check(outcome)
    assert (outcome.delivered, outcome.unanswered, outcome.stopped_by) == (195, 5, None)
    assert not set(behind) & set(arrivals(delivery))
    verdicts = delivery.journal.verdicts
    assert {verdicts[row].verdict for row in (3, *behind)} == {Verdict.UNANSWERED}
    if not is_hook:
        assert not set(behind) & set(delivery.sent)
        assert [verdicts[row].in_doubt for row in (3, *behind)] == [True, False, False, False, False]


def test_what_hangs_on_a_stuck_row_by_a_merge_stays_owed_too(scripted_line: MakeLine) -> None:
    delivery = scripted_line(lambda row, tries: answer(500) if row == 0 else None, 100, limits=patient())
    given = {0: ("a",), 20: ("b",), 30: ("a", "b"), 60: ("b",), 61: ("b", "c"), 70: ("c",)}
    outcome = delivery.deliver([event(seq, *given.get(seq, (f"u{seq}",))) for seq in range(100)])
    assert (outcome.delivered, outcome.unanswered) == (95, 5)
    assert {row for row, verdict in delivery.journal.verdicts.items()} == {0, 30, 60, 61, 70}
    assert set(delivery.sent) == set(range(100)) - {30, 60, 61, 70}


@WIRES
def test_when_a_row_that_was_put_off_gets_through_its_followers_follow_in_order(
    scripted_line: MakeLine, *, is_hook: bool
) -> None:
    sent: list[int] = []

    def fate(row: int, tries: int) -> bytes | None:
        sent.append(row)
        return answer(500) if row == 3 and len(set(sent)) < 195 else None

    delivery = scripted_line(fate, 200, limits=patient(), is_hook=is_hook)
    rows = [event(seq, "late" if seq in (3, 7, 40, 41, 150) else f"u{seq}") for seq in range(200)]
    outcome = delivery.deliver(rows)
    delivery.check(outcome)
    assert (outcome.delivered, outcome.unanswered, outcome.stopped_by) == (200, 0, None)
    assert [row for row in arrivals(delivery) if row in (3, 7, 40, 41, 150)] == [3, 7, 40, 41, 150]
    assert delivery.journal.of(delivery.journal.is_in_doubt) == []


def test_a_row_that_is_given_up_leaves_what_is_behind_it_owed(scripted_line: MakeLine) -> None:
    """Nothing may be put off, and Windsor asks for more time than the run has, after all others had their answers."""
    arrived = asyncio.Event()

    def fate(row: int, tries: int) -> Reply | None:
        if row == 49:
            arrived.set()
        return Reply(answer(423, b"{}", "Retry-After: 100"), held_until=arrived) if row == 3 else None

    limits = patient(rows_put_off=0, checkpoint_s=9_999, checkpoint_rows=1_000)
    delivery = scripted_line(fate, 50, limits=limits)
    outcome = delivery.deliver([event(seq, "locked") if seq in (3, 4, 40) else pending_row(seq) for seq in range(50)])
    delivery.check(outcome)
    assert (outcome.delivered, outcome.unanswered, outcome.stopped_by) == (47, 3, None)
    assert delivery.journal.verdicts.keys() == {3, 4, 40}
    assert not {4, 40} & set(delivery.sent)


def test_a_row_that_is_rejected_holds_nobody_behind_it(scripted_line: MakeLine) -> None:
    delivery = scripted_line(lambda row, tries: answer(400) if row == 3 else None, 20, limits=patient())
    outcome = delivery.deliver([event(seq, "u") for seq in range(20)])
    assert (outcome.delivered, outcome.rejected) == (19, 1)
    assert arrivals(delivery) == [seq for seq in range(20) if seq != 3]


def test_a_row_of_nobody_any_more_waits_for_nobody(scripted_line: MakeLine) -> None:
    delivery = scripted_line(lambda row, tries: answer(500) if row == 0 else None, 50, limits=patient())
    rows = [event(seq, "u" if seq < 3 else f"u{seq}") for seq in range(50)]
    rows[1] = rows[1]._replace(messages=())
    outcome = delivery.deliver(rows)
    verdicts = [delivery.journal.verdicts[row].verdict for row in range(3)]
    assert verdicts == [Verdict.UNANSWERED, Verdict.SUPPRESSED, Verdict.UNANSWERED]
    assert (outcome.delivered, outcome.unanswered) == (47, 2)


@pytest.mark.parametrize("behind", [range(1, 40), [1, 2, *range(100, 137)]], ids=["there already", "coming later"])
def test_more_followers_than_there_is_memory_for_stay_owed_and_the_last_ones_do(
    scripted_line: MakeLine, behind: Iterable[int]
) -> None:
    stuck = [0, *behind]
    sent: set[int] = set()

    def fate(row: int, tries: int) -> bytes | None:
        sent.add(row)
        is_put_off = tries > HASTY.tries_in_turn
        return answer(500) if row == 0 and (len(sent) < 111 or not is_put_off) else None

    delivery = scripted_line(fate, 150, limits=patient(rows_put_off=10))
    outcome = delivery.deliver([event(seq, "u" if seq in stuck else f"u{seq}") for seq in range(150)])
    delivery.check(outcome)
    assert (outcome.delivered, outcome.unanswered, outcome.stopped_by) == (120, 30, None)
    assert arrivals(delivery)[-10:] == stuck[:10]
    assert not set(stuck[10:]) & set(delivery.sent)


# -- kills -------------------------------------------------------------------------------------------------------


@WIRES
@pytest.mark.parametrize("seed", range(4))
def test_order_holds_over_kills(line: MakeLine, seed: int, *, is_hook: bool) -> None:
    """After each kill a new run carries over, in order, all that the journal did not have as told."""
    limits = patient(checkpoint_s=9_999, tries_in_turn=3)
    faults = Faults.parse({**WEATHER, "seed": seed, "error_rate": 0.15})
    delivery = line(400, limits=limits, faults=faults, is_hook=is_hook)
    rows = traffic(400, 30, seed)
    told: set[int] = set()
    for checkpoints in (1, 2, 2, 10_000):
        told |= _told_until_killed(delivery, rows, told, checkpoints)
    check_order(delivery, rows)
    journal = delivery.journal
    assert told <= set(arrivals(delivery))
    assert {verdict.verdict for verdict in journal.verdicts.values()} <= {Verdict.DELIVERED, Verdict.UNANSWERED}
    assert all(shard.position == shard.last for shard in journal.shards)


def _told_until_killed(delivery: Line, rows: list[PendingRow], told: set[int], checkpoints: int) -> set[int]:
    """A run of what is not told yet, killed after so many checkpoints."""
    journal = delivery.journal = MemoryJournal(len(rows))
    journal.absent = frozenset(told)

    def permit() -> None:
        if journal.checkpoints >= checkpoints:
            raise LeaseLost("a kill leaves no time to record anything")

    journal.permit = permit
    delivery.deliver([row for row in rows if row.seq not in told])
    return set(journal.of(journal.is_told))
