"""Checks addresses: Windsor's URL, the state's database, files and folders. None of these texts is ever repeated."""

import os.path
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from windsor_sync.settings.patterns import below, is_url
from windsor_sync.settings.readings import Mismatch, Reading, line_of

# Windsor's own hook takes its token as the path (windsorio/node: `POST {host}/{token}`).
_TOKEN_IN_PATH_HOST = "hook.windsor.io"  # noqa: S105
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+", re.ASCII)
_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/@]*:[^/]*@", re.ASCII | re.IGNORECASE)
_STATE = re.compile(r"(?P<engine>(?:sqlite|postgresql)(?:\+\w+)?)://(?P<rest>.*)", re.ASCII)

_IS_WITHOUT_NETWORK = ContextVar("_IS_WITHOUT_NETWORK", default=False)


def _url(value: object) -> str:
    """Accept an http(s) URL of a host and a path; https unless the host is this machine's loopback."""
    url = line_of(value.strip() if isinstance(value, str) else value)
    parts = _split(url)
    if "@" in parts.netloc:
        raise Mismatch("a URL with credentials in it (not shown); the key goes into the connection or WINDSOR_API_KEY")
    if "?" in url or "#" in url:
        raise Mismatch("a URL with a query string or a fragment (not shown)")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise Mismatch("http to a host that is not this machine, where anyone between could read the key")
    if (parts.hostname or "").rstrip(".") == _TOKEN_IN_PATH_HOST and parts.path.strip("/"):
        raise Mismatch("a URL with a token as its path (not shown); it goes into the connection or WINDSOR_API_KEY")
    return url


def _split(url: str) -> SplitResult:
    """Split a URL that every library reads alike: plain ASCII, no blank, no backslash, a sound host and port."""
    try:
        parts = urlsplit(url)
        sound = parts.port != 0 and _HOST.fullmatch(parts.hostname or "")
    except ValueError:
        sound = None
    if not sound or parts.scheme not in _DEFAULT_PORTS or not url.isascii() or re.search(r"[\s\\]", url):
        raise Mismatch("text that is not such a URL")
    return parts


def _is_loopback(host: str) -> bool:
    """Whether a host is this machine; a name below `localhost` counts only where it resolves to loopback addresses alone.

    Inside `without_network` such a name counts without a look-up, because nothing is sent to it there.
    """
    name = host.rstrip(".")
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or (
            name.endswith(".localhost") and (_IS_WITHOUT_NETWORK.get() or _resolves_to_loopback(name))
        )


@contextmanager
def without_network() -> Iterator[None]:
    """Resolve no host name while settings are read: for `check --offline`, and where Airflow parses a DAG file."""
    before = _IS_WITHOUT_NETWORK.set(True)
    try:
        yield
    finally:
        _IS_WITHOUT_NETWORK.reset(before)


def _resolves_to_loopback(name: str) -> bool:
    try:
        found = socket.getaddrinfo(name, None)
    except OSError:
        return False
    return all(ip_address(str(each[4][0]).partition("%")[0]).is_loopback for each in found)


URL = Reading("an https URL (http only on loopback), without query or credentials", _url)


def secret_url(value: object) -> str:
    """Return a URL that is a secret as a whole, query included; raises ValueError where it is none, without repeating it."""
    url = line_of(value)
    parts = _split(url)
    if "@" in parts.netloc or "#" in url:
        raise Mismatch("a URL with a user or a fragment in it (not shown)")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise Mismatch("http to a host that is not this machine (not shown)")
    return url


def ledger_name(url: str) -> str:
    """Name a destination by host, port and path: `127.0.0.1:8474`. The scheme and a default port do not count."""
    parts = urlsplit(url)
    name = (parts.hostname or "").rstrip(".")
    host = f"[{name}]" if ":" in name else name
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return host + port + parts.path.rstrip("/")


def _location(value: object) -> str:
    location = line_of(value)
    if has_password(location):
        raise Mismatch("a URL with a password in it (not shown); object stores take theirs from the environment")
    return location


LOCATION = Reading("a path, or a URL such as s3://bucket/prefix", _location)


def _state_url(value: object) -> str:
    found = _STATE.fullmatch(line_of(value))
    if found is None:
        raise Mismatch("text that is not such a URL (not shown)")
    if found["engine"].startswith("sqlite"):
        database = found["rest"].removeprefix("/").partition("?")[0]
        if database == found["rest"] or not database or database.startswith((":memory:", "file:")):
            raise Mismatch("SQLite without a file, which would forget what Windsor was told")
    return found[0]


STATE_URL = Reading("sqlite:///FILE or postgresql+psycopg://HOST/DATABASE", _state_url)


def has_password(url: str) -> bool:
    """Tell whether a URL carries a password before its host."""
    return _PASSWORD.match(url) is not None


def absolute(location: str, folder: Path) -> str:
    """Return a path as seen from `folder`, `~` expanded; a URL (`s3://…`, `simplecache::s3://…`) stays as it is."""
    if is_url(location):
        return location
    return os.path.abspath(os.path.join(folder, os.path.expanduser(location)))  # noqa: PTH100, PTH111, PTH118


def absolute_state(url: str, folder: Path) -> str:
    """Return the state's URL with SQLite's file as seen from `folder`, of which no letter means anything in a URL."""
    found = _STATE.fullmatch(url)
    if found is None or not found["engine"].startswith("sqlite"):
        return url
    database, mark, query = found["rest"].removeprefix("/").partition("?")
    file = below(folder, database) if {"?", "%"} & set(str(folder)) else absolute(database, folder)
    return f"{found['engine']}:///{file}{mark}{query}"
