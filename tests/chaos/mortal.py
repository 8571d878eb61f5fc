"""A process that may die, or stand still: at any write to its state, at any file it keeps, before or after any request.

Dying is an exception here, and from it on nothing of the process reaches the state, the files or Windsor any more:
what the next process finds is what a kill leaves behind.
"""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from sqlalchemy import Connection

from windsor_sync.delivery.transport import Transport
from windsor_sync.delivery.verdicts import Answer, Decision, decide
from windsor_sync.errors import StateUnavailable
from windsor_sync.segment.trait_keys import TraitKey
from windsor_sync.state.audiences import Registry
from windsor_sync.state.database import Database
from windsor_sync.state.leases import Lease
from windsor_sync.state.ledger import Ledger
from windsor_sync.state.marks import Marks
from windsor_sync.state.stored_files import StoredFiles
from windsor_sync.storage.file_store import FileStore
from windsor_sync.usecases.destination_client import HttpDestinationClient
from windsor_sync.usecases.workspace import Workspace

BESIDE = frozenset({"rate", "lease"})
"""Threads that write by the clock: a death there could not be repeated."""


class Died(Exception):
    """The process is gone."""


class Message(NamedTuple):
    """One identify on the wire."""

    message_id: str
    user: str
    value: Any
    email: str | None
    is_answered: bool
    """with a yes that reached us"""


@dataclass(slots=True)
class Life:
    """How long a process lives, in moments: two for each thing it does, one before and one after."""

    moments_left: int | None = None
    """None: it lives on"""
    wire: list[Message] = field(default_factory=list)
    """every message that left, in order, whatever became of it"""
    meanwhile: Callable[[], None] | None = None
    """what others do at its last moment; the process, which stood still, lives on then"""
    leases: list[Lease] = field(default_factory=list)
    """all that it has taken"""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def is_over(self) -> bool:
        """Whether it has died."""
        return self.moments_left is not None and self.moments_left <= 0

    def moment(self) -> None:
        """Live on, stand still, or die here."""
        if threading.current_thread().name in BESIDE:
            if self.is_over:
                raise StateUnavailable("the process has died")
            return
        with self._lock:
            if self.moments_left is None:
                return
            self.moments_left -= 1
            if self.moments_left > 0:
                return
            if self.meanwhile is None:
                raise Died
            act, self.meanwhile, self.moments_left = self.meanwhile, None, None
            with ThreadPoolExecutor(1) as others:  # an event loop may run in this thread
                others.submit(act).result()

    def lose_leases(self) -> None:
        """Let the deadlines of its leases pass by its own clock."""
        for lease in self.leases:
            lease._valid_until = 0.0


class MortalDatabase(Database):
    """The state of a process that may die around a commit."""

    def __init__(self, database: Database, life: Life) -> None:
        super().__init__(database.engine, database.key)
        self._life = life

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is never begun, or whose success is never learnt, when the process dies."""
        self._life.moment()
        with super().write() as connection:
            yield connection
        self._life.moment()


class MortalFiles(FileStore):
    """The files of a process that may die around a rename."""

    def __init__(self, root: str, life: Life) -> None:
        super().__init__(root)
        self._life = life

    def keep(self, draft: Path, path: str) -> None:
        """Keep the draft, if the process lives to do it."""
        self._life.moment()
        super().keep(draft, path)
        self._life.moment()


class MortalTransport:
    """Notes every message that leaves; the process may die before it leaves or before its answer is seen."""

    def __init__(self, transport: Transport, life: Life, key: Callable[[dict[str, Any]], Any]) -> None:
        self._transport = transport
        self._life = life
        self._value = key

    async def send(self, request: httpx.Request, permit: Callable[[], None]) -> Answer:
        """Send and note it."""
        self._life.moment()
        body = json.loads(request.content)
        place = len(self._life.wire)
        self._life.wire.append(_message(body, self._value(body["traits"])))
        answer = await self._transport.send(request, permit)
        self._life.moment()
        if decide(answer) is Decision.DELIVERED:
            self._life.wire[place] = self._life.wire[place]._replace(is_answered=True)
        return answer

    async def overhear(self) -> None:
        """Listen for answers too many."""
        await self._transport.overhear()

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()


def _message(body: dict[str, Any], value: Any) -> Message:
    user = body.get("userId") or body["anonymousId"]
    return Message(body["messageId"], user, value, body["traits"].get("email"), is_answered=False)


@dataclass(frozen=True, slots=True)
class MortalClient(HttpDestinationClient):
    """The way to Windsor, for as long as the process lives."""

    life: Life
    key: str

    def transport(self) -> Transport:
        """Fresh connections."""
        return MortalTransport(HttpDestinationClient.transport(self), self.life, lambda traits: traits[self.key])


@dataclass(frozen=True, slots=True)
class MortalWorkspace(Workspace):
    """What a process that may die works with."""

    life: Life = field(default_factory=Life)
    key: str = ""

    @contextmanager
    def hold(
        self, key: TraitKey, holder: str, shard: int | None = None, destination: str | None = None
    ) -> Iterator[Lease]:
        """A lease, which ends when the process stands still for too long."""
        with Workspace.hold(self, key, holder, shard, destination) as lease:
            self.life.leases.append(lease)
            yield lease

    def destination_client(self) -> HttpDestinationClient:
        """Return a client whose transport may die."""
        client = Workspace.destination_client(self)
        parts = {part.name: getattr(client, part.name) for part in fields(HttpDestinationClient)}
        return MortalClient(**parts, life=self.life, key=self.key)


def mortal(workspace: Workspace, life: Life, key: str) -> MortalWorkspace:
    """The same workspace, in a process that may die; `key` is the trait it is about."""
    database = MortalDatabase(workspace.database, life)
    files = MortalFiles(workspace.settings.files, life)
    destination = workspace.settings.destination
    parts = {part.name: getattr(workspace, part.name) for part in fields(Workspace)}
    opened = MortalWorkspace(**parts, life=life, key=key)
    return replace(
        opened,
        database=database,
        files=files,
        ledger=Ledger(database, files),
        registry=Registry(database, destination.name),
        stored=StoredFiles(database, files),
        marks=Marks(database, files, destination),
    )
