"""The progress of delivering an outbox: which of its rows have an answer, and which are in doubt. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

FIRST_SHARD = 0
"""The shard that is delivered before all others. It has every `false` of an outbox that has both `false` and `true`."""


class Stretch(NamedTuple):
    """Rows [first, last) at or above a shard's position that are not in doubt."""

    first: int
    last: int
    is_answered: bool
    """False: the rows were not let go yet"""


class Part(NamedTuple):
    """Rows [first, last) of a shard: those below `position` have an answer, those from there to `reach` are in doubt."""

    first: int
    last: int
    position: int
    reach: int


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """The progress of delivering rows [first, last) of an outbox."""

    shard: int
    first: int
    last: int
    position: int
    """rows below it have an answer"""
    reach: int
    """rows at or above it were never sent; those between position and reach may have been, but for `stretches`"""
    delivered: int = 0
    """rows with a yes, as counted while they came in"""
    stretches: tuple[Stretch, ...] = ()
    """ascending, without overlaps"""

    def parts(self) -> Iterator[Part]:
        """Yield parts in which a position and a reach say everything; together they are all rows."""
        start, position = self.first, self.position
        for stretch in (*self.stretches, Stretch(self.last, self.last, is_answered=True)):
            if start < stretch.first:
                yield Part(start, stretch.first, position, min(max(self.reach, position), stretch.first))
            if stretch.first < stretch.last:
                end = stretch.last if stretch.is_answered else stretch.first
                yield Part(*stretch[:2], end, end)
            start = position = stretch.last

    def stretch_of(self, seq: int) -> Stretch | None:
        """Return the stretch that holds a row."""
        at = bisect_right(self.stretches, seq, key=lambda stretch: stretch.first) - 1
        found = self.stretches[at] if at >= 0 else None
        return found if found and seq < found.last else None

    def has_answer(self, seq: int) -> bool:
        """Whether a row has its answer, or none is wanted."""
        found = self.stretch_of(seq)
        return seq < self.position or (found is not None and found.is_answered)

    def is_in_doubt(self, seq: int) -> bool:
        """Whether a row may have been sent and has no answer."""
        return self.position <= seq < self.reach and self.stretch_of(seq) is None

    def chunks(self, rows: int) -> Iterator[tuple[int, int]]:
        """Yield [start, end) of each multiple of `rows` in which some row has no answer; an outbox is read in these."""
        answered = [stretch for stretch in self.stretches if stretch.is_answered]
        start = self.position
        for stretch in [*answered, Stretch(self.last, self.last, is_answered=True)]:
            while start < stretch.first:
                end = min((start // rows + 1) * rows, self.last)
                yield start, end
                start = end
            start = max(start, stretch.last)

    def taken_back(self, rows: Mapping[int, bool]) -> "ShardProgress":
        """Return the progress with rows, each with whether it is in doubt, that have no answer after all."""
        if not rows:
            return self
        owed = sorted(rows)
        position = min(self.position, owed[0])
        reach = max(self.reach, *(seq + 1 for seq in owed if rows[seq]), 0)
        before = [Stretch(position, self.position, is_answered=True)]
        pieces: list[Stretch] = []
        start = position
        for stretch in (*before, *self.stretches, Stretch(self.last, self.last, is_answered=True)):
            never_sent = Stretch(max(start, self.reach), min(stretch.first, reach), is_answered=False)
            pieces += (*_without(never_sent, owed, rows), *_without(stretch, owed, rows))
            start = stretch.last
        return replace(self, position=position, reach=reach, stretches=joined(pieces))


def _without(stretch: Stretch, owed: list[int], in_doubt: Mapping[int, bool]) -> Iterator[Stretch]:
    """A stretch without the rows that are owed; those that were never sent are a stretch of their own."""
    inside = owed[bisect_left(owed, stretch.first) : bisect_left(owed, stretch.last)]
    for before, seq in pairwise([stretch.first - 1, *inside, stretch.last]):
        yield Stretch(before + 1, seq, stretch.is_answered)
        if seq < stretch.last and not in_doubt[seq]:
            yield Stretch(seq, seq + 1, is_answered=False)


def joined(stretches: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """Join neighbours of one kind, and leave out empty ones."""
    found: list[Stretch] = []
    for stretch in stretches:
        if stretch.first >= stretch.last:
            continue
        if found and found[-1].last == stretch.first and found[-1].is_answered == stretch.is_answered:
            found[-1] = found[-1]._replace(last=stretch.last)
        else:
            found.append(stretch)
    return tuple(found)
