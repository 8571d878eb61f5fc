"""Keeps the journal while rows are on their way: checkpoints, and no row is sent before one of them has let it go.

A checkpoint lets go as many rows as are sent until the next one is written, and that one is begun in time, so that nobody
waits for it. What is let go and has no answer is in doubt after a crash: as many rows as were answered in the last quarter
of a second, and those in flight.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from windsor_sync.delivery.shards import ShardTracker
from windsor_sync.domain.progress import ShardProgress
from windsor_sync.state.ledger import RowVerdict

AHEAD_S = 0.25
"""So long the rows last that a checkpoint lets go; the next one is begun when half of them are taken."""


class Journal(Protocol):
    """Records progress; called from a thread, raises LeaseLost when this run may no longer write."""

    def checkpoint(self, shards: Sequence[ShardProgress], decided: Sequence[RowVerdict]) -> None:
        """Record progress and verdicts atomically; a later verdict on a row replaces an earlier one."""
        ...

    def require(self) -> None:
        """Raise LeaseLost unless this run may send right now; called as every request leaves."""
        ...


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The rhythm of checkpoints: when one is due, and how many rows it lets go."""

    in_flight: int
    """rows, at most"""
    batch_size: int
    """rows that go in one request: a checkpoint lets go whole requests"""
    most_ahead: int
    """rows beyond those in flight, at most"""
    every_s: float


