"""The wire of Windsor's own library: users and events in batches, the token in the path.

Source: windsorio/node 1.0.0, index.js, and what it sends (facts §4.2). It has two calls, `user` and `event`, checked as
Segment's identify and track; one answer speaks for a whole batch.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from windsor_sync.segment.calls import encode

LIBRARY_VERSION = "1.0.0"
NODE_VERSION = "20.0.0"
"""The library names the Node it runs in; a Windsor may count on finding one."""

_CALLS = {"identify": "user", "track": "event"}


class _Request(httpx.Request):
    """httpx shows a request with its address; this one's holds the token."""

    def __repr__(self) -> str:
        return "<Request('POST', windsor_hook)>"


class HookWire:
    """Renders requests to one address with one token."""

    calls = frozenset(_CALLS)
    batch_size = 20
    """what the library sends at once unless told otherwise"""
    most_bytes = 500 * 1024 - 1024
    """Windsor publishes no limit: Segment's own for a batch, less what goes around the messages"""

    def __init__(self, url: str, token: str) -> None:
        self._url = httpx.URL(f"{url.rstrip('/')}/{quote(token, safe='')}")
        self._headers = httpx.Headers(
            {
                "Accept": "application/json, text/plain, */*",
                "Content-Type": "application/json;charset=utf-8",
                "User-Agent": f"windsor-node/{LIBRARY_VERSION}",
                "Host": self._url.netloc.decode("ascii"),
                "Connection": "keep-alive",
            }
        )

    def encoded(self, message: bytes) -> bytes | None:
        """Return an identify as `user` and a track as `event`, with the fields that Windsor's library adds."""
        given: dict[str, Any] = json.loads(message)
        call = _CALLS.get(str(given.get("type")))
        if call is None:
            return None
        library = {"name": "windsor-node", "version": LIBRARY_VERSION}
        return encode(
            given
            | {
                "type": call,
                "context": {"library": library, **_object(given.get("context"))},
                "_metadata": {"nodeVersion": NODE_VERSION, **_object(given.get("_metadata"))},
                "timestamp": given.get("timestamp") or _now(),
            }
        )

    def request(self, messages: Sequence[bytes]) -> httpx.Request:
        """A POST of the batch."""
        moment = _now().encode()
        body = b'{"batch":[%b],"timestamp":"%b","sentAt":"%b"}' % (b",".join(messages), moment, moment)
        return _Request("POST", self._url, headers=self._headers, content=body)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _now() -> str:
    """Return the present time as JavaScript writes a Date."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
