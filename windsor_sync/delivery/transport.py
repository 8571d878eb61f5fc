"""One request, one answer: httpx requests on aiohttp's connections; every failure becomes an answer too.

The requests go straight to the transport: httpx's client searches its pool on every request, which costs more than the
request itself once many are in flight.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from windsor_sync.delivery.verdicts import Answer, retry_after_s, words_of

MAX_ANSWER_BYTES = 65_536
"""Of a refusal's body, which is only read for its message."""


class Transport(Protocol):
    """Sends requests; never raises for what the network or Windsor does."""

    async def send(self, request: httpx.Request) -> Answer:
        """The answer, or what stood in its place."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class HttpTransport:
    """Keeps up to `connections` connections open, each request bounded by `timeout_s`."""

    def __init__(self, *, connections: int, timeout_s: float) -> None:
        self._timeout = {"connect": timeout_s, "read": timeout_s, "write": timeout_s, "pool": timeout_s}
        self._transport = AiohttpTransport(client=lambda: _session(connections))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def send(self, request: httpx.Request) -> Answer:
        """Redirects are not followed; a body is read only for the message of a refusal."""
        request.extensions = {"timeout": self._timeout}
        try:
            response = await self._transport.handle_async_request(request)
            try:
                return await _answer(response)
            finally:
                await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return Answer(0, message=_kind(error), was_sent=False)
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(0, message=_kind(error))

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


def _session(connections: int) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=connections, keepalive_timeout=30)
    return aiohttp.ClientSession(connector=connector, auto_decompress=True, cookie_jar=aiohttp.DummyCookieJar())


async def _answer(response: httpx.Response) -> Answer:
    headers: Mapping[str, str] = response.headers
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk[: MAX_ANSWER_BYTES - len(body)]
        if len(body) >= MAX_ANSWER_BYTES:
            break
    if response.is_success:
        return Answer(response.status_code)
    return Answer(
        response.status_code,
        retry_after_s=retry_after_s(headers.get("retry-after"), datetime.now(UTC)),
        message=words_of(bytes(body), headers),
    )


def _kind(error: BaseException) -> str:
    """The kind of failure, without its text: that may hold the address with a token in it."""
    return {"ReadTimeout": "time-out", "ConnectTimeout": "time-out", "ConnectError": "connection refused"}.get(
        type(error).__name__, type(error).__name__
    )
