"""Access rules of the sandbox: programs of this machine, and browsers that show its own pages.

Pages and API ask for no key. So that no web site a browser visits can use them, whether by a host name that resolves
to this machine or by a form, the Host header has to name this machine and an Origin header this server.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def guard(names: Collection[str]) -> Middleware:
    """Return a middleware that answers 403 unless the request names a loopback host or one of `names`."""
    welcome = frozenset({"localhost", "127.0.0.1", "[::1]", *(name.lower() for name in names)})

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        name = host_name(host)
        if name not in welcome and not is_loopback(name):
            return _forbidden("This sandbox answers to the names of this machine only; `--name` adds another.")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return _forbidden("This sandbox takes no requests from the pages of other web sites.")
        response = await handler(request)
        if request.method == "GET":
            response.headers.update(_PAGE_HEADERS)
        return response

    return check


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
