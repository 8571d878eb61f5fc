"""One request, one answer: httpx requests on connections of our own; every failure becomes an answer too.

httpx says what a request and an answer are. Its client searches its pool on every request, which costs more than the
request itself once many are in flight, so the bytes go over connections of `windsor_sync.http`.
"""

import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

import httpx

from windsor_sync.delivery.verdicts import Answer, is_page, words_of
from windsor_sync.http.client import FAILURES, Client
from windsor_sync.http.connection import Received
from windsor_sync.http.locations import shown_location
from windsor_sync.http.opening import NeverLeftError, NotLoopbackError, ProxyError
from windsor_sync.http.pool import OutOfStepError
from windsor_sync.http.times import retry_after_s

_Permit = Callable[[], None]


class Transport(Protocol):
    """Sends requests; never raises for what the network or Windsor does."""

    async def send(self, request: httpx.Request, permit: _Permit) -> Answer:
        """The answer, or what stood in its place.

        `permit` is called when a connection is ready and the first byte is about to leave, which may be a while after
        this call; the WindsorSyncError it raises ends the request unsent and comes out of here.
        """
        ...

    async def overhear(self) -> None:
        """Listen for answers too many before the verdicts are final."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


def always() -> None:
    """Permit every request: one outside of a run holds no lease."""


class HttpTransport:
    """Keeps up to `connections` connections open.

    `timeout_s` bounds each stage of a request (connect, next bytes of the answer), and twice as long all of it.
    """

    def __init__(self, *, connections: int, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self._within_s = 2 * timeout_s
        self._client = Client(connections=connections, timeout_s=timeout_s, tls=tls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def send(self, request: httpx.Request, permit: _Permit) -> Answer:
        """Redirects are not followed; a body is read only for the message of a refusal."""
        try:
            return _answer(await self._client.receive(request, permit, within_s=self._within_s), str(request.url))
        except FAILURES as error:
            return _failure(error)

    async def overhear(self) -> None:
        """Listen for answers too many before the verdicts are final."""
        await self._client.overhear()

    async def close(self) -> None:
        """Close every connection."""
        self._client.close()


def _answer(received: Received, asked: str) -> Answer:
    status, is_success, hearing = received.status, 200 <= received.status < 300, received.hearing
    if is_success and not any(_calls_for_a_look(name, value) for name, value in received.headers):
        return Answer(status, hearing=hearing)
    headers = httpx.Headers(received.headers)
    is_plain = headers.get("content-encoding", "identity").strip().lower() == "identity"
    if not is_success:
        wait_s = retry_after_s(headers.get("retry-after"), datetime.now(UTC))
        words = words_of(received.body, headers) if is_plain else None
        to = shown_location(headers.get("location"), asked) if 300 <= status < 400 else None
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
    """Return an answer that stands for a failure: its kind without its text, which may hold an address with a token."""
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
        case ProxyError():
            return f"the proxy of the environment does not let it through ({cause})"
        case NotLoopbackError():
            return "plain HTTP would leave this machine, since the host is not its loopback"
        case _:
            return "connection refused"
