"""How messages become an HTTP request Windsor understands."""

from collections.abc import Sequence
from typing import Protocol

import httpx


class WireProtocol(Protocol):
    """One way to talk to Windsor."""

    @property
    def calls(self) -> frozenset[str]:
        """Those it has words for."""
        ...

    @property
    def batch_size(self) -> int:
        """Messages in one request at most; one answer speaks for all of them."""
        ...

    @property
    def most_bytes(self) -> int:
        """Of the messages of one request."""
        ...

    def said(self, message: bytes) -> bytes | None:
        """An encoded message in this wire's own words; None for a call that it has no words for."""
        ...

    def request(self, messages: Sequence[bytes]) -> httpx.Request:
        """The request that delivers messages as `said` gave them, in this order."""
        ...
