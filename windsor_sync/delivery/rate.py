"""The pace of one task: evenly spaced requests, never more in any second than it may send.

How much that is, and how long it may rely on it, is decided in `shared_rate`, from another thread.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

CATCH_UP_S = 0.015
"""How far a sender that woke late may catch up; what it oversleeps beyond this is lost."""

MARGIN = 0.985
"""Aim this far below the rate: with catching up, (1 + CATCH_UP_S) × MARGIN < 1, so a whole rate is never exceeded."""

LONGEST_NAP_S = 0.5
"""Nobody is told to wait longer before asking again: the rate may have been raised meanwhile."""

MOST = 0.5
"""When this share of the requests is refused, a Retry-After is meant for all of them."""


class _Count(NamedTuple):
    """Totals at one moment."""

    booked: int
    refused: int


class Rate:
    """Hands out slots. With a whole number of requests per second, no second, wherever it begins, sees more of them.

    `book`, `left`, `stayed` and `slow_down` belong to the event loop; the other methods may be called from one other thread.
    """

    def __init__(self, requests_per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._interval_s = math.inf
        self._last = clock()
        self._paused_until = -math.inf
        self._trusted_until = math.inf
        self._left: deque[float] = deque()
        """when requests of the last second left"""
        self._on_their_way = 0
        """slots whose requests have not left yet: they may be opening connections, and then leave all at once"""
        self._booked = 0
        self._refused = 0
        self._newer = self._older = _Count(0, 0)
        self.requests_per_second = 0.0
        self.allow(requests_per_second)

    def book(self) -> float:
        """Take the next slot and return 0, or return how many seconds to wait before asking again."""
        now = self._clock()
        if now >= self._trusted_until:
            return LONGEST_NAP_S
        slot = max(self._last + self._interval_s, self._paused_until, now - CATCH_UP_S)
        slot = max(slot, self._room_at(now))
        if slot > now:
            return min(slot - now, LONGEST_NAP_S)
        self._last = slot
        self._booked += 1
        self._on_their_way += 1
        return 0.0

    def left(self) -> None:
        """The request whose slot this was leaves now: what it waited meanwhile is caught up no further than elsewhere."""
        now = self._clock()
        self._last = max(self._last, now - CATCH_UP_S)
        self._left.append(now)
        self._on_their_way -= 1

    def stayed(self) -> None:
        """The request whose slot this was does not leave."""
        self._on_their_way -= 1

    def _room_at(self, now: float) -> float:
        """Return when the second that ends then has room for one more, should all that are on their way leave at once.

        Slots are so far apart that this holds by itself as long as each request leaves soon after its slot.
        """
        while self._left and self._left[0] <= now - 1:
            self._left.popleft()
        over = len(self._left) + self._on_their_way - math.ceil(self.requests_per_second)
        if over < 0:
            return -math.inf
        return self._left[over] + 1 if over < len(self._left) else now + self._interval_s

    def slow_down(self, retry_after_s: float | None) -> None:
        """Windsor said 429: counted, and where it refuses most requests the whole task waits as long as it asked.

        A single refusal among many holds up its own message only (the engine sees to that): a Windsor that refuses one
        request in a hundred has room for the others.
        """
        self._refused += 1
        if retry_after_s and self._refused_since(self._older) >= MOST:
            self.rest(retry_after_s)

    def allow(self, requests_per_second: float) -> None:
        """Set the pace in requests per second; 0 sends nothing."""
        self.requests_per_second = requests_per_second
        self._interval_s = 1 / (requests_per_second * MARGIN) if requests_per_second else math.inf

    def trust_until(self, moment: float) -> None:
        """Send nothing from this moment of the clock on, unless told otherwise by then."""
        self._trusted_until = moment

    def rest(self, seconds: float) -> None:
        """Send nothing for so long."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def refused_share(self) -> float:
        """Return what part of the requests since the last call got a 429, 0 to 1, and start counting anew."""
        share = self._refused_since(self._newer)
        self._older, self._newer = self._newer, _Count(self._booked, self._refused)
        return share

    def _refused_since(self, start: _Count) -> float:
        """Answers come later than bookings, so the counts are compared loosely."""
        return min(1.0, (self._refused - start.refused) / max(1, self._booked - start.booked))
