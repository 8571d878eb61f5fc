"""Requests per second: evenly spaced, lowered by a 429, raised again little by little (AIMD)."""

import time
from collections.abc import Callable

CATCH_UP_S = 0.01
"""How far a sender that woke late may catch up: more would show as a burst in some second."""

MARGIN = 0.99
"""Aim this far below the configured rate, so that catching up never exceeds it in any second."""

RAISE_PER_S = 0.02
"""Share of the configured rate that is given back in each second without a 429."""

LOWEST = 0.02
"""A 429 never lowers the rate below this share of the configured one."""


class Rate:
    """The pace of one task. `share` is its part of the destination's rate."""

    def __init__(self, requests_per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._configured = requests_per_second
        self._clock = clock
        self._next = clock()
        self._lowered_at = 0.0
        self._ceiling = requests_per_second
        self._paused_until = 0.0
        self.share = 1.0

    @property
    def requests_per_second(self) -> float:
        """What this task may send now."""
        return self._ceiling * self.share

    def slow_down(self, retry_after_s: float | None) -> None:
        """Windsor said 429: halve the rate (once a second at most) and pause for as long as it asked."""
        now = self._clock()
        if now - self._lowered_at >= 1.0:
            self._ceiling = max(self._ceiling / 2, self._configured * LOWEST)
            self._lowered_at = now
        if retry_after_s:
            self._paused_until = max(self._paused_until, now + retry_after_s)

    def book(self) -> float:
        """Take the next slot and return 0, or return how long to wait before asking again."""
        now = self._clock()
        if now < self._paused_until:
            return self._paused_until - now
        slot = max(self._next, now - CATCH_UP_S)
        if slot > now:
            return slot - now
        self._next = slot + 1 / (self.requests_per_second * MARGIN)
        self._recover(now)
        return 0.0

    def _recover(self, now: float) -> None:
        if self._ceiling < self._configured and now - self._lowered_at >= 1.0:
            self._ceiling = min(self._configured, self._ceiling + self._configured * RAISE_PER_S)
            self._lowered_at = now
