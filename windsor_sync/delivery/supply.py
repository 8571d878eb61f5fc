"""Which parcels go next: in the outbox's order, as far as the journal lets them and their lanes are free."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace

from windsor_sync.delivery.lanes import Lanes, Ticket
from windsor_sync.delivery.parcels import Attempt, Parcel
from windsor_sync.delivery.patience import Struggle
from windsor_sync.delivery.recorder import Recorder


class Supply:
    """Hands parcels to workers, first those of the outbox, then those that were put off; belongs to one event loop."""

    def __init__(
        self,
        records: Recorder,
        *,
        batch_size: int,
        rows_put_off: int,
        has_stopped: Callable[[], bool],
        set_aside: Callable[[Attempt], None],
    ) -> None:
        """`set_aside` is called for a parcel that comes into a lane in which an earlier one is owed."""
        self._records = records
        self._batch_size = batch_size
        self._rows_put_off = rows_put_off
        self._has_stopped = has_stopped
        self._set_aside = set_aside
        self._source: AsyncIterator[Sequence[Parcel]] = _nothing()
        self._is_read = False
        self._lanes: Lanes[Attempt] = Lanes()
        self._ready: deque[Parcel] = deque()
        """read; none of them taken yet"""
        self._free: deque[Attempt] = deque()
        """taken, and held up by their lanes until now"""
        self._again: deque[Attempt] = deque()
        """put off; for the second round"""
        self._loose = 0
        """how many were put off that have no place in a lane"""
        self._reading = asyncio.Lock()

    def open(self, source: AsyncIterator[Sequence[Parcel]]) -> None:
        """Start."""
        self._source = source

    async def take(self) -> list[Attempt]:
        """What may go in the next request, in order; empty at the end.

        Several only where the wire takes several, and never waiting for more while there is one.
        """
        async with self._reading:
            while not self._has_stopped():
                if batch := self._gather() or await self._second_round():
                    return batch
                if not await self._news():
                    break
        return []

    # -- what became of one ----------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many more may be put off."""
        return self._rows_put_off - self._loose - self._lanes.aside

    @property
    def is_starved(self) -> bool:
        """Whether workers are idle because all that the journal lets go waits behind what they have in hand."""
        if not (self._ready and self._lanes and self._reading.locked()):
            return False
        return not self._records.may_go(self._ready[0].shard, self._ready[0].seq)

    def answered(self, attempt: Attempt) -> None:
        """It has its final answer: those behind it may go."""
        if attempt.ticket is None:
            return
        for freed in self._lanes.leave(attempt.ticket):
            (self._again if freed.is_aside else self._free).append(freed.item)
        self._records.nudge()

    def put_off(self, attempt: Attempt) -> list[Attempt]:
        """Try it again when all others are done; returns those that are set aside behind it."""
        self._again.append(attempt)
        if attempt.ticket is None:
            self._loose += 1
            return []
        self._records.nudge()
        return _items(self._lanes.put_off(attempt.ticket, room=self.room - 1))

    def abandon(self, attempt: Attempt) -> list[Attempt]:
        """It stays owed; returns those that are set aside behind it and stay owed too."""
        if attempt.ticket is None:
            return []
        self._records.nudge()
        return _items(self._lanes.abandon(attempt.ticket))

    # -- which ones ------------------------------------------------------------------------------------------

    def _gather(self) -> list[Attempt]:
        """What may go in one request without waiting for anything."""
        batch: list[Attempt] = []
        behind: deque[Ticket[Attempt]] = deque()
        room = self._batch_size
        while room > 0 and (attempt := self._following(behind, batch) or self._released() or self._fresh(batch)):
            batch.append(attempt)
            room -= max(1, len(attempt.parcel.messages))
            if attempt.ticket is not None:
                attempt.ticket.holder = batch
                behind.extend(self._lanes.behind(attempt.ticket))
        return batch

    def _following(self, behind: deque[Ticket[Attempt]], batch: list[Attempt]) -> Attempt | None:
        """One that was held up only by what is in the batch."""
        while behind:
            ticket = behind.popleft()
            if self._lanes.may_go(ticket, batch):
                return ticket.item
        return None

    def _released(self) -> Attempt | None:
        return self._free.popleft() if self._free else None

    def _fresh(self, batch: list[Attempt]) -> Attempt | None:
        """The next of the outbox under the recorded reach whose lanes are free; those that are not queue up there."""
        while self._ready and self._records.may_go(self._ready[0].shard, self._ready[0].seq):
            parcel = self._ready.popleft()
            tracker = self._records[parcel.shard]
            tracker.take(parcel.seq)
            attempt = Attempt(parcel, tracker.inherits_doubt(parcel.seq), Struggle())
            if not parcel.lanes or not parcel.messages:
                return attempt
            attempt.ticket = self._lanes.enter(attempt, parcel.lanes, room=self.room)
            if attempt.ticket.is_aside:
                self._set_aside(attempt)
            elif self._lanes.may_go(attempt.ticket, batch):
                return attempt
        return None

    async def _second_round(self) -> list[Attempt]:
        """One that was put off, alone; it is in doubt by the journal before it is sent again."""
        if self._ready or not self._is_read or not self._again:
            return []
        attempt = self._again.popleft()
        assert attempt.owed is not None
        if not attempt.owed.in_doubt:
            self._records.answered(replace(attempt.owed, in_doubt=True))
            await self._records.all_recorded()
        again = Attempt(attempt.parcel, attempt.owed.in_doubt, Struggle(is_second_round=True), attempt.ticket)
        return [] if self._has_stopped() else [again]

    async def _news(self) -> bool:
        """Wait until there may be something to take; False when there will be nothing."""
        if not self._ready and not self._is_read:
            await self._read_on()
        elif self._ready or self._lanes:
            await self._records.news()
        else:
            return False
        return True

    async def _read_on(self) -> None:
        try:
            self._ready.extend(await anext(self._source))
        except StopAsyncIteration:
            self._is_read = True


def _items(tickets: Iterable[Ticket[Attempt]]) -> list[Attempt]:
    return [ticket.item for ticket in tickets]


async def _nothing() -> AsyncIterator[Sequence[Parcel]]:
    return
    yield
