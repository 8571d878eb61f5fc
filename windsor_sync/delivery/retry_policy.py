"""The retry policy of a row that did not get through: try again, put it off, leave it, or give the destination up."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from windsor_sync.delivery.verdicts import Answer, Decision


class RetryDecision(StrEnum):
    """The next step for a row."""

    AGAIN = "again"
    """after a while"""
    LATER = "later"
    """others get through and it does not: once more when all others are done"""
    LEAVE = "leave"
    """it stays owed; the next run tries it"""
    GIVE_UP = "give_up"
    """nothing gets through: the destination is unavailable"""


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """The bounds of retries: how long to wait, and how often."""

    give_up_after_s: float
    first_backoff_s: float
    longest_backoff_s: float
    tries_in_turn: int
    """so many in a row while others get through, and a row no longer holds up those behind it; twice as many when all
    others are done, and it is left owed"""


@dataclass(slots=True)
class RetryState:
    """The tries of one row that did not get through."""

    is_second_round: bool = False
    since: float = math.inf
    """by the clock of RetryPolicy: when the row was first sent"""
    waits: int = 0
    failures: int = 0
    """without the 429s, which say little about the row"""


class RetryPolicy:
    """Knows when Windsor last gave a useful answer."""

    def __init__(self, bounds: RetryLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._bounds = bounds
        self._clock = clock
        self._useful_at = clock()

    def useful_answer(self) -> None:
        """Windsor took or refused a message: it is there."""
        self._useful_at = self._clock()

    @property
    def silent_s(self) -> float:
        """Time since the last useful answer."""
        return self._clock() - self._useful_at

    def sending(self, row: RetryState) -> None:
        """A row is about to be sent."""
        row.since = min(row.since, self._clock())

    def after(
        self,
        answer: Answer,
        decision: Decision,
        row: RetryState,
        *,
        has_room: bool,
        blocks_all: bool = False,
        is_at_border: bool = False,
    ) -> RetryDecision:
        """Decide on a row that got `answer`.

        `has_room`: it may be put off. `blocks_all`: nothing else can be sent before it, so that nothing else will ever
        show whether it is Windsor or this row that is in trouble. `is_at_border`: later rows will show that, but they
        are sent only once this row has an answer or is set aside.
        """
        row.waits += 1
        row.failures += decision is not Decision.SLOW_DOWN
        asked_s, bounds = answer.retry_after_s or 0.0, self._bounds
        if row.is_second_round and row.failures >= 2 * bounds.tries_in_turn:
            return RetryDecision.LEAVE
        is_stuck = row.waits >= bounds.tries_in_turn or asked_s > bounds.longest_backoff_s
        if is_stuck and has_room and not row.is_second_round and (blocks_all or self._useful_at > row.since):
            return RetryDecision.LATER
        # A wait that Windsor asks for in a 423 or 408 is about this row; in a 429 or 503, about everybody.
        announced_s = 0.0 if decision is Decision.WAIT else asked_s
        if self.silent_s + announced_s >= bounds.give_up_after_s:
            is_left = is_at_border and decision is not Decision.SLOW_DOWN and self.silent_s >= bounds.give_up_after_s
            return RetryDecision.LEAVE if is_left else RetryDecision.GIVE_UP
        if self._clock() - row.since + asked_s >= bounds.give_up_after_s:
            return RetryDecision.LEAVE
        return RetryDecision.AGAIN

    def pause_s(self, answer: Answer, row: RetryState) -> float:
        """Return how long to wait: as asked, else anywhere up to a bound that doubles with every try (full jitter)."""
        bound_s = min(self._bounds.longest_backoff_s, self._bounds.first_backoff_s * 2 ** min(row.waits, 32))
        return answer.retry_after_s or random.uniform(0, bound_s)  # noqa: S311
