"""Brings a run's outbox to Windsor: reads it ahead, hands it to the engine, and writes the answers to the ledger."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Protocol

from windsor_sync.delivery.bounds import Delivery, EngineLimits
from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.delivery.engine import Engine
from windsor_sync.delivery.protocols import WireProtocol
from windsor_sync.delivery.rate import Rate
from windsor_sync.delivery.rows import PendingRow
from windsor_sync.delivery.shared_rate import Weight
from windsor_sync.delivery.transport import Transport
from windsor_sync.domain.change import FALSE_FIRST
from windsor_sync.domain.progress import FIRST_SHARD, ShardProgress
from windsor_sync.domain.suppression import Suppressed
from windsor_sync.outbox.audiences import CHUNK_ROWS, OutboxRow, Renderer, read_rows
from windsor_sync.state.leases import Lease
from windsor_sync.state.ledger import Ledger, RowVerdict
from windsor_sync.storage.limits import shortage_in

RENDERED_AT_ONCE = 64
"""Rows: about a millisecond, in which no answer is read."""


class DestinationClient(Protocol):
    """The parts of a destination that a delivery uses: the wire protocol, the limits, connections, and a share of the rate."""

    @property
    def wire(self) -> WireProtocol: ...
    @property
    def limits(self) -> EngineLimits: ...
    def transport(self) -> Transport: ...
    def sharing(self, task: str, weight: Weight) -> AbstractContextManager[Rate]: ...


@dataclass(frozen=True, slots=True)
class OutboxDelivery:
    """An outbox to deliver: whose run it is, which stretches of it, and how their rows are read as rows."""

    run_id: str
    shards: tuple[ShardProgress, ...]
    rows: Callable[[ShardProgress], Iterator[Iterable[PendingRow]]]
    """the rows of a shard that have no answer yet, ascending, a chunk at a time; a chunk is read in
    a thread, and what an iterator leaves to do is done in the event loop"""
    weight: Weight = Weight.AUDIENCES


def identify_rows(
    location: str,
    held: Sequence[str],
    renderer: Renderer,
    decided: frozenset[int],
    suppressed: Suppressed,
    merged_away: frozenset[str] = frozenset(),
) -> Callable[[ShardProgress], Iterator[Iterable[PendingRow]]]:
    """Return how to read an audience's outbox: one identify for each row, or one for each e-mail.

    `held` kinds of change and `decided` rows, which have a verdict from an earlier try, are passed over. Nothing is sent to
    ids that were `merged_away` since the rows were written: the next run tells the person.
    """

    def pending(shard: ShardProgress) -> Iterator[Iterable[PendingRow]]:
        for rows in read_rows(location, shard.chunks(CHUNK_ROWS), held):
            undecided = (row for row in rows if row.seq not in decided and not shard.has_answer(row.seq))
            left = undecided if decided or shard.stretches else rows
            yield map(partial(_pending_row, shard.shard, renderer, suppressed, merged_away), left)

    return pending


def _pending_row(
    shard: int, renderer: Renderer, suppressed: Suppressed, merged_away: frozenset[str], row: OutboxRow
) -> PendingRow:
    """Return a row with its messages; without any when one of its ids is suppressed, forgotten or merged away."""
    user = row.anonymous_id if row.user_id is None else row.user_id
    private = (row.user_id, row.anonymous_id, *(row.email.split("\n") if row.email else ()), row.value)
    is_silent = user is None or user in merged_away or any(name in suppressed for name in (user, row.anonymous_id))
    messages = () if is_silent else renderer.messages(row)
    goes_first = shard == FIRST_SHARD and row.change in FALSE_FIRST  # earlier versions put these rows anywhere
    return PendingRow(shard, row.seq, messages, private, goes_first=goes_first)


class LedgerJournal:
    """Writes an engine's answers to the ledger, under a lease."""

    def __init__(self, ledger: Ledger, lease: Lease, run_id: str) -> None:
        self._ledger = ledger
        self._lease = lease
        self._run_id = run_id
        self._recorded: dict[int, ShardProgress] = {}

    def require(self) -> None:
        """Raise LeaseLost unless this run may send right now."""
        self._lease.require()

    def checkpoint(self, shards: Sequence[ShardProgress], decided: Sequence[RowVerdict]) -> None:
        """Record progress; an error (a lost lease, a database out of reach) stops the engine."""
        self._ledger.checkpoint(self._lease, self._run_id, shards, decided, before=self._recorded)
        self._recorded |= {shard.shard: shard for shard in shards}


def deliver(
    outbox_delivery: OutboxDelivery,
    *,
    ledger: Ledger,
    lease: Lease,
    client: DestinationClient,
    stop: CancelToken,
    on_progress: Callable[[Delivery], None] | None = None,
) -> Delivery:
    """Deliver what is left of the outbox; returns when it is done or something stopped it."""
    journal = LedgerJournal(ledger, lease, outbox_delivery.run_id)
    with client.sharing(lease.resource, outbox_delivery.weight) as rate:
        try:
            return asyncio.run(_deliver(outbox_delivery, journal, client, rate, stop, on_progress))
        except Exception as error:
            shortage = shortage_in(error)
            if shortage is None:
                raise
            return Delivery(stopped_by=shortage)  # with its connections closed there is room to close the books


async def _deliver(
    outbox_delivery: OutboxDelivery,
    journal: LedgerJournal,
    client: DestinationClient,
    rate: Rate,
    stop: CancelToken,
    on_progress: Callable[[Delivery], None] | None,
) -> Delivery:
    transport = client.transport()
    try:
        engine = Engine(
            wire=client.wire,
            transport=transport,
            rate=rate,
            journal=journal,
            limits=client.limits,
            on_progress=on_progress,
        )
        stop.connect(asyncio.get_running_loop(), engine.stop)
        rows = _read_ahead(_rows(outbox_delivery))
        try:
            return await engine.run(outbox_delivery.shards, rows)
        finally:
            await rows.aclose()
    finally:
        await transport.close()


def _rows(outbox_delivery: OutboxDelivery) -> Generator[Iterable[PendingRow], None, None]:
    for shard in outbox_delivery.shards:
        yield from outbox_delivery.rows(shard)


async def _read_ahead(chunks: Generator[Iterable[PendingRow], None, None]) -> AsyncGenerator[list[PendingRow], None]:
    """Read the next chunk in a thread while this one is being delivered, and render this one little by little.

    Rendering is Python's own work: a thread that does it takes the interpreter from the event loop for as long.
    """
    following = asyncio.create_task(asyncio.to_thread(next, chunks, None))
    try:
        while (chunk := await following) is not None:
            following = asyncio.create_task(asyncio.to_thread(next, chunks, None))
            rows = iter(chunk)
            while some := list(islice(rows, RENDERED_AT_ONCE)):
                yield some
    finally:
        with suppress(Exception):
            await following
        chunks.close()
