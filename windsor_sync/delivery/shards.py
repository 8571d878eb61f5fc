"""Tracks the progress of each shard while its rows are answered out of order."""

from collections.abc import Container, Iterator

from windsor_sync.domain.progress import ShardProgress, Stretch, joined


class ShardTracker:
    """Follows the rows of one shard that are under way, and what the journal lets go of it.

    A row may be sent once a recorded mark has let it go. The marks keep back rows that wait behind an earlier row of their
    user: they would be in doubt after a crash although they were never sent.
    """

    def __init__(self, progress: ShardProgress) -> None:
        self.shard = progress.shard
        self.delivered = progress.delivered
        """rows with a yes"""
        self._inherited = progress
        self._recorded = progress
        self._next = self._let_go = progress.position
        """rows from here on are not let go"""
        self._open: dict[int, bool] = {}
        """rows without an answer, ascending, with whether they wait behind another one"""
        self._waiting = 0
        self._kept_back: frozenset[int] = frozenset()
        """open rows that a mark has kept back"""
        self._granted = self._let_go, self._kept_back
        """by the newest mark, once it is recorded"""
        self._doubted: set[int] = set()

    @property
    def position(self) -> int:
        """Every row below it has an answer."""
        return next(iter(self._open), self._next)

    @property
    def under_way(self) -> int:
        """Return how many rows have no answer, without those that wait behind another one."""
        return len(self._open) - self._waiting

    @property
    def ahead(self) -> int:
        """Return how many rows are let go beyond the last one taken."""
        return max(0, self._let_go - self._next)

    @property
    def is_at_its_end(self) -> bool:
        """Whether every row is let go."""
        return self._let_go >= self._recorded.last

    def inherits_doubt(self, seq: int) -> bool:
        """Whether an earlier try of the run may have sent the row: refusals of this try do not undo that."""
        return self._inherited.is_in_doubt(seq)

    def comes_next(self, seq: int) -> bool:
        """Whether the row may be taken; no row between the last one taken and this one is to be sent."""
        self._next = seq
        return seq < self._let_go

    def may_go(self, seq: int) -> bool:
        """Whether a row that was taken may be sent."""
        return seq not in self._kept_back

    def take(self, seq: int) -> None:
        """A row leaves the outbox; rows come in ascending order."""
        self._open[seq] = False
        self._next = seq + 1

    def waits(self, seq: int) -> None:
        """The row cannot be sent before another one has its answer."""
        self._open[seq] = True
        self._waiting += 1

    def is_free(self, seq: int) -> None:
        """The row does not wait any more."""
        self._waiting -= self._open[seq]
        self._open[seq] = False

    def sending(self, seq: int) -> None:
        """Record that from here on the row may have been applied."""
        self._doubted.add(seq)

    def not_applied(self, seq: int) -> None:
        """Its tries so far were refused or never left: no doubt remains."""
        self._doubted.discard(seq)

    def answered(self, seq: int, *, is_delivered: bool) -> None:
        """The row has its verdict."""
        self._waiting -= self._open.pop(seq)
        self._doubted.discard(seq)
        self.delivered += is_delivered

    def late_yes(self) -> None:
        """A row that had been set aside got its yes after all, and a verdict of its own."""
        self.delivered += 1

    def withdrawn(self) -> None:
        """A yes was none, or another row's; the row has a verdict of its own."""
        self.delivered -= 1

    def news(self, room: int, *, is_read: bool = True) -> ShardProgress | None:
        """Return what a checkpoint has to record, with `room` more rows let go; None when nothing is new.

        While the shard `is_read`, half of the room is for new rows. The rest is for rows that wait behind another one, the
        oldest first; the others are kept back from here on.
        """
        waiting = [seq for seq, waits in self._open.items() if waits] if self._waiting else []
        has_more = is_read and not self.is_at_its_end
        released = min(len(waiting), room // 2 if has_more else room, max(0, room - self.ahead))
        kept = frozenset(waiting[released:])
        fresh = self._next + room - released if has_more else 0
        let_go = min(max(self._let_go, fresh), self._recorded.last)
        self._kept_back |= kept
        self._granted = let_go, kept
        mark = self._mark(kept, max(self._inherited.reach, let_go, self._next), let_go)
        if mark != self._recorded:
            return mark
        self.recorded(mark)  # it was already: an earlier try of the run had let these rows go
        return None

    def recorded(self, mark: ShardProgress) -> None:
        """The journal has it: what it lets go may be sent."""
        self._recorded = mark
        self._let_go, self._kept_back = self._granted

    def closing(self) -> ShardProgress:
        """Return what the end of a run records: in doubt is what was sent, or was before."""
        never_sent = frozenset(seq for seq in self._open if seq not in self._doubted and not self.inherits_doubt(seq))
        reach = max(self.position, self._inherited.reach, *(seq + 1 for seq in self._doubted))
        return self._mark(never_sent, reach, self._next)

    def _mark(self, kept: Container[int], reach: int, let_go: int) -> ShardProgress:
        given = self._recorded
        stretches = joined(self._stretches(kept, let_go))
        return ShardProgress(self.shard, given.first, given.last, self.position, reach, self.delivered, stretches)

    def _stretches(self, kept: Container[int], let_go: int) -> Iterator[Stretch]:
        """Return the stretches from the position on that are not in doubt, with those that an earlier try of the run left."""
        answered_from = self.position
        for seq in self._open:
            yield Stretch(answered_from, seq, is_answered=True)
            answered_from = seq + 1
            if seq in kept:
                yield Stretch(seq, answered_from, is_answered=False)
        yield Stretch(answered_from, self._next, is_answered=True)
        for stretch in self._inherited.stretches:
            yield stretch._replace(first=max(stretch.first, self._next if stretch.is_answered else let_go))
