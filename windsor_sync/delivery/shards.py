"""How far each shard has come while its rows are answered out of order."""

from collections import deque
from collections.abc import Sequence
from datetime import datetime

from windsor_sync.ledger import RowVerdict, ShardProgress, Verdict


class ShardTracker:
    """Follows the rows of one shard that are under way; `position` only passes rows that have an answer."""

    def __init__(self, progress: ShardProgress) -> None:
        self.shard = progress.shard
        self.reach = progress.reach
        self.delivered = progress.delivered
        """rows with a yes below the position, or with a recorded verdict of their own"""
        self._recorded = progress
        self._inherited = progress.reach
        self._next = progress.position
        self._under_way: deque[int] = deque()
        self._answered: dict[int, bool] = {}
        self._doubted: set[int] = set()

    @property
    def position(self) -> int:
        """Every row below it has an answer."""
        return self._under_way[0] if self._under_way else self._next

    def inherits_doubt(self, seq: int) -> bool:
        """Whether an earlier try of the run may have sent the row: refusals of this try do not undo that."""
        return seq < self._inherited

    def reachable(self, window: int) -> int:
        """How far the next checkpoint may let rows go."""
        return max(self.reach, min(self.position + window, self._recorded.last))

    def comes_next(self, seq: int) -> None:
        """No row between the last one taken and this one is to be sent: they do not keep the position back."""
        self._next = seq

    def take(self, seq: int) -> None:
        """A row leaves the outbox; rows come in ascending order."""
        self._under_way.append(seq)
        self._next = seq + 1

    def sending(self, seq: int) -> None:
        """From here on the row may have been applied."""
        self._doubted.add(seq)

    def not_applied(self, seq: int) -> None:
        """Its tries so far were refused or never left: no doubt remains."""
        self._doubted.discard(seq)

    def answered(self, seq: int, *, is_delivered: bool) -> None:
        """The row has its verdict."""
        self._answered[seq] = is_delivered
        self._doubted.discard(seq)
        while self._under_way and self._under_way[0] in self._answered:
            self.delivered += self._answered.pop(self._under_way.popleft())

    def late_yes(self) -> None:
        """A row that had been set aside got its yes after all, and a verdict of its own."""
        self.delivered += 1

    def news(self, window: int) -> ShardProgress | None:
        """What a checkpoint has to record: the position, and permission to send `window` rows beyond it."""
        mark = self._mark(self.reachable(window), self.delivered)
        return mark if mark != self._recorded else None

    def recorded(self, mark: ShardProgress) -> None:
        """The journal has it: rows below its reach may go."""
        self._recorded = mark
        self.reach = mark.reach

    def closing(self) -> ShardProgress:
        """What the end of a run records: nothing beyond the last row in doubt may have been sent."""
        reach = max(self.position, self._inherited, *(seq + 1 for seq in self._doubted))
        return self._mark(reach, self.delivered + sum(self._answered.values()))

    def delivered_above(self, moment: datetime) -> Sequence[RowVerdict]:
        """Rows above the position that have a yes, so that they are not sent again."""
        return [
            RowVerdict(seq, Verdict.DELIVERED, in_doubt=False, answered_at=moment)
            for seq, is_delivered in self._answered.items()
            if is_delivered
        ]

    def _mark(self, reach: int, delivered: int) -> ShardProgress:
        given = self._recorded
        return ShardProgress(self.shard, given.first, given.last, self.position, reach, delivered)
