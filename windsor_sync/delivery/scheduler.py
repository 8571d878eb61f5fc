"""Picks the rows that go next: in the outbox's order, as far as the journal lets them and their ordering keys are free."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from windsor_sync.delivery.checkpoints import Recorder
from windsor_sync.delivery.ordering import Ordering, Ticket
from windsor_sync.delivery.retry_policy import RetryState
from windsor_sync.delivery.rows import Attempt, PendingRow


class Waiting(NamedTuple):
    """Rows that wait behind an earlier one of their user, in memory."""

    rows: int
    size_bytes: int
    """of their messages"""

    def with_one(self, row: PendingRow) -> "Waiting":
        """Return the counts with one more."""
        return Waiting(self.rows + 1, self.size_bytes + _size(row))

    def without_one(self, row: PendingRow) -> "Waiting":
        """Return the counts with one less."""
        return Waiting(self.rows - 1, self.size_bytes - _size(row))


class Scheduler:
    """Hands rows to workers, first those of the outbox, then those that were put off; belongs to one event loop."""

    def __init__(
        self,
        records: Recorder,
        *,
        batch_size: int,
        rows_put_off: int,
        most_waiting: Waiting,
        has_stopped: Callable[[], bool],
        set_aside: Callable[[Attempt], None],
    ) -> None:
        """`set_aside` is called for a row that comes into an ordering key in which an earlier one is owed."""
        self._records = records
        self._batch_size = batch_size
        self._rows_put_off = rows_put_off
        self._most_waiting = most_waiting
        self._has_stopped = has_stopped
        self._set_aside = set_aside
        self._source: AsyncIterator[Sequence[PendingRow]] = _nothing()
        self._is_read = False
        self._ordering_keys: Ordering[Attempt] = Ordering()
        self._ready: deque[PendingRow] = deque()
        """read; none of them taken yet"""
        self._waiting = Waiting(0, 0)
        self._free: deque[Attempt] = deque()
        """taken, and held up by their ordering keys until now"""
        self._again: deque[Attempt] = deque()
        """put off; for the second round"""
        self._loose = 0
        """how many were put off that have no place in an ordering key"""
        self._reading = asyncio.Lock()
        self._in_hand = 0
        """batches that were taken and are not done"""
        self._is_first_part: bool | None = None
        """whether all rows taken so far go first; None before any was taken"""

    def open(self, source: AsyncIterator[Sequence[PendingRow]]) -> None:
        """Start to hand out rows."""
        self._source = source

    async def take(self) -> list[Attempt]:
        """Return the messages of the next request in order; none at the end.

        Several only where the wire takes several, and never waiting for more while there is one.
        """
        async with self._reading:
            while not self._has_stopped():
                if batch := self._gather() or await self._second_round():
                    self._in_hand += 1
                    return batch
                if not await self._news():
                    break
        return []

    def done(self) -> None:
        """Count a batch that was taken as done."""
        self._in_hand -= 1
        if self.is_at_border:
            self._records.nudge()

    # -- what became of one ----------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """Return how many more may be put off."""
        return self._rows_put_off - self._loose - self._ordering_keys.aside

    @property
    def is_starved(self) -> bool:
        """Whether workers are idle because no more rows may wait behind those that are in hand."""
        return bool(self._ready) and self._is_full and self._reading.locked()

    @property
    def is_at_border(self) -> bool:
        """Whether the next row has to wait until every row that goes first is answered or set aside."""
        return bool(self._is_first_part and self._ready and not self._ready[0].goes_first)

    @property
    def _is_full(self) -> bool:
        return any(now >= most for now, most in zip(self._waiting, self._most_waiting, strict=True))

    def answered(self, attempt: Attempt) -> None:
        """Record that a row has its final answer: the rows behind it may go."""
        if attempt.ticket is None:
            return
        for freed in self._ordering_keys.leave(attempt.ticket):
            if freed.is_aside:
                self._again.append(freed.item)
            else:
                self._waits_no_more(freed.item)
                self._free.append(freed.item)
        self._records.nudge()

    def put_off(self, attempt: Attempt) -> list[Attempt]:
        """Try it again when all others are done; returns those that are set aside behind it."""
        self._again.append(attempt)
        if attempt.ticket is None:
            self._loose += 1
            return []
        self._records.nudge()
        return self._set_aside_from(self._ordering_keys.put_off(attempt.ticket, room=self.room - 1))

    def abandon(self, attempt: Attempt) -> list[Attempt]:
        """Leave a row owed; returns the rows behind it that were set aside and stay owed too."""
        if attempt.ticket is None:
            return []
        self._records.nudge()
        return self._set_aside_from(self._ordering_keys.abandon(attempt.ticket))

    def _set_aside_from(self, tickets: Iterable[Ticket[Attempt]]) -> list[Attempt]:
        attempts = [ticket.item for ticket in tickets]
        for attempt in attempts:
            self._waits_no_more(attempt)
        return attempts

    # -- which ones ------------------------------------------------------------------------------------------

    def _gather(self) -> list[Attempt]:
        """Return the messages of one request that can go without waiting."""
        batch: list[Attempt] = []
        behind: deque[Ticket[Attempt]] = deque()
        room = self._batch_size
        while room > 0 and (attempt := self._following(behind, batch) or self._released() or self._fresh(batch)):
            batch.append(attempt)
            room -= max(1, len(attempt.row.messages))
            if attempt.ticket is not None:
                attempt.ticket.holder = batch
                behind.extend(self._ordering_keys.behind(attempt.ticket))
        return batch

    def _following(self, behind: deque[Ticket[Attempt]], batch: list[Attempt]) -> Attempt | None:
        """One that was held up only by what is in the batch."""
        while behind:
            ticket = behind.popleft()
            if self._ordering_keys.may_go(ticket, batch) and self._is_let_go(ticket.item):
                self._waits_no_more(ticket.item)
                return ticket.item
        return None

    def _released(self) -> Attempt | None:
        if self._free and self._is_let_go(self._free[0]):
            return self._free.popleft()
        if self._free:
            self._records.lets_go_next()
        return None

    def _is_let_go(self, attempt: Attempt) -> bool:
        return self._records[attempt.row.shard].may_go(attempt.row.seq)

    def _fresh(self, batch: list[Attempt]) -> Attempt | None:
        """Return the next row that is let go and whose ordering keys are free; rows whose keys are not free queue up there."""
        while self._ready and not self._is_full and not self.is_at_border and self._is_next_let_go():
            row = self._ready.popleft()
            self._is_first_part = row.goes_first and self._is_first_part is not False
            self._records.take(row.shard, row.seq)
            attempt = Attempt(row, self._records[row.shard].inherits_doubt(row.seq), RetryState())
            if not row.ordering_keys or not row.messages:
                return attempt
            attempt.ticket = self._ordering_keys.enter(attempt, row.ordering_keys, room=self.room)
            if attempt.ticket.is_aside:
                self._set_aside(attempt)
            elif self._ordering_keys.may_go(attempt.ticket, batch):
                return attempt
            else:
                self._waits(attempt)
        return None

    def _is_next_let_go(self) -> bool:
        return self._records.comes_next(self._ready[0].shard, self._ready[0].seq)

    def _waits(self, attempt: Attempt) -> None:
        attempt.waits = True
        self._waiting = self._waiting.with_one(attempt.row)
        self._records[attempt.row.shard].waits(attempt.row.seq)

    def _waits_no_more(self, attempt: Attempt) -> None:
        if attempt.waits:
            attempt.waits = False
            self._waiting = self._waiting.without_one(attempt.row)
            self._records[attempt.row.shard].is_free(attempt.row.seq)

    async def _second_round(self) -> list[Attempt]:
        """One that was put off, alone; it is in doubt by the journal before it is sent again."""
        is_through = self.is_at_border or (self._is_read and not self._ready)
        if not is_through or not self._again:
            return []
        attempt = self._again.popleft()
        assert attempt.owed is not None
        if not attempt.owed.in_doubt:
            self._records.answered(replace(attempt.owed, in_doubt=True))
            await self._records.all_recorded()
        again = Attempt(attempt.row, attempt.owed.in_doubt, RetryState(is_second_round=True), attempt.ticket)
        return [] if self._has_stopped() else [again]

    async def _news(self) -> bool:
        """Wait until there may be something to take; False when there will be nothing."""
        if not self._ready and not self._is_read:
            await self._read_on()
        elif self.is_at_border and not self._in_hand and not self._ordering_keys:
            await self._records.all_answers_recorded()  # else a kill could send a first row again, last
            self._is_first_part = False
        elif self._ready or self._ordering_keys:
            await self._records.news()
        else:
            return False
        return True

    async def _read_on(self) -> None:
        try:
            self._ready.extend(await anext(self._source))
        except StopAsyncIteration:
            self._is_read = True


def _size(row: PendingRow) -> int:
    return sum(map(len, row.messages))


async def _nothing() -> AsyncIterator[Sequence[PendingRow]]:
    return
    yield
