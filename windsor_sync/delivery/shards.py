"""How far each shard has come while its rows are answered out of order."""

from collections import deque
from collections.abc import Sequence
from datetime import datetime

from windsor_sync.ledger import RowVerdict, ShardProgress, Verdict


class ShardTracker:
    """Follows the rows of one shard that are under way; `position` only passes rows that have an answer."""

    def __init__(self, progress: ShardProgress) -> None:
        self.shard = progress.shard
        self.first = progress.first
        self.last = progress.last
        self.reach = progress.reach
        self.delivered = progress.delivered
        self._next = progress.position
        self._under_way: deque[int] = deque()
        self._answered: dict[int, bool] = {}
        self._doubted: set[int] = set()
        self._marked = -1

    @property
    def position(self) -> int:
        """Every row below it has an answer."""
        return self._under_way[0] if self._under_way else self._next

    @property
    def has_moved(self) -> bool:
        """Whether the position changed since the last mark."""
        return self._marked != self.position

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
        self.delivered += is_delivered
        while self._under_way and self._under_way[0] in self._answered:
            del self._answered[self._under_way.popleft()]

    def progress(self, window: int) -> ShardProgress:
        """What a checkpoint records: the position, and permission to send `window` rows beyond it."""
        position = self.position
        self._marked = position
        reach = max(self.reach, min(position + window, self.last))
        return ShardProgress(self.shard, self.first, self.last, position, reach, self.delivered)

    def closing(self) -> ShardProgress:
        """What the end of a run records: nothing beyond the last row in doubt may have been sent."""
        position = self.position
        reach = max(position, *(seq + 1 for seq in self._doubted)) if self._doubted else position
        return ShardProgress(self.shard, self.first, self.last, position, reach, self.delivered)

    def delivered_above(self, moment: datetime) -> Sequence[RowVerdict]:
        """Rows above the position that have a yes, so that they are not sent again."""
        return [
            RowVerdict(seq, Verdict.DELIVERED, in_doubt=False, answered_at=moment)
            for seq, is_delivered in self._answered.items()
            if is_delivered
        ]