class Pace:
    """The number of rows that were answered in the last quarter of a second in which there was something to answer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows = 0.0
        self._at: float | None = None
        """up to when time is counted; None while there is nothing to answer"""

    def begins(self) -> None:
        """Count time: there is something to answer."""
        self._at = self._clock() if self._at is None else self._at

    def ends(self) -> None:
        """Count no time: there is nothing to answer."""
        self.rows()
        self._at = None

    def answered(self) -> None:
        """Count an answer."""
        self._rows += 1

    def rows(self) -> int:
        """Return the count; what is older fades."""
        if self._at is not None:
            now = self._clock()
            self._rows *= math.exp((self._at - now) / AHEAD_S)
            self._at = now
        return round(self._rows)


class Recorder:
    """The trackers of a run's shards and what is to be recorded next; belongs to one event loop."""

    def __init__(
        self,
        journal: Journal,
        rhythm: Rhythm,
        on_recorded: Callable[[], None],
        is_paced: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_paced`: whether requests wait for the rate."""
        self._journal = journal
        self._is_paced = is_paced
        self._rhythm = rhythm
        self._on_recorded = on_recorded
        self._trackers: dict[int, ShardTracker] = {}
        self._verdicts: dict[int, RowVerdict] = {}
        self._being_written: dict[int, RowVerdict] = {}
        self._is_writing = False
        self._pace = Pace()
        self._ahead = 0
        """rows beyond those in flight that the newest checkpoint lets go"""
        self._answers = 0
        """since that checkpoint"""
        self._frontier: ShardTracker | None = None
        """the shard that is read"""
        self._is_waited_for = False
        """somebody has nothing to send before the next checkpoint"""
        self._is_over = False
        self._due = asyncio.Event()
        self._recorded = asyncio.Event()

    def open(self, shards: Sequence[ShardProgress]) -> None:
        """Start from what the ledger has."""
        self._trackers = {shard.shard: ShardTracker(shard) for shard in shards}

    def __getitem__(self, shard: int) -> ShardTracker:
        return self._trackers[shard]

    # -- rows ------------------------------------------------------------------------------------------------

    def comes_next(self, shard: int, seq: int) -> bool:
        """Whether the next row of a shard may be taken; if not, the next checkpoint lets it go if it can."""
        self._frontier = self._trackers[shard]
        is_let_go = self._frontier.comes_next(seq)
        self._is_waited_for |= not is_let_go
        return is_let_go

    def take(self, shard: int, seq: int) -> None:
        """A row leaves the outbox."""
        self._pace.begins()
        self._trackers[shard].take(seq)
        self._call_if_due()

    def lets_go_next(self) -> None:
        """Call for a checkpoint: a row that was kept back does not wait any more."""
        self._due.set()

    def settled(self, shard: int, seq: int, *, is_delivered: bool) -> None:
        """A row has its answer."""
        self._trackers[shard].answered(seq, is_delivered=is_delivered)
        self._pace.answered()
        if not self._under_way:
            self._pace.ends()

    def answered(self, verdict: RowVerdict | None = None) -> None:
        """Count an answer; `verdict` where it was not a plain yes."""
        if verdict is not None:
            self._verdicts[verdict.seq] = verdict
        self._answers += 1
        self._call_if_due()

    # -- who waits -------------------------------------------------------------------------------------------

    async def news(self) -> None:
        """Return after the next checkpoint or nudge, or when nothing more will be recorded."""
        if not self._is_over:
            self._recorded.clear()
            self._call_if_due()
            await self._recorded.wait()

    def nudge(self) -> None:
        """Wake who waits for news: something besides the journal has changed."""
        self._recorded.set()

    async def all_recorded(self) -> None:
        """Return once every verdict so far is in the journal, or when nothing more will be recorded."""
        while (self._verdicts or self._being_written) and not self._is_over:
            self._recorded.clear()
            self._due.set()
            await self._recorded.wait()

    async def all_answers_recorded(self) -> None:
        """Return once every answer so far is in the journal, or when nothing more will be recorded."""
        while (self._answers or self._is_writing) and not self._is_over:
            self._recorded.clear()
            self._due.set()
            await self._recorded.wait()

    # -- checkpoints -----------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Checkpoint when what was let go is half used up, when someone waits for more, and every few seconds."""
        while not self._is_over:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._rhythm.every_s):
                    await self._due.wait()
            self._due.clear()
            if not self._is_over:
                await self._checkpoint()

    def end(self) -> None:
        """No further checkpoint but the closing one; who waits for one need not any more."""
        self._is_over = True
        self._due.set()
        self._recorded.set()

    async def close(self) -> None:
        """Record the end: exactly what has an answer and what is in doubt."""
        marks = [tracker.closing() for tracker in self._trackers.values()]
        if marks:
            await self._record(marks)
        while self._verdicts:  # answers that were taken back meanwhile
            await self._record([tracker.closing() for tracker in self._trackers.values()])

    @property
    def _under_way(self) -> int:
        return sum(tracker.under_way for tracker in self._trackers.values())

    @property
    def _room(self) -> int:
        """Return how many rows may be let go now."""
        return max(0, self._rhythm.in_flight + self._ahead - self._under_way)

    def _call_if_due(self) -> None:
        """Wake the keeper when half of what was let go is used up and as much can follow, or when somebody waits.

        Where requests wait for the rate there is time: until all of it is used up, or half of the workers are idle.
        """
        tracker = self._frontier
        if tracker is None or self._due.is_set():
            return
        if self._is_paced():
            has_idle = self._is_waited_for and 2 * self._under_way <= self._rhythm.in_flight
            is_due = has_idle or self._answers >= max(self._ahead, 1)
        else:
            is_due = self._is_waited_for or 2 * tracker.ahead <= self._ahead <= 2 * self._answers
        if is_due and not tracker.is_at_its_end and self._room > tracker.ahead:
            self._due.set()

    async def _checkpoint(self) -> None:
        batches = math.ceil(min(self._pace.rows(), self._rhythm.most_ahead) / self._rhythm.batch_size)
        self._ahead = batches * self._rhythm.batch_size
        self._is_waited_for = False
        room = self._room
        # Of a shard that is not being read nothing new is let go: it would be in doubt after a crash for nothing.
        news = (each.news(room, is_read=each is self._frontier) for each in self._trackers.values())
        marks = [mark for mark in news if mark]
        if marks or self._verdicts:
            await self._record(marks)
        else:
            self._answers = 0
        self._recorded.set()

    async def _record(self, marks: Sequence[ShardProgress]) -> None:
        self._being_written, self._verdicts, self._answers = self._verdicts, {}, 0
        self._is_writing = True
        try:
            await asyncio.to_thread(self._journal.checkpoint, marks, list(self._being_written.values()))
        except BaseException:
            self._verdicts = self._being_written | self._verdicts  # a position must never pass them unrecorded
            raise
        finally:
            self._being_written, self._is_writing = {}, False
        for mark in marks:
            self._trackers[mark.shard].recorded(mark)
        self._on_recorded()
        self._recorded.set()
