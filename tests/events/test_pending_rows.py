"""The rows of an events outbox as rows, and what is left of it."""

import json

import pytest
from logs import Done, Logs, head, track

from windsor_sync.delivery.engine import PendingRow
from windsor_sync.diff.duckdb import Remains
from windsor_sync.domain.progress import ShardProgress
from windsor_sync.errors import WindsorSyncError
from windsor_sync.events import sealing
from windsor_sync.outbox import events as outbox
from windsor_sync.outbox.events import pending_rows, remaining
from windsor_sync.state.ledger import Verdict

ALIAS = {
    "type": "alias",
    "userId": "u-2",
    "previousId": "a-1",
    "messageId": "alias",
    "timestamp": "2025-06-01T00:00:02Z",
}


def read(
    done: Done, shard: ShardProgress | None = None, decided: frozenset[int] = frozenset(), *, out: str = ""
) -> list[PendingRow]:
    shard = shard or ShardProgress(3, 0, done.intake.rows, 0, 0)
    chunks = pending_rows(done.files, shard, decided, lambda user: user == out)
    return [row for chunk in chunks for row in chunk]


def test_a_row_carries_the_very_text_its_ordering_keys_and_its_call(logs: Logs) -> None:
    text = json.dumps(track("m-1", "u-1", anonymousId="a-1"), indent=None)
    logs.write(text, ALIAS)
    first, alias = read(logs.take_in())
    assert (first.shard, first.seq, first.call, first.messages) == (3, 0, "track", (text.encode(),))
    assert first.ordering_keys == ("uu-1", "aa-1")
    assert (alias.call, alias.ordering_keys) == ("alias", ("uu-2", "ua-1", "aa-1"))


def test_what_a_message_says_of_a_user_is_private(logs: Logs) -> None:
    traits = {"name": "Ada Lovelace", "email": "ada@example.com"}
    context = {"traits": traits, "page": {"url": "https://acme.example/of/Ada"}, "ip": "8.8.8.8"}
    logs.write(track("m-1", "u-1", properties={"voucher": "SECRET-7"}, context=context, name="Basket of Ada"))
    (row,) = read(logs.take_in())
    private = " ".join(one for one in row.private if one)
    assert all(
        word in private
        for word in ("u-1", "Ada Lovelace", "ada@example.com", "SECRET-7", "of/Ada", "8.8.8.8", "Basket of Ada")
    )


def test_who_is_suppressed_meanwhile_or_forgotten_gets_no_message(logs: Logs) -> None:
    logs.write(track("m-1", "u-1"), ALIAS, track("m-3", "u-3", second=3))
    done = logs.take_in()
    assert [len(row.messages) for row in read(done, out="u-1")] == [0, 1, 1]
    assert [len(row.messages) for row in read(done, out="u-2")] == [1, 0, 1]
    assert [len(row.messages) for row in read(done, out="a-1")] == [1, 0, 1]  # an alias is about both


def test_what_has_a_verdict_or_is_held_or_lies_outside_the_stretch_is_not_read(logs: Logs) -> None:
    logs.write(track("m-1"), track("m-2", second=1), ALIAS, *(track(f"n-{number}", second=9) for number in range(4)))
    done = logs.take_in(holds_alias=True)
    assert done.rows("status")[2] == "held"
    shard = ShardProgress(0, 0, 6, position=1, reach=1)
    assert [row.seq for row in read(done, shard, frozenset({4}))] == [1, 3, 5]


def test_chunks_meet_row_groups_wherever_reading_starts(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "CHUNK_ROWS", 4)
    logs.write(*(track(f"m-{number}", second=number) for number in range(11)))
    done = logs.take_in()
    chunks = [
        [row.seq for row in chunk]
        for chunk in pending_rows(done.files, ShardProgress(0, 0, 11, 2, 2), frozenset(), lambda _: False)
    ]
    assert chunks == [[2, 3], [4, 5, 6, 7], [8, 9, 10]]


def test_what_remains_of_a_run_is_counted_row_by_row(logs: Logs) -> None:
    logs.write(*(track(f"m-{number}", second=number) for number in range(8)), {**ALIAS, "timestamp": "2025-06-02"})
    done = logs.take_in(holds_alias=True)
    assert remaining(head(done)) == Remains(owed=8, withheld=1, rejected=0, in_doubt=0)
    ledger = head(
        done,
        3,
        5,
        row_0=Verdict.REJECTED,
        row_1=Verdict.UNANSWERED,
        row_5=Verdict.DELIVERED,
        row_6=Verdict.SUPPRESSED,
    )
    assert remaining(ledger) == Remains(owed=4, withheld=2, rejected=1, in_doubt=2)
    assert remaining(head(done, 9)) == Remains(owed=0, withheld=1, rejected=0, in_doubt=0)


def test_an_outbox_that_lost_a_file_is_refused(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "STRETCH_WEIGHT", 2)
    logs.write(*(track(f"m-{number}", second=number) for number in range(6)))
    done = logs.take_in()
    (done.outbox / "000001.parquet").unlink()
    with pytest.raises(WindsorSyncError, match="does not have its 6 rows"):
        remaining(head(done))
    with pytest.raises(WindsorSyncError, match="does not have its 6 rows"):
        logs.take_in(previous=head(done))
