"""Connections that are kept open between exchanges."""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Iterable

from windsor_sync.http.connection import Connection
from windsor_sync.http.opening import NeverLeftError, Origin, Proxy, open_connection, tls_context

MAX_ANSWERS = 1_000
"""Over one connection: so many would be in doubt if one came too many."""

IDLE_S = 30.0
"""A connection that rested for longer is not used again: the other side may be about to close it."""

LAST_WORDS_S = 0.01
"""How long connections are listened to after their last answer."""


class OutOfStepError(NeverLeftError):
    """The connection holds an answer that nobody asked for; the next request would take it for its own."""


class Connections:
    """At most `most` connections at once."""

    def __init__(self, most: int, tls: ssl.SSLContext | None = None) -> None:
        self._free = asyncio.Semaphore(most)
        self._idle: defaultdict[Origin, list[Connection]] = defaultdict(list)
        self._tls = tls

    async def borrow(self, origin: Origin, proxy: Proxy | None, within_s: float) -> Connection:
        """Lend a connection for one exchange, to be given back whatever comes of it; raises NeverLeftError."""
        await self._free.acquire()
        try:
            return await self._rested(origin) or await open_connection(origin, proxy, self._trust, within_s)
        except BaseException:
            self._free.release()
            raise

    def give_back(self, origin: Origin, connection: Connection) -> None:
        """Keep it for the next exchange, if it is fit for one."""
        self._free.release()
        if len(connection.hearing) >= MAX_ANSWERS:
            connection.close()
        if connection.is_reusable:
            self._idle[origin].append(connection)

    async def overhear(self) -> None:
        """Listen a moment longer to those that rest: an answer too many puts their verdicts in doubt."""
        if any(self._idle.values()):
            await asyncio.sleep(LAST_WORDS_S)
        for connection in self._resting():
            await connection.is_quiet()

    def close(self) -> None:
        """Close those that rest."""
        for connection in self._resting():
            connection.close()
        self._idle.clear()

    def _trust(self) -> ssl.SSLContext:
        """Read the authorities once, when they are first needed."""
        self._tls = self._tls or tls_context()
        return self._tls

    def _resting(self) -> Iterable[Connection]:
        return [connection for idle in self._idle.values() for connection in idle]

    async def _rested(self, origin: Origin) -> Connection | None:
        idle = self._idle[origin]
        while idle:
            connection = idle.pop()
            try:
                is_quiet = await connection.is_quiet()
            except BaseException:
                connection.close()
                raise
            if connection.hearing.is_out_of_step:
                connection.close()
                raise OutOfStepError
            if is_quiet and asyncio.get_running_loop().time() - connection.rests_since <= IDLE_S:
                return connection
            connection.close()
        return None
