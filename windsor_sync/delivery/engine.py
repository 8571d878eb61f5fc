"""Delivers parcels with a bounded number of requests in flight, and checkpoints what was answered.

A parcel is one row of an outbox: usually one message. Workers take parcels in order and answer them in any order;
a row is sent only below the `reach` that a checkpoint has recorded, so that after a crash we know which rows may
have been applied. The engine stops taking parcels when asked to, when the lease is lost, when Windsor refuses the key
or everything from the start, or when it has not given a useful answer for too long.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from windsor_sync.delivery.rate import Rate
from windsor_sync.delivery.redaction import redacted
from windsor_sync.delivery.shards import ShardTracker
from windsor_sync.delivery.transport import Transport
from windsor_sync.delivery.verdicts import Answer, Decision, decide, may_have_been_applied
from windsor_sync.delivery.wires import Wire
from windsor_sync.errors import CredentialsRefused, DestinationUnavailable, MessagesRejected, WindsorSyncError
from windsor_sync.ledger import RowVerdict, ShardProgress, Verdict

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 60.0


class Parcel(NamedTuple):
    """One row of an outbox on its way."""

    shard: int
    seq: int
    messages: tuple[bytes, ...]
    private: tuple[str | None, ...]
    """what Windsor's words must not repeat"""


