"""Turns messages into an HTTP request that Windsor understands."""

from collections.abc import Sequence
from typing import Protocol

import httpx


class WireProtocol(Protocol):
    """One way to talk to Windsor."""

    @property
    def calls(self) -> frozenset[str]:
        """Return the calls that the protocol supports."""
        ...

    @property
    def batch_size(self) -> int:
        """Messages in one request at most; one answer speaks for all of them."""
        ...

    @property
    def most_bytes(self) -> int:
        """Return how many bytes the messages of one request may have."""
        ...

    def encoded(self, message: bytes) -> bytes | None:
        """Return an encoded Segment message in the form that this wire sends; None for a call that it cannot send."""
        ...

    def request(self, messages: Sequence[bytes]) -> httpx.Request:
        """The request that delivers messages as `encoded` gave them, in this order."""
        ...
