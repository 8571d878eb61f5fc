"""Delivers parcels with a bounded number of requests in flight, and checkpoints what was answered.

A parcel is one row of an outbox: usually one message. Workers take parcels in order and answer them in any order;
a row is sent only below the `reach` that a checkpoint has recorded, so that after a crash we know which rows may
have been applied. The engine stops taking parcels when asked to, when the lease is lost, when Windsor refuses the key
or everything from the start, or when it has not given a useful answer for too long.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from windsor_sync.delivery.patience import Bounds, Patience, Step, Struggle
from windsor_sync.delivery.rate import Rate
from windsor_sync.delivery.recorder import Journal, Recorder, Rhythm
from windsor_sync.delivery.redaction import redacted
from windsor_sync.delivery.stops import credentials_refused, everything_rejected, unavailable
from windsor_sync.delivery.transport import Transport
from windsor_sync.delivery.verdicts import Answer, Decision, decide, may_have_been_applied
from windsor_sync.delivery.wires import Wire
from windsor_sync.errors import (
    LeaseLost,
    WindsorSyncError,
)
from windsor_sync.ledger import RowVerdict, ShardProgress, Verdict


class Parcel(NamedTuple):
    """One row of an outbox on its way."""

    shard: int
    seq: int
    messages: tuple[bytes, ...]
    """none for a user who must not be told anything any more"""
    private: tuple[str | None, ...]
    """what Windsor's words must not repeat"""
    call: str = "identify"


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How hard the engine pushes, and for how long."""

    max_in_flight: int = 64
    checkpoint_rows: int = 1_000
    """answers between two checkpoints: what is repeated at most after a kill, besides what is in flight"""
    checkpoint_s: float = 2.0
    give_up_after_s: float = 600.0
    """without any useful answer the destination is unavailable"""
    drain_s: float = 4.0
    """how long requests in flight may take to answer after a stop (Airflow kills five seconds after SIGTERM)"""
    rejections_to_stop: int = 50
    """so many rejections in a row from the start of a run mean that the messages, not the users, are wrong"""
    first_backoff_s: float = 0.5
    longest_backoff_s: float = 60.0
    tries_in_turn: int = 5
    """so many failures while others get through, and a row is put off until all others are done"""
    rows_put_off: int = 1_000
    """at most; they are kept in memory"""


@dataclass(slots=True)
class Delivery:
    """What an engine run came to."""

    delivered: int = 0
    rejected: int = 0
    unanswered: int = 0
    requests: int = 0
    stopped_by: WindsorSyncError | None = None
    was_interrupted: bool = False


@dataclass(slots=True)
class _Attempt:
    """A parcel in a worker's hands."""

    parcel: Parcel
    in_doubt: bool
    """some of its messages may have been applied, now or by an earlier try of the run"""
    struggle: Struggle


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
        self.outcome = Delivery()
        rhythm = Rhythm(
            limits.checkpoint_rows + limits.max_in_flight, max(1, limits.checkpoint_rows // 2), limits.checkpoint_s
        )
        self._records = Recorder(journal, rhythm, lambda: on_progress(self.outcome) if on_progress else None)
        self._patience = Patience(
            Bounds(limits.give_up_after_s, limits.first_backoff_s, limits.longest_backoff_s, limits.tries_in_turn),
            clock,
        )
        self._source: AsyncIterator[Sequence[Parcel]] = _nothing()
        self._ready: deque[Parcel] = deque()
        self._put_off: deque[tuple[Parcel, RowVerdict]] = deque()
        self._unsupported: dict[str, Answer] = {}
        self._failure: Exception | None = None
        self._stop = asyncio.Event()
        self._reading = asyncio.Lock()
        self._pacing = asyncio.Lock()

    def stop(self) -> None:
        """Ask for an end: nothing new is sent, what is in flight may still answer. Call it from the event loop."""
        self.outcome.was_interrupted = True
        self._end()

    async def run(self, shards: Sequence[ShardProgress], parcels: AsyncIterator[Sequence[Parcel]]) -> Delivery:
        """Deliver the parcels (ascending within a shard, one shard after the other) and record what was answered.

        Returns when they end or something stops it; `stopped_by` says what. An error that is not ours (an unreadable
        outbox, a defect) stops it in the same orderly way and is raised.
        """
        self._records.open(shards)
        self._source = parcels
        self._patience.useful_answer()
        keeper = asyncio.create_task(self._guarded(self._records.keep()))
        workers = [asyncio.create_task(self._guarded(self._work())) for _ in range(self._limits.max_in_flight)]
        try:
            await self._until_done(workers)
        finally:
            self._end()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, keeper, return_exceptions=True)
            if not isinstance(self.outcome.stopped_by, LeaseLost):
                await self._guarded(self._records.close())
        if self._failure is not None:
            raise self._failure
        return self.outcome

    async def _until_done(self, workers: Sequence[asyncio.Task[None]]) -> None:
        """Wait for the workers; after a stop only for as long as the drain lasts."""
        stopped = asyncio.create_task(self._stop.wait())
        done = asyncio.create_task(asyncio.wait(workers))
        try:
            await asyncio.wait({stopped, done}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({done}, timeout=self._limits.drain_s)
        finally:
            stopped.cancel()
            done.cancel()

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a part of the engine; when it fails, all of it stops."""
        try:
            await work
        except WindsorSyncError as error:
            self._halt(error)
        except Exception as error:
            self._failure = self._failure or error
            self._end()

    def _halt(self, error: WindsorSyncError) -> None:
        self.outcome.stopped_by = self.outcome.stopped_by or error
        self._end()

    def _end(self) -> None:
        self._stop.set()
        self._records.end()

    # -- which parcel ----------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while (attempt := await self._take()) is not None:
            await self._deliver(attempt)

    async def _take(self) -> _Attempt | None:
        """The next parcel that may be sent under the recorded reach, then those put off; None at the end."""
        async with self._reading:
            while not self._ready and not self._stop.is_set():
                if not await self._read_on():
                    return await self._take_again()
            if self._stop.is_set():
                return None
            await self._records.within_reach(self._ready[0].shard, self._ready[0].seq)
            if self._stop.is_set():
                return None
            parcel = self._ready.popleft()
            tracker = self._records[parcel.shard]
            tracker.take(parcel.seq)
            return _Attempt(parcel, tracker.inherits_doubt(parcel.seq), Struggle())

    async def _read_on(self) -> bool:
        try:
            self._ready.extend(await anext(self._source))
        except StopAsyncIteration:
            return False
        return True

    async def _take_again(self) -> _Attempt | None:
        """A parcel that was put off; it is in doubt by the journal before it is sent again."""
        if not self._put_off:
            return None
        parcel, verdict = self._put_off.popleft()
        if not verdict.in_doubt:
            self._records.answered(replace(verdict, in_doubt=True))
            await self._records.all_recorded()
        return None if self._stop.is_set() else _Attempt(parcel, verdict.in_doubt, Struggle(is_second_round=True))

    # -- one parcel ------------------------------------------------------------------------------------------

    async def _deliver(self, attempt: _Attempt) -> None:
        """Send the parcel's messages one after the other until one is not taken."""
        parcel = attempt.parcel
        if not parcel.messages:
            self._set_aside(attempt, Verdict.SUPPRESSED)
            return
        for message in parcel.messages:
            answer = self._unsupported.get(parcel.call) or await self._answer(attempt, message)
            if answer is None:
                return  # stopped, or put off: the row stays owed
            decision = decide(answer)
            if decision is Decision.UNSUPPORTED:
                self._unsupported[parcel.call] = answer
            if decision is not Decision.DELIVERED:
                self._set_aside(attempt, Verdict.REJECTED if decision.is_final else Verdict.UNANSWERED, answer)
                return
            attempt.in_doubt = True  # until the rest of it is answered too
        self._delivered(attempt)

    async def _answer(self, attempt: _Attempt, message: bytes) -> Answer | None:
        """Send until there is an answer to go by; None after a stop, or when the row is put off."""
        while await self._turn():
            answer = await self._send(attempt, message)
            decision = decide(answer)
            if decision.is_final:
                self._patience.useful_answer()
                return answer
            self._note_doubt(attempt, answer)
            if decision is Decision.STOP:
                self._halt(credentials_refused(answer))
                return None
            if decision is Decision.SLOW_DOWN:
                self._rate.slow_down(answer.retry_after_s)
            has_room = len(self._put_off) < self._limits.rows_put_off
            match self._patience.after(answer, decision, attempt.struggle, has_room=has_room):
                case Step.AGAIN:
                    await self._sleep(self._patience.pause_s(answer, attempt.struggle))
                case Step.LATER:
                    verdict = self._set_aside(attempt, Verdict.UNANSWERED, answer)
                    self._put_off.append((attempt.parcel, verdict))
                    return None
                case Step.LEAVE:
                    return answer
                case Step.GIVE_UP:
                    self._halt(unavailable(answer, self._patience.silent_s, self._limits.give_up_after_s))
                    return None
        return None

    async def _turn(self) -> bool:
        """Wait for this request's slot; False when nothing more may be sent."""
        async with self._pacing:
            while not self._stop.is_set():
                self._journal.require()  # who waits long for a slot notices here that the lease is gone
                wait_s = self._rate.book()
                if wait_s <= 0:
                    break
                await self._sleep(wait_s)
        return not self._stop.is_set()

    async def _send(self, attempt: _Attempt, message: bytes) -> Answer:
        """Send once; from here on the row may have been applied."""
        self._patience.sending(attempt.struggle)
        if not attempt.struggle.is_second_round:
            self._records[attempt.parcel.shard].sending(attempt.parcel.seq)
        answer = await self._transport.send(self._wire.request(message), self._journal.require)
        self.outcome.requests += 1
        return answer

    def _note_doubt(self, attempt: _Attempt, answer: Answer) -> None:
        """An answer that is not final either leaves doubt, or says that this try at least was not applied."""
        attempt.in_doubt |= may_have_been_applied(answer)
        if not attempt.in_doubt:
            self._records[attempt.parcel.shard].not_applied(attempt.parcel.seq)

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not through a stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    # -- what became of it -----------------------------------------------------------------------------------

    def _delivered(self, attempt: _Attempt) -> None:
        parcel, tracker = attempt.parcel, self._records[attempt.parcel.shard]
        self.outcome.delivered += 1
        if attempt.struggle.is_second_round:
            tracker.late_yes()
            self.outcome.unanswered -= 1
            self._records.answered(_verdict(parcel.seq, Verdict.DELIVERED))
        else:
            tracker.answered(parcel.seq, is_delivered=True)
            self._records.answered()

    def _set_aside(self, attempt: _Attempt, verdict: Verdict, answer: Answer | None = None) -> RowVerdict:
        """Record a verdict that is not a yes."""
        parcel = attempt.parcel
        if attempt.struggle.is_second_round:
            self.outcome.unanswered -= 1
        else:
            self._records[parcel.shard].answered(parcel.seq, is_delivered=False)
        words = redacted(answer.message, parcel.private) if answer else None
        code = answer.status if answer else None
        recorded = _verdict(parcel.seq, verdict, code, words, in_doubt=attempt.in_doubt)
        self._records.answered(recorded)
        if verdict is Verdict.UNANSWERED:
            self.outcome.unanswered += 1
        elif verdict is Verdict.REJECTED:
            self.outcome.rejected += 1
            if self.outcome.delivered == 0 and self.outcome.rejected >= self._limits.rejections_to_stop:
                self._halt(everything_rejected(self.outcome.rejected, code, words))
        return recorded


def _verdict(
    seq: int, verdict: Verdict, code: int | None = None, message: str | None = None, *, in_doubt: bool = False
) -> RowVerdict:
    moment = datetime.now(UTC)
    return RowVerdict(seq, verdict, in_doubt=in_doubt, answered_at=moment, code=code, message=message)


async def _nothing() -> AsyncIterator[Sequence[Parcel]]:
    return
    yield
