"""Sends one request and returns its one answer, straight or through the environment's proxy."""

import asyncio
import ssl
from collections.abc import Callable
from functools import cache

import httpx

from windsor_sync.http.connection import KEPT_BYTES, Bounds, NotHttpError, Received
from windsor_sync.http.opening import NeverLeftError, Origin, Proxy, proxy_for
from windsor_sync.http.pool import Connections

FAILURES = (NeverLeftError, NotHttpError, httpx.HTTPError, httpx.InvalidURL, OSError, ValueError)
"""What `receive` raises for what the network or the other side does."""


class Client:
    """Keeps up to `connections` connections open; belongs to one event loop."""

    def __init__(self, *, connections: int, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self._timeout_s = timeout_s
        self._connections = Connections(connections, tls)
        self._proxy = cache(proxy_for)

    async def receive(
        self,
        request: httpx.Request,
        permit: Callable[[], None] = lambda: None,
        *,
        within_s: float,
        kept_bytes: int = KEPT_BYTES,
    ) -> Received:
        """Return the answer as it came within so many seconds in all; raises one of FAILURES, and what `permit` raises.

        `permit` is called as the first byte is about to leave.
        """
        until = asyncio.get_running_loop().time() + within_s
        origin = _origin(request.url)
        proxy = self._proxy(origin)
        sealed = _bytes_of(request, None if origin.is_secure else proxy)
        connection = await self._connections.borrow(origin, proxy, self._timeout_s)
        try:
            permit()
            return await connection.exchange(sealed, Bounds(self._timeout_s, until, kept_bytes))
        finally:
            self._connections.give_back(origin, connection)

    async def overhear(self) -> None:
        """Listen for answers too many before the verdicts are final."""
        await self._connections.overhear()

    def close(self) -> None:
        """Close every connection."""
        self._connections.close()


def _origin(url: httpx.URL) -> Origin:
    is_secure = url.scheme == "https"
    return Origin(url.host, url.port or (443 if is_secure else 80), is_secure)


def _bytes_of(request: httpx.Request, proxy: Proxy | None) -> bytes:
    """Return a request as it goes over the wire; to a proxy with the whole address, where TLS does not lead past the proxy.

    Nothing breaks out of its line: keys are base64, tokens and paths are quoted.
    """
    head = b"".join(b"%b: %b\r\n" % header for header in request.headers.raw if header[0].lower() != b"accept-encoding")
    head += b"Accept-Encoding: identity\r\n"
    target = request.url.raw_path
    if proxy is not None:
        head += proxy.authorization
        target = b"%b://%b%b" % (request.url.raw_scheme, request.url.netloc, target)
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (request.method.encode(), target, head, request.content)
