"""Pictures of users: which values of the property `avatar` are shown, and from where a page may load them."""

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

MAX_URL = 2_000
MAX_DATA = 400_000
"""Characters of a `data:` address, which contains the picture."""

_DATA = re.compile(r"data:image/(?:png|jpeg|gif|webp|avif);base64,[A-Za-z0-9+/]+={0,2}")
_PRINTABLE = re.compile(r"[!-~]+")
_HOST = re.compile(r"(?:[a-z0-9_-]+\.)+[a-z][a-z0-9-]*", re.IGNORECASE)
"""A host name of several parts: no IP address, and no character with a meaning in a content security policy."""


class Avatar(NamedTuple):
    """A picture that may be shown."""

    address: str
    source: str
    """the source from which the page's content security policy allows the picture"""


def avatar_of(value: object) -> Avatar | None:
    """Return the picture that a property's value names; None where it names none, or one in a private network."""
    if not isinstance(value, str):
        return None
    if len(value) <= MAX_DATA and _DATA.fullmatch(value):
        return Avatar(value, "data:")
    if len(value) > MAX_URL or not _PRINTABLE.fullmatch(value):
        return None
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or not _is_public(host):
        return None
    return Avatar(value, f"{parts.scheme}://{host}{f':{port}' if port else ''}")


def _is_public(host: str) -> bool:
    """Tell whether a host is a public name: a picture must send no request to this machine or its network."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        inward = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
        return bool(_HOST.fullmatch(host)) and not host.lower().endswith(inward)
    return False
