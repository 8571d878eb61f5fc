"""Connections that are kept open, and one HTTP/1.1 exchange at a time on each.

The parser is httptools, which is Node's. Clients made for everything spend several times as long on a request as what
is left here: write the bytes, read the answer.
"""

import asyncio
import select
import ssl
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from windsor_sync.delivery.verdicts import Hearing

MAX_ANSWER_BYTES = 65_536
"""Kept of a head, and of a body: it is only read for the message of a refusal."""

MAX_FRAMING_BYTES = 1 << 20
"""Of all that is neither head nor body: lengths of chunks, and trailers."""

MAX_ANSWERS = 1_000
"""Over one connection: so many would be in doubt if one came too many."""

IDLE_S = 30.0
"""A connection that rested for longer is not used again: the other side may be about to close it."""

NEXT_ADDRESS_S = 0.25
"""When a host has several addresses (RFC 8305)."""


class NeverLeftError(Exception):
    """No connection came about; the reason is its cause."""


class OutOfStepError(NeverLeftError):
    """The connection holds an answer that nobody asked for; the next request would take it for its own."""


class NotHttpError(Exception):
    """What came is no HTTP answer."""


class Origin(NamedTuple):
    """Whom to connect to."""

    host: str
    port: int
    is_secure: bool


class Received(NamedTuple):
    """An answer as it came."""

    status: int
    headers: list[tuple[bytes, bytes]]
    """names in lower case"""
    body: bytes
    """at most MAX_ANSWER_BYTES of it"""
    hearing: Hearing


class Connection(asyncio.Protocol):
    """One connection; `exchange` belongs to one caller at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._waiter: asyncio.Future[Received] | None = None
        self._silence_s = self._until = self._heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._begin()
        self.is_reusable = True
        self.hearing = Hearing()
        self._unread = select.poll()
        self.rests_since = self._loop.time()

    async def exchange(self, request: bytes, silence_s: float, until: float) -> Received:
        """Write the request and wait for its answer.

        Raises TimeoutError after `silence_s` without a byte and at `until` by the loop's clock, ConnectionError, NotHttpError.
        """
        assert self._transport is not None
        self._begin()
        self._waiter = self._loop.create_future()
        self._silence_s, self._until, self._heard_at = silence_s, until, self._loop.time()
        self._timer = self._loop.call_at(min(until, self._heard_at + silence_s), self._listen)
        self._transport.write(request)
        try:
            return await self._waiter
        finally:
            self._timer.cancel()
            if self._waiter.cancelled() or self._waiter.exception() or not self.is_reusable:
                self.close()
            self._waiter = None
            self.rests_since = self._loop.time()

    async def is_quiet(self) -> bool:
        """Whether it can be used again: open, and nothing came that nobody asked for."""
        if self.is_reusable and self._unread.poll(0):
            for _ in range(2):  # the event loop looks at its sockets in the first round and reads in the second
                await asyncio.sleep(0)
        return self.is_reusable and not self.hearing.is_out_of_step

    def close(self) -> None:
        """Close at once, whatever is under way."""
        self.is_reusable = False
        if self._transport is not None:
            self._transport.abort()

    # -- what the event loop calls ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.hearing.is_a_step_behind()
            return
        self._heard_at = self._loop.time()
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail(NotHttpError("upgrade"))
        except HttpParserError:  # its text may quote what came
            self._fail(NotHttpError("parse"))
        self._size += len(data)  # without the body
        if self._size > (MAX_FRAMING_BYTES if self._is_headed else MAX_ANSWER_BYTES):
            self._fail(NotHttpError("head or trailers"))

    def connection_lost(self, error: Exception | None) -> None:
        self.is_reusable = False
        if self._is_headed and not self._has_length and error is None:
            self._complete()  # the end of the connection is the end of such a body
        self._fail(ConnectionResetError())

    # -- what the parser calls -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._waiter is None or self._waiter.done():
            self.hearing.is_a_step_behind()  # part of an answer that nobody asked for came right behind another one

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_headed:
            return  # a trailer
        name = name.lower()
        self._headers.append((name, value))
        if name == b"content-length" or name == b"transfer-encoding":
            self._has_length = True

    def on_headers_complete(self) -> None:
        self._is_headed = True

    def on_body(self, data: bytes) -> None:
        self._size -= len(data)
        self._body += data[: MAX_ANSWER_BYTES - len(self._body)]
        if len(self._body) >= MAX_ANSWER_BYTES and self._parser.get_status_code() >= 300:
            self.is_reusable = False  # nobody reads the rest of a refusal; a yes has to be complete
            self._complete()

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # "100 Continue": the answer is still to come
            self._begin()
            return
        self.is_reusable &= self._parser.should_keep_alive()
        self._complete()

    # -- one answer ------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._size = 0
        self._is_headed = self._has_length = False

    def _complete(self) -> None:
        if self._waiter is None or self._waiter.done():
            self.hearing.is_a_step_behind()
        else:
            received = Received(self._parser.get_status_code(), self._headers, bytes(self._body), self.hearing)
            self._waiter.set_result(received)

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def _listen(self) -> None:
        """Give up after too long a silence."""
        due = min(self._until, self._heard_at + self._silence_s)
        if self._loop.time() >= due:
            self._fail(TimeoutError())
        else:
            self._timer = self._loop.call_at(due, self._listen)


class Connections:
    """At most `most` connections at once."""

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._idle: defaultdict[Origin, list[Connection]] = defaultdict(list)
        self._tls: ssl.SSLContext | None = None

    async def borrow(self, origin: Origin, within_s: float) -> Connection:
        """Lend a connection for one exchange, to be given back whatever comes of it; raises NeverLeftError."""
        await self._free.acquire()
        try:
            return await self._rested(origin) or await self._open(origin, within_s)
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

    def close(self) -> None:
        """Close those that rest."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _rested(self, origin: Origin) -> Connection | None:
        idle = self._idle[origin]
        while idle:
            connection = idle.pop()
            is_quiet = await connection.is_quiet()
            if connection.hearing.is_out_of_step:
                connection.close()
                raise OutOfStepError
            if is_quiet and asyncio.get_running_loop().time() - connection.rests_since <= IDLE_S:
                return connection
            connection.close()
        return None

    async def _open(self, origin: Origin, within_s: float) -> Connection:
        loop = asyncio.get_running_loop()
        make: Callable[[], Connection] = Connection
        try:
            async with asyncio.timeout(within_s):
                _, connection = await loop.create_connection(
                    make,
                    origin.host,
                    origin.port,
                    ssl=self._trust() if origin.is_secure else None,
                    happy_eyeballs_delay=NEXT_ADDRESS_S,
                )
        except (OSError, ssl.CertificateError, ValueError) as error:  # ValueError: a host name that cannot be one
            raise NeverLeftError from error
        if not await connection.is_quiet():
            connection.close()
            raise NeverLeftError from ConnectionResetError()  # closed, or answered, as soon as it was open
        return connection

    def _trust(self) -> ssl.SSLContext:
        self._tls = self._tls or ssl.create_default_context()
        return self._tls
