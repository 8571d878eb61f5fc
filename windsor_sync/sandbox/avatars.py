"""Pictures of users: which values of the property `avatar` are shown, and from where a page may load them."""

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

MAX_URL = 2_000
MAX_DATA = 400_000
"""Characters of a picture that is its own address."""

_DATA = re.compile(r"data:image/(?:png|jpeg|gif|webp|avif);base64,[A-Za-z0-9+/]+={0,2}")
_PRINTABLE = re.compile(r"[!-~]+")
_HOST = re.compile(r"(?:[a-z0-9_-]+\.)+[a-z][a-z0-9-]*", re.IGNORECASE)
"""A name of the public network: no address, no single name, nothing that a content security policy reads otherwise."""


class Avatar(NamedTuple):
    """A picture that may be shown."""

    address: str
    source: str
    """what the content security policy of the page allows for it"""


def avatar_of(value: object) -> Avatar | None:
    """Return the picture that a property's value names; None where it is none, or of this machine or a private network."""
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
    """Tell whether a host is a public name: a picture must ask nothing of a program on this machine or beside it."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        inward = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
        return bool(_HOST.fullmatch(host)) and not host.lower().endswith(inward)
    return False
