"""Keeps the journal while rows are on their way: checkpoints, and no row sent beyond the reach they recorded."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from windsor_sync.delivery.shards import ShardTracker
from windsor_sync.ledger import RowVerdict, ShardProgress


class Journal(Protocol):
    """Records progress; called from a thread, raises LeaseLost when this run may no longer write."""

    def checkpoint(self, shards: Sequence[ShardProgress], decided: Sequence[RowVerdict]) -> None:
        """Record positions, reaches and verdicts atomically; a later verdict on a row replaces an earlier one."""
        ...

    def require(self) -> None:
        """Raise LeaseLost unless this run may send right now; called as every request leaves."""
        ...


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When a checkpoint is due."""

    window: int
    """rows beyond the position that one checkpoint lets go"""
    answers: int
    """so many answers since the last checkpoint call for the next"""
    every_s: float


class Recorder:
    """The trackers of a run's shards and what is to be recorded next; belongs to one event loop."""

    def __init__(self, journal: Journal, rhythm: Rhythm, on_recorded: Callable[[], None]) -> None:
        self._journal = journal
        self._rhythm = rhythm
        self._on_recorded = on_recorded
        self._trackers: dict[int, ShardTracker] = {}
        self._verdicts: dict[int, RowVerdict] = {}
        self._being_written: dict[int, RowVerdict] = {}
        self._answers = 0
        self._frontier: tuple[ShardTracker, int] | None = None
        self._is_over = False
        self._due = asyncio.Event()
        self._recorded = asyncio.Event()

    def open(self, shards: Sequence[ShardProgress]) -> None:
        """Start from what the ledger has."""
        self._trackers = {shard.shard: ShardTracker(shard) for shard in shards}

    def __getitem__(self, shard: int) -> ShardTracker:
        return self._trackers[shard]

    def may_go(self, shard: int, seq: int) -> bool:
        """Whether the next row of a shard may be sent by what is recorded; if not, the next checkpoint lets it go if it can."""
        tracker = self._trackers[shard]
        tracker.comes_next(seq)
        self._frontier = tracker, seq
        return seq < tracker.reach

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

    def answered(self, verdict: RowVerdict | None = None) -> None:
        """Count an answer; `verdict` where it was not a plain yes."""
        if verdict is not None:
            self._verdicts[verdict.seq] = verdict
        self._answers += 1
        self._call_if_due()

    def end(self) -> None:
        """No further checkpoint but the closing one; who waits for reach need not any more."""
        self._is_over = True
        self._due.set()
        self._recorded.set()

    async def keep(self) -> None:
        """Checkpoint when enough rows were answered, when someone waits for reach, and every few seconds."""
        while not self._is_over:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._rhythm.every_s):
                    await self._due.wait()
            self._due.clear()
            if not self._is_over:
                await self._checkpoint()

    async def close(self) -> None:
        """Record the end: exact positions, and the answers above them."""
        moment = datetime.now(UTC)
        marks = [tracker.closing() for tracker in self._trackers.values()]
        for tracker in self._trackers.values():
            self._verdicts.update((verdict.seq, verdict) for verdict in tracker.delivered_above(moment))
        if marks:
            await self._record(marks)

    def _call_if_due(self) -> None:
        """Wake the keeper, but not while a checkpoint would change nothing for who waits."""
        waits = self._frontier is not None and self._frontier[1] >= self._frontier[0].reach
        if self._answers >= self._rhythm.answers or (waits and self._can_let_go()):
            self._due.set()

    def _can_let_go(self) -> bool:
        assert self._frontier is not None
        tracker, seq = self._frontier
        return tracker.reachable(self._rhythm.window) > seq

    async def _checkpoint(self) -> None:
        marks = [mark for tracker in self._trackers.values() if (mark := tracker.news(self._window(tracker)))]
        if marks or self._verdicts:
            await self._record(marks)

    def _window(self, tracker: ShardTracker) -> int:
        """Only the shard being read gets reach: rows of the others would be in doubt after a crash for nothing."""
        return self._rhythm.window if self._frontier and self._frontier[0] is tracker else 0

    async def _record(self, marks: Sequence[ShardProgress]) -> None:
        self._being_written, self._verdicts, self._answers = self._verdicts, {}, 0
        try:
            await asyncio.to_thread(self._journal.checkpoint, marks, list(self._being_written.values()))
        except BaseException:
            self._verdicts = self._being_written | self._verdicts  # a position must never pass them unrecorded
            raise
        finally:
            self._being_written = {}
        for mark in marks:
            self._trackers[mark.shard].recorded(mark)
        self._on_recorded()
        self._recorded.set()
