"""A shard's bookkeeping against a model that remembers everything."""

from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from windsor_sync.delivery.shards import ShardTracker
from windsor_sync.domain.progress import ShardProgress, Stretch

FIRST, LAST, INHERITED = 100, 140, 116
INHERITED_STRETCHES = tuple(
    Stretch(first, last, is_answered)
    for first, last, is_answered in [(107, 109, True), (109, 111, False), (120, 122, True)]
)


@dataclass
class Row:
    """What really happened to one row."""

    may_be_applied: bool = False
    """sent, and not refused since"""
    yes: bool | None = None
    waits: bool = False


@dataclass
class Ledger:
    """What is recorded."""

    mark: ShardProgress
    refusals: set[int] = field(default_factory=set)

    def is_told(self, seq: int) -> bool:
        return self.mark.has_answer(seq) and seq not in self.refusals

    def is_in_doubt(self, seq: int) -> bool:
        return self.mark.is_in_doubt(seq) and seq not in self.refusals


class Shard(RuleBasedStateMachine):
    """Rows of one shard are taken, sent, refused and answered in any order, or wait; checkpoints come in between."""

    def __init__(self) -> None:
        super().__init__()
        given = ShardProgress(3, FIRST, LAST, FIRST + 5, INHERITED, 5, INHERITED_STRETCHES)
        self.given = given
        self.tracker = ShardTracker(given)
        self.ledger = Ledger(given)
        self.rows: dict[int, Row] = {}
        self.unrecorded_refusals: set[int] = set()
        self.being_written: ShardProgress | None = None
        self.next = given.position

    def open_rows(self) -> list[int]:
        return [seq for seq, row in self.rows.items() if row.yes is None]

    @rule(skipped=st.integers(0, 2), waits=st.booleans())
    def take(self, skipped: int, waits: bool) -> None:
        seq = next((seq for seq in range(self.next + skipped, LAST) if not self.given.has_answer(seq)), LAST)
        if seq == LAST:
            return
        self.next = seq
        if not self.tracker.comes_next(seq):
            return
        self.rows[seq] = Row()
        self.next = seq + 1
        self.tracker.take(seq)
        if waits:
            self.tracker.waits(seq)
            self.rows[seq].waits = True

    @precondition(lambda self: any(self.rows[seq].waits for seq in self.open_rows()))
    @rule(data=st.data())
    def wait_no_more(self, data: st.DataObject) -> None:
        seq = data.draw(st.sampled_from([seq for seq in self.open_rows() if self.rows[seq].waits]))
        self.rows[seq].waits = False
        self.tracker.is_free(seq)

    @precondition(lambda self: self.open_rows())
    @rule(data=st.data(), outcome=st.sampled_from(["sent", "refused", "yes", "no"]))
    def go_on(self, data: st.DataObject, outcome: str) -> None:
        seq = data.draw(st.sampled_from(self.open_rows()))
        row = self.rows[seq]
        if outcome != "no" and (row.waits or not self.tracker.may_go(seq)):
            return
        if outcome in ("yes", "no"):
            row.yes = outcome == "yes"
            self.tracker.answered(seq, is_delivered=row.yes)
            if not row.yes:
                self.unrecorded_refusals.add(seq)
        elif outcome == "sent":
            row.may_be_applied = True
            self.tracker.sending(seq)
        else:
            row.may_be_applied = False
            self.tracker.not_applied(seq)

    @precondition(lambda self: self.being_written is None)
    @rule(room=st.integers(0, 10), is_read=st.booleans())
    def begin_checkpoint(self, room: int, is_read: bool) -> None:
        before = self.tracker.under_way + self.tracker.ahead
        mark = self.tracker.news(room, is_read=is_read)
        self.ledger.refusals |= self.unrecorded_refusals
        self.unrecorded_refusals = set()
        if mark is not None:
            assert mark.delivered == 5 + sum(row.yes is True for row in self.rows.values())
            in_doubt = {seq for seq in range(FIRST, LAST) if mark.is_in_doubt(seq) and not self.given.is_in_doubt(seq)}
            assert len(in_doubt) <= before + room, "more is in doubt than was let go"
            self.being_written = mark

    @precondition(lambda self: self.being_written is not None)
    @rule()
    def end_checkpoint(self) -> None:
        assert self.being_written is not None
        assert self.being_written.position >= self.ledger.mark.position
        self.ledger.mark = self.being_written
        self.tracker.recorded(self.being_written)
        self.being_written = None

    @rule()
    def end(self) -> None:
        """Whatever a closing record would say now has to hold too; the shard then goes on."""
        closing = Ledger(self.tracker.closing(), self.ledger.refusals | self.unrecorded_refusals)
        assert FIRST <= closing.mark.position <= closing.mark.reach <= LAST
        for seq in range(closing.mark.position, LAST):
            row = self.rows.get(seq)
            may_be_applied = row is not None and row.may_be_applied and row.yes is None
            was_before = self.given.is_in_doubt(seq) and (row.yes is None if row else seq >= self.next)
            assert closing.mark.is_in_doubt(seq) == (may_be_applied or was_before)
        self.check(closing)
        for seq, row in self.rows.items():
            assert closing.is_told(seq) == (row.yes is True)

    def check(self, ledger: Ledger) -> None:
        for seq, row in self.rows.items():
            if row.yes is None:
                assert not ledger.mark.has_answer(seq), "a row without an answer counts as answered"
        for seq in range(self.next, LAST):
            assert not self.given.is_in_doubt(seq) or ledger.is_in_doubt(seq), "an earlier try may have sent it"
            assert not self.given.has_answer(seq) or ledger.is_told(seq), "an answer of an earlier try is forgotten"

    @invariant()
    def rows_that_were_sent_and_have_no_answer_are_in_doubt(self) -> None:
        marks = [self.ledger, *([Ledger(self.being_written, self.ledger.refusals)] if self.being_written else [])]
        for ledger in marks:  # a kill may come before or after the commit
            self.check(ledger)
            for seq, row in self.rows.items():
                if row.may_be_applied and row.yes is None:
                    assert ledger.is_in_doubt(seq)
                if ledger.is_told(seq):
                    assert row.yes is True


TestShard = Shard.TestCase
