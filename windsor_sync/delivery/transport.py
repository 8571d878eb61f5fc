"""One request, one answer: httpx requests on connections of our own; every failure becomes an answer too.

httpx says what a request and an answer are. Its client searches its pool on every request, which costs more than the
request itself once many are in flight, so the bytes go over `connections`.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

import httpx

from windsor_sync.delivery.connections import (
    Connections,
    NeverLeftError,
    NotHttpError,
    Origin,
    OutOfStepError,
    Received,
)
from windsor_sync.delivery.verdicts import Answer, is_page, retry_after_s, shown_location, words_of

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
        self._timeout_s = timeout_s
        self._connections = Connections(connections)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def send(self, request: httpx.Request, permit: _Permit) -> Answer:
        """Redirects are not followed; a body is read only for the message of a refusal."""
        until = asyncio.get_running_loop().time() + 2 * self._timeout_s
        origin, sealed = _origin(request.url), _bytes_of(request)
        try:
            connection = await self._connections.borrow(origin, self._timeout_s)
            try:
                permit()
                received = await connection.exchange(sealed, self._timeout_s, until)
            finally:
                self._connections.give_back(origin, connection)
            return _answer(received)
        except (httpx.HTTPError, NeverLeftError, NotHttpError, OSError, ValueError) as error:
            return _failure(error)

    async def close(self) -> None:
        """Close every connection."""
        self._connections.close()


def _origin(url: httpx.URL) -> Origin:
    is_secure = url.scheme == "https"
    return Origin(url.host, url.port or (443 if is_secure else 80), is_secure)


def _bytes_of(request: httpx.Request) -> bytes:
    """As it goes over the wire. Nothing breaks out of its line: keys are base64, tokens and paths are quoted."""
    head = b"".join(b"%b: %b\r\n" % header for header in request.headers.raw if header[0].lower() != b"accept-encoding")
    head += b"Accept-Encoding: identity\r\n"
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (request.method.encode(), request.url.raw_path, head, request.content)


def _answer(received: Received) -> Answer:
    status, is_success, hearing = received.status, 200 <= received.status < 300, received.hearing
    if is_success and not any(_calls_for_a_look(name, value) for name, value in received.headers):
        return Answer(status, hearing=hearing)
    headers = httpx.Headers(received.headers)
    is_plain = headers.get("content-encoding", "identity").strip().lower() == "identity"
    if not is_success:
        wait_s = retry_after_s(headers.get("retry-after"), datetime.now(UTC))
        words = words_of(received.body, headers) if is_plain else None
        to = shown_location(headers.get("location")) if 300 <= status < 400 else None
        return Answer(status, retry_after_s=wait_s, message=words, location=to, hearing=hearing)
    if not is_plain and "json" not in headers.get("content-type", "").lower():
        return Answer(status, message="a compressed answer, which may be a web page", is_page=True, hearing=hearing)
    if is_plain and is_page(received.body, headers):
        return Answer(status, message="a web page instead of an answer", is_page=True, hearing=hearing)
    return Answer(status, hearing=hearing)


def _calls_for_a_look(name: bytes, value: bytes) -> bool:
    """Whether the body of a 2xx may be a page. A compressed one is not undone: a few bytes may become gigabytes."""
    return name == b"content-encoding" or (name == b"content-type" and b"html" in value.lower())


def _failure(error: Exception) -> Answer:
    """What stands in an answer's place: the kind of failure without its text, which may hold an address with a token."""
    return Answer(0, message=_kind(error), was_sent=not isinstance(error, NeverLeftError))


def _kind(error: BaseException) -> str:
    match error:
        case OutOfStepError():
            return "an answer without a request"
        case NeverLeftError():
            return _why_not_connected(error.__cause__)
        case TimeoutError():
            return "time-out"
        case OSError():
            return "connection lost"
        case _:
            return f"no valid HTTP ({type(error).__name__})"


def _why_not_connected(cause: BaseException | None) -> str:
    match cause:
        case socket.gaierror() | ValueError() if not isinstance(cause, ssl.SSLError):
            return "the host is not known"
        case ssl.SSLError():
            return "no trusted TLS connection"
        case TimeoutError():
            return "time-out"
        case _:
            return "connection refused"
