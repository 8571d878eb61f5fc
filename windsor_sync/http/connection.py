"""One connection, and one HTTP/1.1 exchange at a time on it.

The parser is httptools, which is Node's. Clients made for everything spend several times as long on a request as what
is left here: write the bytes, read the answer.
"""

import asyncio
import select
import ssl
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

KEPT_BYTES = 65_536
"""Of a body, where a caller asks for no more: it is only read for the message of a refusal."""

MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 500

MAX_FRAMING_BYTES = 1 << 18
"""Of all that is not body: heads, lengths of chunks, and trailers."""

MAX_BODY_BYTES = 16 << 20
"""Of an answer that has to be complete."""

_SWITCHING_PROTOCOLS = 101


class NotHttpError(Exception):
    """The bytes that arrived are no HTTP answer to this request."""


class Hearing:
    """The users whose answers came over one connection, for the case that it turns out to be a step behind.

    An answer too many means that any answer before it may have been another request's.
    """

    def __init__(self) -> None:
        self.is_out_of_step = False
        self._doubts: list[Callable[[], None]] = []

    def __len__(self) -> int:
        """Return how many answers would be in doubt."""
        return len(self._doubts)

    def heard(self, doubt: Callable[[], None]) -> None:
        """Remember an answer; `doubt` is called, now or later, when the connection is a step behind."""
        if self.is_out_of_step:
            doubt()
        else:
            self._doubts.append(doubt)

    def is_a_step_behind(self) -> None:
        """There was an answer too many."""
        self.is_out_of_step = True
        doubts, self._doubts = self._doubts, []
        for doubt in doubts:
            doubt()


class Received(NamedTuple):
    """An answer as it came."""

    status: int
    headers: list[tuple[bytes, bytes]]
    """names in lower case"""
    body: bytes
    """at most `kept_bytes` of it"""
    hearing: Hearing


class Bounds(NamedTuple):
    """The bounds of an answer: how long it may take, and how much of it is kept."""

    silence_s: float
    until: float
    """by the event loop's clock"""
    kept_bytes: int = KEPT_BYTES


class Connection(asyncio.Protocol):
    """One connection; `exchange` belongs to one caller at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transports: Sequence[asyncio.Transport] = ()
        self._parser = HttpResponseParser(self)
        self._waiter: asyncio.Future[Received] | None = None
        self._bounds = Bounds(0.0, 0.0)
        self._heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_cut = False
        self._framing_bytes = 0
        self._begin()
        self.is_reusable = True
        self.hearing = Hearing()
        self._unread = select.poll()
        self.rests_since = self._loop.time()

    def speaks_over(self, *transports: asyncio.Transport) -> None:
        """Take the transports that lie over each other, TCP first: all of them have to be empty for a request to be written."""
        self._transports = transports
        self._unread.register(transports[0].get_extra_info("socket").fileno(), select.POLLIN)

    async def exchange(self, request: bytes, bounds: Bounds) -> Received:
        """Write the request and wait for its answer.

        Raises TimeoutError after `silence_s` without a byte and at `until`, ConnectionError, NotHttpError.
        """
        self._begin()
        self._framing_bytes = 0
        self._waiter = self._loop.create_future()
        self._bounds, self._heard_at = bounds, self._loop.time()
        self._timer = self._loop.call_at(min(bounds.until, self._heard_at + bounds.silence_s), self._listen)
        self._transports[-1].write(request)
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
        self._is_cut = True
        if self._transports:
            self._transports[-1].abort()

    # -- what the event loop calls ---------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if not self._is_waiting():
            self._note_too_many()
            return
        self._heard_at = self._loop.time()
        self._framing_bytes += len(data)  # less the body, which the parser reports
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail(NotHttpError("upgrade"))
        except HttpParserError:  # its text may quote what came
            if self._is_waiting():
                self._fail(NotHttpError("parse"))
            else:
                self._note_too_many()  # it came right behind the answer
        if self._framing_bytes > (MAX_FRAMING_BYTES if self._is_headed else MAX_HEAD_BYTES):
            self._fail(NotHttpError("head or trailers"))

    def eof_received(self) -> None:
        """Take the other side's own end for the end of a body without a length; a cut connection has none over TLS."""
        self.is_reusable = False
        if self._is_headed and not self._has_length and self._was_ended():
            self._complete()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self.is_reusable = False
        self._fail(ConnectionResetError())

    # -- what the parser calls -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if not self._is_waiting():
            self._note_too_many()  # part of an answer that nobody asked for came right behind another one

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_headed or len(self._headers) > MAX_HEADERS:
            return  # a trailer, or one too many
        name = name.lower()
        self._headers.append((name, value))
        if name == b"content-length" or name == b"transfer-encoding":
            self._has_length = True

    def on_headers_complete(self) -> None:
        self._is_headed = True
        status = self._parser.get_status_code()
        if len(self._headers) > MAX_HEADERS or status == _SWITCHING_PROTOCOLS:
            self._fail(NotHttpError("head"))
        if 200 <= status < 300 and self._is_waiting() and not self._is_written():
            self.hearing.is_a_step_behind()
            self._fail(NotHttpError("a yes to a request that was not written yet"))

    def on_body(self, data: bytes) -> None:
        self._framing_bytes -= len(data)
        self._body_bytes += len(data)
        self._body += data[: self._bounds.kept_bytes - len(self._body)]
        if len(self._body) >= self._bounds.kept_bytes and self._parser.get_status_code() >= 300:
            self._complete()
            self._is_cut = True  # nobody reads the rest of a refusal; a yes has to be complete
            self.is_reusable = False
        elif self._body_bytes > max(MAX_BODY_BYTES, self._bounds.kept_bytes):
            self._fail(NotHttpError("body"))

    def on_message_complete(self) -> None:
        if self._is_cut or not self._is_waiting():
            return
        if self._parser.get_status_code() < 200:  # "100 Continue": the answer is still to come
            self._begin()
            return
        self.is_reusable &= self._parser.should_keep_alive() and self._is_written()
        self._complete()

    # -- one answer ------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._body_bytes = 0
        self._is_headed = self._has_length = False

    def _is_waiting(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def _is_written(self) -> bool:
        return not any(transport.get_write_buffer_size() for transport in self._transports)

    def _was_ended(self) -> bool:
        """Over TLS, whether a close_notify came: asyncio tells of the end of the TCP connection in the same way."""
        tls = self._transports[-1].get_extra_info("ssl_object")
        try:
            return tls is None or tls.read(1) == b""
        except ssl.SSLZeroReturnError:
            return True
        except ssl.SSLError:
            return False

    def _complete(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            received = Received(self._parser.get_status_code(), self._headers, bytes(self._body), self.hearing)
            self._waiter.set_result(received)

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
            self._is_cut = True

    def _note_too_many(self) -> None:
        if not self._is_cut:
            self.hearing.is_a_step_behind()

    def _listen(self) -> None:
        """Give up after too long a silence."""
        due = min(self._bounds.until, self._heard_at + self._bounds.silence_s)
        if self._loop.time() >= due:
            self._fail(TimeoutError())
        else:
            self._timer = self._loop.call_at(due, self._listen)


def as_transport(transport: asyncio.BaseTransport | None) -> asyncio.Transport:
    """Return what the event loop hands out, as the type that it is."""
    return cast("asyncio.Transport", transport)
