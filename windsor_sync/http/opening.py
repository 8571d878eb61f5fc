"""Opens connections: straight or through the environment's proxy, and over TLS that is trusted.

The environment is read as curl and Python's own library read it: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY,
SSL_CERT_FILE and SSL_CERT_DIR.
"""

import asyncio
import base64
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from windsor_sync.errors import ConfigError
from windsor_sync.http.addresses import connected_socket
from windsor_sync.http.connection import MAX_HEAD_BYTES, Connection, as_transport
from windsor_sync.settings import Destination

_PORTS = {"http": 80, "https": 443}


class NeverLeftError(Exception):
    """No connection came about; the reason is its cause."""


class ProxyError(OSError):
    """The proxy made no way to the destination, or is none that can be used."""


class NotLoopbackError(OSError):
    """Plain HTTP would have left this machine."""


class Origin(NamedTuple):
    """The host and port to connect to."""

    host: str
    port: int
    is_secure: bool


class Proxy(NamedTuple):
    """The proxy that a connection goes through."""

    origin: Origin
    authorization: bytes
    """a header line, or nothing"""


def proxy_for(origin: Origin) -> Proxy | None:
    """Return the proxy that the environment names for this origin; raises NeverLeftError for one that cannot be used."""
    proxies = getproxies_environment()
    url = proxies.get("https" if origin.is_secure else "http") or proxies.get("all")
    if not url or proxy_bypass(f"{origin.host}:{origin.port}", proxies):
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or _PORTS[parts.scheme]
        is_secure = {"http": False, "https": True}[parts.scheme]
        if not parts.hostname:
            raise ValueError
    except (ValueError, KeyError):
        raise NeverLeftError from ProxyError("unusable")
    credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
    line = b"Proxy-Authorization: Basic %b\r\n" % base64.b64encode(credentials) if credentials != b":" else b""
    return Proxy(Origin(parts.hostname, port, is_secure), line)


def tls_context(certificate: str | None = None, key: str | None = None) -> ssl.SSLContext:
    """Return the TLS context: the system's authorities, with a client certificate if one is given.

    Raises ConfigError when certificate and key cannot be used.
    """
    context = ssl.create_default_context()
    if certificate is None:
        return context
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")  # without it OpenSSL asks on the terminal
    except (OSError, ValueError) as error:
        why = (
            error.strerror
            if isinstance(error, OSError) and not isinstance(error, ssl.SSLError)
            else "not a pair in PEM"
        )
        raise ConfigError(
            f"destination.client_certificate and destination.client_key cannot be used ({why}). Nothing was sent. Name files in "
            "PEM that this user may read, the key without a passphrase: `openssl pkey -in KEY -noout` tries it."
        ) from None
    return context


async def open_connection(
    origin: Origin, proxy: Proxy | None, tls: Callable[[], ssl.SSLContext], within_s: float
) -> Connection:
    """Connect; raises NeverLeftError."""
    try:
        async with asyncio.timeout(within_s):
            connection = await _opened(origin, proxy, tls)
    except (OSError, ssl.CertificateError, ValueError) as error:  # ValueError: a host name that cannot be one
        raise NeverLeftError from error
    try:
        if not await connection.is_quiet():
            raise NeverLeftError from ConnectionResetError()  # closed, or answered, as soon as it was open
    except BaseException:
        connection.close()
        raise
    return connection


async def _opened(origin: Origin, proxy: Proxy | None, tls: Callable[[], ssl.SSLContext]) -> Connection:
    """Lay the transports over each other: TCP, TLS to the proxy, its tunnel, TLS to the origin."""
    loop = asyncio.get_running_loop()
    first = proxy.origin if proxy else origin
    tcp, tunnel = await loop.create_connection(_Tunnel, sock=await connected_socket(first.host, first.port))
    transports = [as_transport(tcp)]
    try:
        if not (first.is_secure or proxy):
            _require_loopback(tcp)
        if proxy and first.is_secure:
            transports.append(await _over_tls(transports[-1], tunnel, tls(), first))
        if proxy and origin.is_secure:
            await tunnel.dig(transports[-1], origin, proxy)
        connection = Connection()
        if origin.is_secure:
            transports.append(await _over_tls(transports[-1], connection, tls(), origin))
        transports[-1].set_protocol(connection)
        connection.speaks_over(*transports)
        if tunnel.is_lost:
            raise ConnectionResetError
    except BaseException:
        transports[-1].abort()
        raise
    return connection


async def _over_tls(
    transport: asyncio.Transport, protocol: asyncio.Protocol, tls: ssl.SSLContext, origin: Origin
) -> asyncio.Transport:
    """The name is looked at without the dot that may end it: no certificate has one."""
    loop = asyncio.get_running_loop()
    return as_transport(await loop.start_tls(transport, protocol, tls, server_hostname=origin.host.rstrip(".")))


def _require_loopback(transport: asyncio.BaseTransport) -> None:
    """Raise unless the connection ends on the loopback: a name shows its address only once it is connected."""
    if not ip_address(transport.get_extra_info("peername")[0].partition("%")[0]).is_loopback:
        raise NotLoopbackError


class _Tunnel(asyncio.Protocol):
    """Listens before a connection is one: to a proxy's answer, and to nothing else."""

    def __init__(self) -> None:
        self._came = bytearray()
        self._answer: asyncio.Future[None] | None = None
        self.is_lost = False

    async def dig(self, transport: asyncio.Transport, origin: Origin, proxy: Proxy) -> None:
        """Ask the proxy for a way to the origin; raises ProxyError."""
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        target = f"{host}:{origin.port}".encode("ascii")
        self._answer = asyncio.get_running_loop().create_future()
        transport.write(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (target, target, proxy.authorization))
        await self._answer
        words = self._came.split(b"\r\n", 1)[0].split(b" ")
        status = words[1].decode("ascii", "replace") if len(words) > 1 else ""
        if not (words[0].startswith(b"HTTP/1.") and status.isdigit()):
            raise ProxyError("not HTTP")
        if len(status) != 3 or not status.startswith("2"):
            raise ProxyError(status[:3])
        if self._came.find(b"\r\n\r\n") != len(self._came) - 4:
            raise ProxyError("an answer too many")

    def data_received(self, data: bytes) -> None:
        self._came += data
        if b"\r\n\r\n" in self._came or len(self._came) > MAX_HEAD_BYTES:
            self._end()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self.is_lost = True
        self._end(ProxyError("connection lost"))

    def _end(self, error: Exception | None = None) -> None:
        if self._answer is None or self._answer.done():
            return
        if error is None:
            self._answer.set_result(None)
        else:
            self._answer.set_exception(error)


def tls_of(destination: Destination) -> ssl.SSLContext | None:
    """Return the TLS context of the destination; None for plain HTTP. Raises ConfigError for files that cannot be used."""
    if not destination.url.startswith("https:"):
        return None
    return tls_context(destination.client_certificate, destination.client_key)
