"""How a message becomes an HTTP request Windsor understands."""

from typing import Protocol

import httpx


class Wire(Protocol):
    """One way to talk to Windsor."""

    def request(self, message: bytes) -> httpx.Request:
        """The request that delivers one encoded message."""
        ...
