"""One request, one answer: httpx requests on aiohttp's connections; every failure becomes an answer too.

The requests go straight to the transport: httpx's client searches its pool on every request, which costs more than the
request itself once many are in flight.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

import aiohttp
import httpx
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport

from windsor_sync.delivery.verdicts import Answer, is_page, retry_after_s, words_of
from windsor_sync.errors import WindsorSyncError

MAX_ANSWER_BYTES = 65_536
"""Of an answer's body, which is only read for the message of a refusal."""

_Permit = Callable[[], None]


class Transport(Protocol):
    """Sends requests; never raises for what the network or Windsor does."""

    async def send(self, request: httpx.Request, permit: _Permit) -> Answer:
        """The answer, or what stood in its place.

        `permit` is called when a connection is ready and the first byte is about to leave, which may be a while after
        this call; the WindsorSyncError it raises ends the request unsent and comes out of here.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class HttpTransport:
    """Keeps up to `connections` connections open.

    `timeout_s` bounds each stage of a request (connect, next bytes of the answer), and twice as long all of it.
    """

    def __init__(self, *, connections: int, timeout_s: float) -> None:
        self._timeout = {"connect": timeout_s, "read": timeout_s, "write": timeout_s, "pool": timeout_s}
        self._longest_s = 2 * timeout_s
        self._transport = AiohttpTransport(client=lambda: _session(connections))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def send(self, request: httpx.Request, permit: _Permit) -> Answer:
        """Redirects are not followed; a body is read only for the message of a refusal."""
        request.extensions = {"timeout": self._timeout}
        _permit.set(permit)
        try:
            async with asyncio.timeout(self._longest_s):
                response = await self._transport.handle_async_request(request)
                try:
                    return await _answer(response)
                finally:
                    await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, ValueError) as error:
            return _failure(error)

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


class _OutOfStepError(aiohttp.ClientError):
    """The connection holds an answer that nobody asked for; the next request would take it for its own."""


class _Request(aiohttp.ClientRequest):
    """Looks whether the connection is fit for the request, and in the very moment of writing whether it may leave."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Begin the exchange, on a connection that has nothing to say yet."""
        if conn.protocol is None or conn.protocol.should_close:
            raise _OutOfStepError
        return await super().send(conn)

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """Write headers and body, or fail the exchange with nothing written."""
        assert conn.protocol is not None
        try:
            _permit.get()()
        except WindsorSyncError as refusal:
            conn.protocol.set_exception(refusal)
            return
        await super().write_bytes(writer, conn, content_length)


_permit: ContextVar[_Permit] = ContextVar("permit")


def _session(connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=30),
        cookie_jar=aiohttp.DummyCookieJar(),
        request_class=_Request,
    )


async def _answer(response: httpx.Response) -> Answer:
    headers: Mapping[str, str] = response.headers
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk[: MAX_ANSWER_BYTES - len(body)]
        if len(body) >= MAX_ANSWER_BYTES:
            break
    if response.is_success and is_page(bytes(body), headers):
        return Answer(response.status_code, message="a web page instead of an answer", is_page=True)
    if response.is_success:
        return Answer(response.status_code)
    return Answer(
        response.status_code,
        retry_after_s=retry_after_s(headers.get("retry-after"), datetime.now(UTC)),
        message=words_of(bytes(body), headers),
    )


_NEVER_LEFT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, _OutOfStepError)


def _failure(error: BaseException) -> Answer:
    """What stands in an answer's place: the kind of failure without its text, which may hold an address with a token.

    httpx's names do not tell a connection that never was from one that broke after the request: both are ConnectTimeout.
    """
    cause = error.__cause__ if isinstance(error, httpx.TransportError) and error.__cause__ else error
    return Answer(0, message=_kind(cause), was_sent=not isinstance(cause, _NEVER_LEFT))


def _kind(cause: BaseException) -> str:
    match cause:
        case aiohttp.ClientConnectorDNSError():
            return "the host is not known"
        case aiohttp.ClientSSLError():
            return "no trusted TLS connection"
        case aiohttp.ClientConnectorError():
            return "connection refused"
        case _OutOfStepError():
            return "an answer without a request"
        case TimeoutError():
            return "time-out"
        case aiohttp.ClientConnectionError() | ConnectionError():
            return "connection lost"
        case _:
            return f"no valid HTTP ({type(cause).__name__})"
