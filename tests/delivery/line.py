"""An engine on a real Windsor with the journal in memory, both held to the protocol while they run."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from tests.delivery.scripted import ScriptedWindsor
from windsor_sync.delivery.bounds import Delivery, EngineLimits
from windsor_sync.delivery.engine import Engine, PendingRow
from windsor_sync.delivery.protocols import WireProtocol
from windsor_sync.delivery.protocols.segment_webhook import WebhookWire
from windsor_sync.delivery.protocols.windsor_hook import HookWire
from windsor_sync.delivery.rate import Rate
from windsor_sync.delivery.transport import HttpTransport
from windsor_sync.delivery.verdicts import Answer
from windsor_sync.domain.progress import ShardProgress, joined
from windsor_sync.sandbox import Sandbox
from windsor_sync.state.ledger import RowVerdict, Verdict

HASTY = EngineLimits(
    max_in_flight=8,
    checkpoint_rows=20,
    checkpoint_s=0.02,
    give_up_after_s=0.5,
    drain_s=2,
    first_backoff_s=0.001,
    longest_backoff_s=0.01,
)
TRAIT = "vip"
STORM = {"error_rate": 0.2, "reset_rate": 0.1, "lost_answer_rate": 0.1, "false_error_rate": 0.1}
"""Faults that leave doubt and faults that do not, some of each."""


def user_of(seq: int) -> str:
    """The user of a row."""
    return f"user-{seq:04}"


def email_of(seq: int) -> str:
    """The e-mail of a row."""
    return f"{user_of(seq)}@example.com"


def message_of(seq: int, part: int = 0, **fields: Any) -> bytes:
    """One identify of a row."""
    message = {
        "type": "identify",
        "userId": user_of(seq),
        "messageId": f"message-{seq}-{part}",
        "traits": {TRAIT: True, "email": email_of(seq), f"part_{part}": True},
        **fields,
    }
    return json.dumps(message).encode()


def pending_row(seq: int, shard: int = 0, parts: int = 1, **fields: Any) -> PendingRow:
    """One row of the outbox, on its way."""
    messages = tuple(message_of(seq, part, **fields) for part in range(parts))
    return PendingRow(shard, seq, messages, (user_of(seq), None, email_of(seq), None))


def row_of(message: bytes) -> int:
    """The row a message belongs to."""
    (row,) = rows_of(message)
    return row


def rows_of(body: bytes) -> list[int]:
    """The rows whose messages a request holds, in order."""
    found = json.loads(body)
    return [row_named(message["messageId"]) for message in found.get("batch", [found])]


def row_named(message_id: str | None) -> int:
    """The row that a message's id names."""
    return int((message_id or "").split("-")[1])


