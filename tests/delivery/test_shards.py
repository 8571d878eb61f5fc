"""A shard's bookkeeping against a model that remembers everything."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from windsor_sync.delivery.shards import ShardTracker
from windsor_sync.ledger import ShardProgress

FIRST, LAST, INHERITED = 100, 140, 107


@dataclass
class Row:
    """What really happened to one row."""

    may_be_applied: bool = False
    """sent, and not refused since"""
    yes: bool | None = None


@dataclass
class Ledger:
    """What is recorded."""

    mark: ShardProgress
    yeses: set[int] = field(default_factory=set)
    refusals: set[int] = field(default_factory=set)

    def is_told(self, seq: int) -> bool:
        return seq in self.yeses or (seq < self.mark.position and seq not in self.refusals)

    def is_in_doubt(self, seq: int) -> bool:
        return seq not in self.yeses | self.refusals and self.mark.position <= seq < self.mark.reach


class Shard(RuleBasedStateMachine):
    """Rows of one shard are taken, sent, refused and answered in any order; checkpoints come in between."""

    def __init__(self) -> None:
        super().__init__()
        given = ShardProgress(3, FIRST, LAST, position=FIRST + 5, reach=INHERITED, delivered=5)
        self.tracker = ShardTracker(given)
        self.ledger = Ledger(given)
        self.rows: dict[int, Row] = {}
        self.unrecorded_refusals: set[int] = set()
        self.next = given.position

    def open_rows(self) -> list[int]:
        return [seq for seq, row in self.rows.items() if row.yes is None]

    @precondition(lambda self: self.next < self.ledger.mark.reach)
    @rule(skipped=st.integers(0, 2))
    def take(self, skipped: int) -> None:
        seq = min(self.next + skipped, self.ledger.mark.reach - 1)
        self.rows[seq] = Row()
        self.next = seq + 1
        self.tracker.take(seq)

    @precondition(lambda self: self.open_rows())
    @rule(data=st.data(), outcome=st.sampled_from(["sent", "refused", "yes", "no"]))
    def go_on(self, data: st.DataObject, outcome: str) -> None:
        seq = data.draw(st.sampled_from(self.open_rows()))
        row = self.rows[seq]
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

    @rule(window=st.integers(1, 10))
    def checkpoint(self, window: int) -> None:
        mark = self.tracker.news(window)
        self.ledger.refusals |= self.unrecorded_refusals
        self.unrecorded_refusals = set()
        if mark is not None:
            assert mark.position >= self.ledger.mark.position
            assert mark.reach <= max(mark.position + window, self.ledger.mark.reach)
            self.ledger.mark = mark
            self.tracker.recorded(mark)
        assert self.tracker.news(window) is None
        self.delivered_below(self.ledger)

    @rule()
    def end(self) -> None:
        """Whatever a closing record would say now has to hold too; the shard then goes on."""
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        closing = Ledger(
            self.tracker.closing(),
            {verdict.seq for verdict in self.tracker.delivered_above(moment)},
            self.ledger.refusals | self.unrecorded_refusals,
        )
        assert FIRST <= closing.mark.position <= closing.mark.reach <= LAST
        in_doubt = [seq for seq, row in self.rows.items() if row.may_be_applied and row.yes is None]
        assert closing.mark.reach == max(closing.mark.position, INHERITED, *(seq + 1 for seq in in_doubt))
        self.check(closing)
        self.delivered_below(closing)
        for seq, row in self.rows.items():
            assert closing.is_told(seq) == (row.yes is True)

    def delivered_below(self, ledger: Ledger) -> None:
        assert ledger.mark.delivered == 5 + sum(
            row.yes is True and (seq < ledger.mark.position or seq in ledger.yeses) for seq, row in self.rows.items()
        )

    def check(self, ledger: Ledger) -> None:
        for seq, row in self.rows.items():
            if row.yes is None:
                assert ledger.mark.position <= seq, "the position passed a row without an answer"
                assert not ledger.is_told(seq)
        for seq in range(self.next, INHERITED):
            assert ledger.is_in_doubt(seq), "an earlier try may have sent it"

    @invariant()
    def rows_that_were_sent_and_have_no_answer_are_in_doubt(self) -> None:
        self.check(self.ledger)
        for seq, row in self.rows.items():
            if row.may_be_applied and row.yes is None:
                assert self.ledger.is_in_doubt(seq)
            if self.ledger.is_told(seq):
                assert row.yes is True


TestShard = Shard.TestCase
