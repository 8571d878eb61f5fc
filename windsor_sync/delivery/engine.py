"""Delivers rows with a bounded number of requests in flight, and checkpoints what was answered.

A row of an outbox is usually one message. Workers take rows in order, as many as one request may carry, and answer them in
any order, but for those that share an ordering key; a row is sent only once a checkpoint has let it go, so that
after a crash we know which rows may have been applied. The engine stops taking rows when asked
to, when the lease is lost, when Windsor refuses the key or everything from the start, or when it has not given a useful
answer for too long.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from windsor_sync.delivery.bounds import Delivery, EngineLimits
from windsor_sync.delivery.checkpoints import AHEAD_S, Journal, Recorder, Rhythm
from windsor_sync.delivery.endings import everything_rejected, stopped, unavailable
from windsor_sync.delivery.protocols import WireProtocol
from windsor_sync.delivery.rate import Rate
from windsor_sync.delivery.redaction import redacted, redacted_address
from windsor_sync.delivery.retry_policy import RetryDecision, RetryLimits, RetryPolicy, RetryState
from windsor_sync.delivery.rows import Attempt, PendingMessage, PendingMessages, PendingRow, attempts_of, requests_of
from windsor_sync.delivery.scheduler import Scheduler, Waiting
from windsor_sync.delivery.transport import Transport
from windsor_sync.delivery.verdicts import (
    NOT_IMPLEMENTED,
    Answer,
    Decision,
    decide,
    judges_address,
    may_have_been_applied,
)
from windsor_sync.domain.progress import ShardProgress
from windsor_sync.errors import (
    LeaseLost,
    WindsorSyncError,
)
from windsor_sync.segment.calls import Call
from windsor_sync.state.ledger import RowVerdict, Verdict

A_STEP_BEHIND = "an answer too many came over its connection"


class Engine:
    """Delivers one outbox (or a task's share of it); use once."""

    def __init__(
        self,
        *,
        wire: WireProtocol,
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
        in_flight = limits.max_in_flight * wire.batch_size
        rhythm = Rhythm(in_flight, wire.batch_size, limits.checkpoint_rows, limits.checkpoint_s)
        self._pacing = asyncio.Lock()
        self._paced_at = -math.inf
        """when a request last had to wait for the rate"""
        report = on_progress or (lambda _: None)
        self._records = Recorder(journal, rhythm, lambda: report(self.outcome), self._is_paced)
        self._retry_policy = RetryPolicy(
            RetryLimits(limits.give_up_after_s, limits.first_backoff_s, limits.longest_backoff_s, limits.tries_in_turn),
            clock,
        )
        self._unsupported: dict[str, Answer] = {}
        self._refused = 0
        """rejected, and not merely of a kind that Windsor does not take"""
        self._failure: Exception | None = None
        self._stop = asyncio.Event()
        self._scheduler = Scheduler(
            self._records,
            batch_size=wire.batch_size,
            rows_put_off=limits.rows_put_off,
            most_waiting=Waiting(limits.rows_waiting, limits.bytes_waiting),
            has_stopped=self._stop.is_set,
            set_aside=self._hold_back,
        )

    def stop(self) -> None:
        """Ask for an end: nothing new is sent, what is in flight may still answer. Call it from the event loop."""
        self.outcome.was_interrupted = True
        self._end()

    async def run(self, shards: Sequence[ShardProgress], rows: AsyncIterator[Sequence[PendingRow]]) -> Delivery:
        """Deliver the rows (ascending within a shard, one shard after the other) and record what was answered.

        Returns when they end or something stops it; `stopped_by` says what. An error that is not ours (an unreadable
        outbox, a defect) stops it in the same orderly way and is raised.
        """
        self._records.open(shards)
        self._scheduler.open(rows)
        self._retry_policy.useful_answer()
        keeper = asyncio.create_task(self._guarded(self._records.keep()))
        workers = [asyncio.create_task(self._guarded(self._work())) for _ in range(self._limits.max_in_flight)]
        try:
            await self._until_done(workers)
        finally:
            self._end()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, keeper, return_exceptions=True)
            await self._guarded(self._transport.overhear())
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

    # -- rows ---------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while batch := await self._scheduler.take():
            await self._deliver(batch)
            self._scheduler.done()

    async def _deliver(self, batch: Sequence[Attempt]) -> None:
        """Send what a batch has to say, request by request, each row until one of its messages is not taken.

        A refusal of several messages does not say which is meant: it is cut in halves until single ones are judged.
        """
        messages = [message for attempt in batch for message in self._messages(attempt)]
        requests = deque(requests_of(messages, most=self._wire.batch_size, most_bytes=self._wire.most_bytes))
        while requests:
            request = self._still_to_send(requests.popleft())
            answer = await self._answer(request) if request else None
            if answer is None:
                continue  # stopped, or not to be sent any more: what has no answer stays owed
            if decide(answer) is Decision.DELIVERED:
                self._accepted(request)
            elif len(request) > 1:
                half = len(request) // 2
                requests.extendleft([request[half:], request[:half]])
                for message in request:
                    message.attempt.was_refused_with_others |= decide(answer).is_final
            else:
                self._rejected(request[0].attempt, answer)

    def _messages(self, attempt: Attempt) -> Iterator[PendingMessage]:
        """The messages of a row in the wire's words."""
        messages = attempt.row.messages
        bodies = [self._wire.encoded(message) for message in messages]
        if not bodies:
            self._set_aside(attempt, Verdict.SUPPRESSED)
        elif None in bodies:
            self._rejected(
                attempt, Answer(NOT_IMPLEMENTED, message="this wire does not carry such calls", was_sent=False)
            )
        else:
            for place, body in enumerate(bodies, start=1):
                assert body is not None
                yield PendingMessage(attempt, body, is_last=place == len(bodies))

    def _still_to_send(self, request: PendingMessages) -> PendingMessages:
        """Without what was settled meanwhile, and without calls that Windsor turned out not to take."""
        for message in request if self._unsupported else ():
            answer = self._unsupported.get(message.attempt.row.call)
            if answer is not None and not message.attempt.is_settled:
                self._rejected(message.attempt, answer)
        return [message for message in request if not message.attempt.is_settled]

    # -- one request -----------------------------------------------------------------------------------------

    async def _answer(self, request: PendingMessages) -> Answer | None:
        """Send until there is an answer to go by; None after a stop, or when nothing of it is sent any more for now."""
        attempts = attempts_of(request)
        retry_state = attempts[0].retry_state
        if len(attempts) > 1:
            retry_state = RetryState(since=min(attempt.retry_state.since for attempt in attempts))
        while await self._turn():
            answer = await self._send(request, attempts, retry_state)
            decision = decide(answer)
            if decision.is_final:
                self._retry_policy.useful_answer()
                if answer.hearing is not None:
                    answer.hearing.heard(partial(self._take_back, attempts))
                return answer
            self._note_doubt(attempts, answer)
            if decision is Decision.STOP:
                private = [value for attempt in attempts for value in attempt.row.private]
                self._halt(stopped(replace(answer, location=redacted_address(answer.location, private))))
                return None
            if decision is Decision.SLOW_DOWN:
                self._rate.slow_down(answer.retry_after_s)
            # What fails again and again among others is looked for in halves; a 429 is nobody's fault.
            splits = len(attempts) > 1 and (retry_state.failures > 0 or decision is not Decision.SLOW_DOWN)
            has_room = splits or self._scheduler.room >= len(attempts)
            match self._retry_policy.after(
                answer,
                decision,
                retry_state,
                has_room=has_room,
                blocks_all=self._scheduler.is_starved,
                is_at_border=self._scheduler.is_at_border,
            ):
                case RetryDecision.AGAIN:
                    await self._sleep(self._retry_policy.pause_s(answer, retry_state))
                case RetryDecision.LATER if splits:
                    for attempt in attempts:
                        attempt.retry_state.since = (
                            retry_state.since
                        )  # who got through meanwhile shows that Windsor is there
                    return answer
                case RetryDecision.LATER:
                    self._leave(attempts, answer, again=True)
                    return None
                case RetryDecision.LEAVE:
                    self._leave(attempts, answer, again=False)
                    return None
                case RetryDecision.GIVE_UP:
                    self._halt(unavailable(answer, self._retry_policy.silent_s, self._limits.give_up_after_s))
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
                self._paced_at = time.monotonic()
                await self._sleep(wait_s)
        return not self._stop.is_set()

    def _is_paced(self) -> bool:
        return time.monotonic() < self._paced_at + AHEAD_S

    async def _send(self, request: PendingMessages, attempts: Sequence[Attempt], retry_state: RetryState) -> Answer:
        """Send once; from here on the rows may have been applied."""
        self._retry_policy.sending(retry_state)
        for attempt in attempts:
            if not attempt.retry_state.is_second_round:
                self._records[attempt.row.shard].sending(attempt.row.seq)
        sealed = self._wire.request([message.body for message in request])
        has_left = False

        def leaves() -> None:
            """Record that the request is about to be written."""
            nonlocal has_left
            self._journal.require()
            self._rate.left()
            has_left = True

        try:
            answer = await self._transport.send(sealed, leaves)
        finally:
            if not has_left:
                self._rate.stayed()
        self.outcome.requests += 1
        return answer

    def _note_doubt(self, attempts: Sequence[Attempt], answer: Answer) -> None:
        """An answer that is not final either leaves doubt, or says that this try at least was not applied."""
        for attempt in attempts:
            attempt.in_doubt |= may_have_been_applied(answer)
            if not attempt.may_be_applied:
                self._records[attempt.row.shard].not_applied(attempt.row.seq)

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not through a stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    # -- what became of it -----------------------------------------------------------------------------------

    def _accepted(self, request: PendingMessages) -> None:
        for message in request:
            if message.is_last:
                self._delivered(message.attempt)
            else:
                message.attempt.in_doubt = True  # until the rest of it is answered too

    def _delivered(self, attempt: Attempt) -> None:
        row = attempt.row
        if attempt.is_suspect:
            self._unsure(attempt)
            return
        self.outcome.delivered += 1
        attempt.is_settled = True
        if attempt.retry_state.is_second_round:
            self._records[row.shard].late_yes()
            self.outcome.unanswered -= 1
            self._records.answered(_verdict(row.seq, Verdict.DELIVERED))
        else:
            self._records.settled(row.shard, row.seq, is_delivered=True)
            self._records.answered()
        self._scheduler.answered(attempt)
        _is_sure(attempt, Verdict.DELIVERED)

    def _rejected(self, attempt: Attempt, answer: Answer) -> None:
        """Refused for good, alone; one refusal of its kind is enough where Windsor does not take the call."""
        if attempt.is_suspect:
            self._unsure(attempt)
            return
        is_unsupported = decide(answer) is Decision.UNSUPPORTED
        if answer.was_sent and is_unsupported:
            self._unsupported[attempt.row.call] = answer
        recorded = self._set_aside(attempt, Verdict.REJECTED, answer)
        self._scheduler.answered(attempt)
        _is_sure(attempt, Verdict.REJECTED)
        self.outcome.rejected += 1
        if is_unsupported and attempt.row.call != Call.IDENTIFY:
            return  # of the others Windsor need not take all; what takes no identify is no Windsor
        if attempt.row.goes_first and not is_unsupported and not judges_address(recorded.code):
            return  # perhaps Windsor rejects only these users: the answers to later rows will show it
        self._refused += 1
        if self.outcome.delivered == 0 and self._refused >= self._limits.rejections_to_stop:
            self._halt(everything_rejected(self._refused, recorded.code, recorded.message))

    def _unsure(self, attempt: Attempt) -> None:
        """Its answer may have been another row's: it stays owed, in doubt."""
        attempt.in_doubt = True
        self._set_aside(attempt, Verdict.UNANSWERED)
        self.outcome.unanswered += 1
        self._scheduler.answered(attempt)

    def _take_back(self, attempts: Sequence[Attempt]) -> None:
        """Put rows in doubt that were answered over a connection that turned out to be a step behind."""
        for attempt in attempts:
            shard, seq = attempt.row.shard, attempt.row.seq
            attempt.is_suspect = True
            if attempt.sure is None:
                continue  # not settled yet, or owed in any case
            if attempt.sure is Verdict.DELIVERED:
                self._records[shard].withdrawn()
                self.outcome.delivered -= 1
            else:
                self.outcome.rejected -= 1
            attempt.sure = None
            self.outcome.unanswered += 1
            self._records.answered(_verdict(seq, Verdict.UNANSWERED, message=A_STEP_BEHIND, in_doubt=True))

    def _leave(self, attempts: Sequence[Attempt], answer: Answer, *, again: bool) -> None:
        """They stay owed, and with them what goes after them; `again`: they are tried once more at the end."""
        for attempt in attempts:
            if not attempt.is_settled:  # by one of those before it
                attempt.owed = self._set_aside(attempt, Verdict.UNANSWERED, answer)
                self.outcome.unanswered += 1
                for behind in self._scheduler.put_off(attempt) if again else self._scheduler.abandon(attempt):
                    self._hold_back(behind)

    def _hold_back(self, attempt: Attempt) -> None:
        """Leave a row owed because a row before it is owed; it is in doubt only if it was before."""
        attempt.owed = self._set_aside(attempt, Verdict.UNANSWERED)
        self.outcome.unanswered += 1

    def _set_aside(self, attempt: Attempt, verdict: Verdict, answer: Answer | None = None) -> RowVerdict:
        """Record a verdict that is not a yes."""
        row = attempt.row
        attempt.is_settled = True
        if attempt.retry_state.is_second_round:
            self.outcome.unanswered -= 1
        else:
            self._records.settled(row.shard, row.seq, is_delivered=False)
        words = redacted(answer.message, row.private) if answer else None
        code = answer.status if answer else None
        is_judged = verdict is Verdict.REJECTED and len(row.messages) == 1
        in_doubt = attempt.in_doubt if is_judged else attempt.may_be_applied
        recorded = _verdict(row.seq, verdict, code, words, in_doubt=in_doubt)
        self._records.answered(recorded)
        return recorded


def _is_sure(attempt: Attempt, verdict: Verdict) -> None:
    """Note it, for the case that it is taken back; what was sent need not be kept for that."""
    attempt.sure = verdict
    attempt.row = attempt.row._replace(messages=(), private=())


def _verdict(
    seq: int, verdict: Verdict, code: int | None = None, message: str | None = None, *, in_doubt: bool = False
) -> RowVerdict:
    moment = datetime.now(UTC)
    return RowVerdict(seq, verdict, in_doubt=in_doubt, answered_at=moment, code=code, message=message)