class MemoryJournal:
    """A ledger in memory that refuses what a ledger must never be told."""

    def __init__(self, rows: int, shards: int = 1) -> None:
        bounds = [rows * index // shards for index in range(shards + 1)]
        self.shards = [
            ShardProgress(index, bounds[index], bounds[index + 1], bounds[index], bounds[index])
            for index in range(shards)
        ]
        self.verdicts: dict[int, RowVerdict] = {}
        self.absent: frozenset[int] = frozenset()
        """rows that are not for this run"""
        self.checkpoints = 0
        self.before_checkpoint: Callable[[], None] = lambda: None
        self.permit: Callable[[], None] = lambda: None
        self.before_sending: Callable[[int], None] = lambda row: None

    def checkpoint(self, shards: Sequence[ShardProgress], decided: Sequence[RowVerdict]) -> None:
        """Record, as the ledger does."""
        self.before_checkpoint()
        for new in shards:
            old = self.shards[new.shard]
            assert old.position <= new.position <= new.reach <= new.last
            assert new.stretches == joined(new.stretches)
            assert all(new.position <= stretch.first < stretch.last <= new.last for stretch in new.stretches)
            assert (new.first, new.last) == (old.first, old.last)
        assert len({verdict.seq for verdict in decided}) == len(decided)
        for new in shards:
            self.shards[new.shard] = new
        self.verdicts |= {verdict.seq: verdict for verdict in decided}
        self.checkpoints += 1
        told = self.of(self.is_told)
        assert len(told) == sum(shard.delivered for shard in self.shards), "the books do not balance"

    def require(self) -> None:
        """Say whether this run may send, as the test has it."""
        self.permit()

    @property
    def rows(self) -> range:
        """Every row of the outbox."""
        return range(self.shards[-1].last)

    @property
    def due(self) -> set[int]:
        """Those for this run."""
        return set(self.rows) - self.absent

    def of(self, question: Callable[[int], bool]) -> list[int]:
        """The rows for which it is true."""
        return [seq for seq in sorted(self.due) if question(seq)]

    def _shard(self, seq: int) -> ShardProgress:
        return next(shard for shard in self.shards if shard.first <= seq < shard.last)

    def is_told(self, seq: int) -> bool:
        """Whether the next diff takes Windsor to know of the row."""
        verdict = self.verdicts.get(seq)
        return verdict.verdict is Verdict.DELIVERED if verdict else self._shard(seq).has_answer(seq)

    def is_in_doubt(self, seq: int) -> bool:
        """Whether the next diff tells the row's user the truth in any case."""
        if verdict := self.verdicts.get(seq):
            return verdict.in_doubt
        return self._shard(seq).is_in_doubt(seq)


class WatchedTransport(HttpTransport):
    """Real HTTP; every request is held against the journal, which must have the row in doubt by then."""

    def __init__(self, journal: MemoryJournal) -> None:
        super().__init__(connections=64, timeout_s=5)
        self._journal = journal
        self.sent: list[int] = []
        self.requests: list[list[int]] = []
        self.answers: list[Answer] = []

    async def send(self, request: httpx.Request, permit: Callable[[], None]) -> Answer:
        """Send for real."""
        rows = rows_of(request.content)
        for row in rows:
            assert self._journal.is_in_doubt(row), f"row {row} was sent, and a kill now would forget it"
            self._journal.before_sending(row)
        self.sent += rows
        self.requests.append(rows)
        answer = await super().send(request, permit)
        self.answers.append(answer)
        return answer


@dataclass
class Line:
    """One delivery: what went in, and what is to be seen afterwards."""

    windsor: Sandbox | ScriptedWindsor
    journal: MemoryJournal
    limits: EngineLimits = HASTY
    sent: list[int] = field(default_factory=list)
    """rows in the order of their requests"""
    requests: list[list[int]] = field(default_factory=list)
    """the rows of each request"""
    answers: list[Answer] = field(default_factory=list)
    rate: Rate = field(default_factory=lambda: Rate(1_000_000))
    is_hook: bool = False
    """over Windsor's own wire"""
    chunk_rows: int = 7
    """of the outbox, read at once"""

    def deliver(
        self,
        rows: Iterable[PendingRow] | None = None,
        *,
        before: Callable[[Engine], None] = lambda _: None,
        meanwhile: Callable[[Engine], None] = lambda _: None,
    ) -> Delivery:
        """Run an engine to its end; `before` is called before that, `meanwhile` at every progress it reports."""
        chosen = self.rows() if rows is None else rows
        return asyncio.run(self._deliver(chosen, before, meanwhile))

    def rows(self) -> list[PendingRow]:
        """What is left of the outbox, one message a row."""
        return [
            pending_row(seq, shard.shard)
            for shard in self.journal.shards
            for seq in range(shard.position, shard.last)
            if seq not in self.journal.verdicts and seq in self.journal.due and not shard.has_answer(seq)
        ]

    @property
    def wire(self) -> WireProtocol:
        """How messages get to this Windsor."""
        if self.is_hook:
            return HookWire(f"{self.windsor.url}hook", self.windsor.api_key)
        return WebhookWire(self.windsor.url, self.windsor.api_key)

    async def _deliver(
        self,
        rows: Iterable[PendingRow],
        before: Callable[[Engine], None],
        meanwhile: Callable[[Engine], None],
    ) -> Delivery:
        transport = WatchedTransport(self.journal)
        self.sent, self.requests, self.answers = transport.sent, transport.requests, transport.answers
        async with transport:
            engine = Engine(
                wire=self.wire,
                transport=transport,
                rate=self.rate,
                journal=self.journal,
                limits=self.limits,
                on_progress=lambda _: meanwhile(engine),
            )
            before(engine)
            try:
                return await engine.run(self.journal.shards, _in_chunks(rows, self.chunk_rows))
            finally:
                assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} <= _background()

    # -- what is to be seen ----------------------------------------------------------------------------------

    @property
    def applied(self) -> dict[int, int]:
        """How often Windsor applied a message of each row."""
        counts: dict[int, int] = {}
        for accepted in self.windsor.store.accepted:
            row = row_named(accepted.message_id)
            counts[row] = counts.get(row, 0) + 1
        return counts

    def check(self, outcome: Delivery) -> None:
        """What must hold after any delivery that ended by itself or was stopped."""
        told, applied = set(self.journal.of(self.journal.is_told)), set(self.applied)
        assert told <= applied, "told, but Windsor never applied it"
        assert applied - told <= set(self.journal.of(self.journal.is_in_doubt)), "applied, and nobody remembers"
        rejected = [v for v in self.journal.verdicts.values() if v.verdict is Verdict.REJECTED]
        unanswered = [v for v in self.journal.verdicts.values() if v.verdict is Verdict.UNANSWERED]
        assert (outcome.rejected, outcome.unanswered) == (len(rejected), len(unanswered))


def _background() -> set[asyncio.Task[Any]]:
    """Tasks of aiohttp's that close connections."""
    return {task for task in asyncio.all_tasks() if "aiohttp" in str(task.get_coro())}


async def _in_chunks(rows: Iterable[PendingRow], size: int) -> AsyncIterator[Sequence[PendingRow]]:
    chunk: list[PendingRow] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == size:
            yield chunk
            chunk = []
    yield chunk


def patient(limits: EngineLimits = HASTY, **changes: Any) -> EngineLimits:
    """HASTY limits with changes, or long enough for any delivery to succeed."""
    return replace(limits, **({"give_up_after_s": 20} | changes))


def stop_after(delivered: int) -> Callable[[Engine], None]:
    """Stops an engine once it has delivered so many rows."""

    def look(engine: Engine) -> None:
        if engine.outcome.delivered >= delivered:
            engine.stop()

    return look
