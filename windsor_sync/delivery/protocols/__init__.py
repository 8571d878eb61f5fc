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

    def said(self, message: bytes) -> bytes | None:
        """An encoded message in this wire's own words; None for a call that it has no words for."""
        ...

    def request(self, messages: Sequence[bytes]) -> httpx.Request:
        """The request that delivers messages as `said` gave them, in this order."""
        ...
