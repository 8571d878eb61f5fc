"""Access rules of the sandbox: programs of this machine, and browsers that show its own pages.

Pages and API ask for no key. So that no web site a browser visits can use them, whether by a host name that resolves
to this machine or by a form, the Host header has to name this machine and an Origin header this server.
"""

import asyncio
import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_protocol import RequestHandler

PAGE_POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

_PAGE_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_READING = ("GET", "HEAD")
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")

HEAD_S = 15.0
"""How long a connection may take to say what it wants."""

BODY_S = 60.0


class Heads:
    """Ends the connections on which no request comes in time."""

    def __init__(self) -> None:
        self._waiting: dict[RequestHandler, asyncio.TimerHandle] = {}

    def connection(self, server: web.Server) -> RequestHandler:
        """Return the handler of a new connection."""
        handler = server()
        self._waiting[handler] = asyncio.get_running_loop().call_later(HEAD_S, self._end, handler)
        return handler

    def middleware(self) -> Middleware:
        """Return the middleware that hears of each request."""

        @web.middleware
        async def came(request: web.Request, handler: Handler) -> web.StreamResponse:
            if timer := self._waiting.pop(request.protocol, None):
                timer.cancel()
            return await handler(request)

        return came

    def _end(self, handler: RequestHandler) -> None:
        del self._waiting[handler]
        handler.force_close()


def guard(names: Collection[str]) -> Middleware:
    """Return a middleware that answers 403 unless the request names a loopback host or one of `names`."""
    welcome = frozenset({"localhost", "127.0.0.1", "[::1]", *(name.lower() for name in names)})

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        name = host_name(host)
        if name not in welcome and not is_loopback(name):
            return _forbidden("This sandbox answers to the names of this machine only; `--name` adds another.")
        if _is_of_another_site(request, host):
            return _forbidden("This sandbox takes no requests from the pages of other web sites.")
        try:
            response = await handler(request)
        except web.HTTPException as error:
            error.headers.update(_PAGE_HEADERS)
            raise
        if request.method in _READING:
            for name, value in _PAGE_HEADERS.items():
                response.headers.setdefault(name, value)
        return response

    return check


def _is_of_another_site(request: web.Request, host: str) -> bool:
    """Tell whether a browser says so, or hides it: a form sends no JSON, and a program no form."""
    origin = request.headers.get("Origin")
    if origin is not None:
        return urlsplit(origin).netloc != host
    if request.method in _READING:  # a link to a page
        return False
    is_form = request.path.startswith("/api/") and request.content_type in _FORMS
    return is_form or request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")


async def read_body(request: web.Request) -> bytes:
    """Return the body; raises a 408 when it does not come in time."""
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None


def host_name(host: str) -> str:
    """Return the name in a Host header, in lower case and without the port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


def is_loopback(host: str) -> bool:
    """Tell whether a host is an address of this machine that no other machine can reach."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _forbidden(message: str) -> web.Response:
    return web.json_response({"message": message}, status=403)