class Journal(Protocol):
    """Records progress; called from a thread, raises LeaseLost when this run may no longer write."""

    def checkpoint(self, shards: Sequence[ShardProgress], decided: Sequence[RowVerdict]) -> None:
        """Record positions, reaches and verdicts atomically."""
        ...

    def require(self) -> None:
        """Raise LeaseLost unless this run may send right now; called before every request."""
        ...


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How hard the engine pushes, and for how long."""

    max_in_flight: int = 64
    checkpoint_rows: int = 1_000
    """answers between two checkpoints: what is repeated at most after a kill, besides what is in flight"""
    checkpoint_s: float = 2.0
    give_up_after_s: float = 600.0
    """without any useful answer the destination is unavailable; a single row is left owed after as long"""
    drain_s: float = 4.0
    """how long requests in flight may take to answer after a stop (Airflow kills five seconds after SIGTERM)"""
    rejections_to_stop: int = 50
    """so many rejections in a row from the start of a run mean that the messages, not the users, are wrong"""


@dataclass(slots=True)
class Delivery:
    """What an engine run came to."""

    delivered: int = 0
    rejected: int = 0
    unanswered: int = 0
    requests: int = 0
    stopped_by: WindsorSyncError | None = None
    was_interrupted: bool = False


class Engine:
    """Delivers one outbox (or a task's share of it); use once."""

    def __init__(
        self,
        *,
        wire: Wire,
        transport: Transport,
        rate: Rate,
        journal: Journal,
        limits: EngineLimits,
        on_progress: Callable[[Delivery], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wire = wire
        self._transport = transport
        self._rate = rate
        self._journal = journal
        self._limits = limits
        self._clock = clock
        self._on_progress = on_progress
        self._trackers: dict[int, ShardTracker] = {}
        self._parcels: AsyncIterator[Sequence[Parcel]] = _nothing()
        self._ready: deque[Parcel] = deque()
        self._undecided: list[RowVerdict] = []
        self._since_checkpoint = 0
        self._useful_at = clock()
        self._stop = asyncio.Event()
        self._due = asyncio.Event()
        self._moved = asyncio.Condition()
        self._reading = asyncio.Lock()
        self._pacing = asyncio.Lock()
        self.outcome = Delivery()

    def stop(self) -> None:
        """Ask for an end: nothing new is sent, what is in flight may still answer. Call it from the event loop."""
        self.outcome.was_interrupted = True
        self._stop.set()
        self._due.set()

    async def run(self, shards: Sequence[ShardProgress], parcels: AsyncIterator[Sequence[Parcel]]) -> Delivery:
        """Deliver the parcels (ascending within a shard, one shard after the other) and record what was answered.

        Returns when they end or something stops it; `stopped_by` says what.
        """
        self._trackers = {shard.shard: ShardTracker(shard) for shard in shards}
        self._parcels = parcels
        self._useful_at = self._clock()
        keeper = asyncio.create_task(self._keep_journal())
        workers = [asyncio.create_task(self._work()) for _ in range(self._limits.max_in_flight)]
        try:
            await self._until_done(workers, keeper)
        finally:
            self._stop.set()
            self._due.set()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await keeper
            await self._close()
        return self.outcome

    # -- workers ---------------------------------------------------------------------------------------------

    async def _until_done(self, workers: Sequence[asyncio.Task[None]], keeper: asyncio.Task[None]) -> None:
        """Wait for the workers; after a stop only for as long as the drain lasts."""
        stopped = asyncio.create_task(self._stop.wait())
        running: set[asyncio.Task[Any]] = set(workers)
        try:
            while running and not stopped.done() and not keeper.done():
                done, _ = await asyncio.wait({*running, stopped, keeper}, return_when=asyncio.FIRST_COMPLETED)
                for worker in done & running:
                    worker.result()
                running -= done
        finally:
            stopped.cancel()
        if running:
            await asyncio.wait(running, timeout=self._limits.drain_s)

    async def _work(self) -> None:
        while (parcel := await self._take()) is not None:
            await self._deliver(parcel)

    async def _take(self) -> Parcel | None:
        """The next parcel that may be sent under the recorded reach; None at the end or after a stop."""
        async with self._reading:
            while not self._ready:
                if self._stop.is_set() or not await self._read_on():
                    return None
            tracker = self._trackers[self._ready[0].shard]
            while self._ready[0].seq >= tracker.reach:
                self._due.set()
                async with self._moved:
                    if self._stop.is_set():
                        return None
                    await self._moved.wait()
            if self._stop.is_set():
                return None
            parcel = self._ready.popleft()
            tracker.take(parcel.seq)
            return parcel

    async def _read_on(self) -> bool:
        try:
            self._ready.extend(await anext(self._parcels))
        except StopAsyncIteration:
            return False
        return True

    async def _deliver(self, parcel: Parcel) -> None:
        """Send the parcel's messages one after the other until one is not taken."""
        some_applied = False
        in_doubt = False
        for message in parcel.messages:
            answer, doubted = await self._answer(parcel, message)
            in_doubt |= doubted
            if answer is None:
                return  # stopped: the row stays owed
            if decide(answer) is not Decision.DELIVERED:
                self._set_aside(parcel, answer, in_doubt=in_doubt or some_applied)
                return
            some_applied = True
        self._trackers[parcel.shard].answered(parcel.seq, is_delivered=True)
        self.outcome.delivered += 1
        self._count_answer()

    async def _answer(self, parcel: Parcel, message: bytes) -> tuple[Answer | None, bool]:
        """Send until there is a final answer: (it or None after a stop, whether an earlier try is in doubt)."""
        tracker = self._trackers[parcel.shard]
        began = self._clock()
        in_doubt = False
        tries = 0
        while await self._turn():
            tracker.sending(parcel.seq)
            answer = await self._transport.send(self._wire.request(message))
            self.outcome.requests += 1
            decision = decide(answer)
            if decision in (Decision.DELIVERED, Decision.REJECTED, Decision.UNSUPPORTED):
                self._useful_at = self._clock()
                return answer, in_doubt
            in_doubt |= may_have_been_applied(answer)
            if not in_doubt:
                tracker.not_applied(parcel.seq)
            if decision is Decision.STOP:
                self._halt(_credentials_refused(answer))
                return None, in_doubt
            tries += 1
            if not await self._wait(answer, decision, tries, began):
                return (None if self._stop.is_set() else answer), in_doubt
        return None, in_doubt

    async def _wait(self, answer: Answer, decision: Decision, tries: int, began: float) -> bool:
        """Wait before the next try; False when there will be none: for this row, or (stopped) for any."""
        now = self._clock()
        asked_s = answer.retry_after_s or 0.0
        silent_s = now - self._useful_at
        patience_s = self._limits.give_up_after_s
        if silent_s >= patience_s or (decision is not Decision.WAIT and silent_s + asked_s >= patience_s):
            self._halt(_unavailable(answer, silent_s))
            return False
        if now + asked_s - began >= patience_s:
            return False  # others get through: this row stays owed
        if decision is Decision.SLOW_DOWN:
            self._rate.slow_down(answer.retry_after_s)
        await self._sleep(asked_s or _backoff_s(tries))
        return True

    async def _turn(self) -> bool:
        """Wait for this request's slot; False when nothing more may be sent."""
        async with self._pacing:
            while not self._stop.is_set():
                wait_s = self._rate.book()
                if wait_s <= 0:
                    break
                await self._sleep(wait_s)
        if self._stop.is_set():
            return False
        try:
            self._journal.require()
        except WindsorSyncError as lost:
            self._halt(lost)
            return False
        return True

    def _set_aside(self, parcel: Parcel, answer: Answer, *, in_doubt: bool) -> None:
        decision = decide(answer)
        is_final = decision in (Decision.REJECTED, Decision.UNSUPPORTED)
        verdict = Verdict.REJECTED if is_final else Verdict.UNANSWERED
        self._trackers[parcel.shard].answered(parcel.seq, is_delivered=False)
        self._undecided.append(
            RowVerdict(
                parcel.seq,
                verdict,
                in_doubt=in_doubt,
                answered_at=datetime.now(UTC),
                code=answer.status,
                message=redacted(answer.message, parcel.private),
            )
        )
        if not is_final:
            self.outcome.unanswered += 1
        else:
            self.outcome.rejected += 1
            if self.outcome.delivered == 0 and self.outcome.rejected >= self._limits.rejections_to_stop:
                self._halt(_everything_rejected(self.outcome.rejected, answer, parcel))
        self._count_answer()

    def _halt(self, error: WindsorSyncError) -> None:
        if self.outcome.stopped_by is None:
            self.outcome.stopped_by = error
        self._stop.set()
        self._due.set()

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not through a stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    # -- journal ---------------------------------------------------------------------------------------------

    def _count_answer(self) -> None:
        self._since_checkpoint += 1
        if self._since_checkpoint >= self._limits.checkpoint_rows // 2:
            self._due.set()

    async def _keep_journal(self) -> None:
        """Checkpoint when enough rows were answered, when someone waits for reach, and every few seconds."""
        while not self._stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), self._limits.checkpoint_s)
            self._due.clear()
            if not self._stop.is_set():
                await self._checkpoint()
        async with self._moved:
            self._moved.notify_all()

    async def _checkpoint(self) -> None:
        window = self._limits.checkpoint_rows + self._limits.max_in_flight
        marks = [tracker.progress(window) for tracker in self._open_trackers()]
        decided, self._undecided = self._undecided, []
        self._since_checkpoint = 0
        if not marks and not decided:
            return
        try:
            await asyncio.to_thread(self._journal.checkpoint, marks, decided)
        except WindsorSyncError as lost:
            self._halt(lost)
            return
        for mark in marks:
            self._trackers[mark.shard].reach = mark.reach
        if self._on_progress:
            self._on_progress(self.outcome)
        async with self._moved:
            self._moved.notify_all()

    def _open_trackers(self) -> list[ShardTracker]:
        """Shards that moved since their last mark, or wait for reach: the one being read and those before it."""
        reading = self._ready[0].shard if self._ready else None
        return [t for t in self._trackers.values() if t.shard == reading or t.has_moved]

    async def _close(self) -> None:
        """Record the end: exact positions, and the answers above them."""
        moment = datetime.now(UTC)
        marks = []
        decided = self._undecided
        for tracker in self._trackers.values():
            marks.append(tracker.closing())
            decided.extend(tracker.delivered_above(moment))
        try:
            await asyncio.to_thread(self._journal.checkpoint, marks, decided)
        except WindsorSyncError as lost:
            self._halt(lost)


async def _nothing() -> AsyncIterator[Sequence[Parcel]]:
    return
    yield


def _backoff_s(tries: int) -> float:
    """Full jitter: anywhere up to a bound that doubles with every try."""
    return random.uniform(0, min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**tries))  # noqa: S311


def _credentials_refused(answer: Answer) -> CredentialsRefused:
    return CredentialsRefused(f"Windsor refused the API key ({answer.status})")


def _everything_rejected(count: int, answer: Answer, parcel: Parcel) -> MessagesRejected:
    words = redacted(answer.message, parcel.private)
    said = f', saying "{words}"' if words else ""
    return MessagesRejected(f"Windsor rejected the first {count} messages without taking one ({answer.status}{said})")


def _unavailable(answer: Answer, silent_s: float) -> DestinationUnavailable:
    last = f"status {answer.status}" if answer.status else answer.message or "no answer"
    if answer.retry_after_s:
        last += f", asking to wait {answer.retry_after_s:.0f} s"
    return DestinationUnavailable(
        f"Windsor has not been available for {silent_s:.0f} s (last: {last})", retry_after_s=answer.retry_after_s
    )
