"""One destination's requests per second, divided by weight among the tasks that are sending to it, wherever they run.

Every task has a row in `rate_shares` with its claim: what it may send at most. The row without a task is the
destination's own: its ceiling, which 429s lower for everybody, and the lock under which claims change. Once a
second each task reads the others' rows and renews its own, in one transaction:

- It claims its part of the ceiling, but never more than the others' claims leave of the configured rate. So the claims
  in the database never add up to more than that, and a newcomer gets what the others have given up, no sooner.
- It sends at the smaller of its last two claims. A lower claim is obeyed before it is written and a higher one a second
  after, so that no second contains one task's old pace and another one's new pace.
- A task that was not seen for `EXPIRES_S` is dead, and its row goes. A task that lives but cannot reach the database
  keeps its pace for `VALID_S`, which is shorter, and then sends nothing: its share may have been given away, and what
  it sent could not be recorded either.
- 429s lower the ceiling by the part of the requests that Windsor refused, whoever met them; it rises again second by
  second. A Retry-After is not passed on: it pauses the task that got it (see `Rate.slow_down`), and another one finds
  out by itself, at a lower pace.

All this together holds the promise that no second sees more requests than configured. A task that joins running ones
waits two to three seconds for its share. One that finds itself alone starts almost at once: it leaves only the few slots
free that those who have just left may have used. Below one request per second for each task, shares are fractions, and
a second may see one request of every task.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from itertools import accumulate, pairwise

from windsor_sync.delivery.rate import CATCH_UP_S, MARGIN, Rate
from windsor_sync.errors import StateUnavailable
from windsor_sync.state.database import Database, Transaction
from windsor_sync.state.rate_shares import DESTINATION, RateShares, RateSharesBusy

REFRESH_S = 1.0
"""Pause between two renewals. Not less: a claim must have stood for a second before it is used."""

VALID_S = 8.0
"""How long a task relies on a claim that it cannot renew."""

EXPIRES_S = 10.0
"""After so long without a sign of life a task's claim goes to the others; well above VALID_S."""

RAISE_PER_S = 0.02
"""Part of the configured rate that is given back in each second."""

LOWEST = 0.02
"""429s never lower the ceiling below this part of the configured rate."""

HANDOVER_SLOTS = 4
"""A task that finds itself alone leaves these free: one for each task that may have ended a moment ago."""

ROUNDING = 1e-6
"""Parts of a whole total add up to it, but for the last digits of a float."""


class Weight(IntEnum):
    """The weight of a task, to which its share of the rate is proportional."""

    AUDIENCES = 1
    EVENTS = 2
    """a large initial sync must not starve event forwarding"""


@dataclass(frozen=True, slots=True)
class _Claim:
    """Another task's row."""

    task: str
    weight: int
    requests_per_second: float


class Share:
    """One task's share. `rate` is what its engine asks; `refresh` keeps it in step with the others."""

    def __init__(
        self,
        database: Database,
        *,
        destination: str,
        task: str,
        requests_per_second: float,
        weight: int = Weight.AUDIENCES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._shares = RateShares(database, destination)
        self._task = task
        self._configured = requests_per_second
        self._weight = weight
        self._clock = clock
        self._claimed: float | None = None
        self.rate = Rate(0, clock)
        self.rate.trust_until(clock())

    def refresh(self) -> None:
        """Renew the claim, or register, and adopt the pace that it allows; raises StateUnavailable.

        At least REFRESH_S must lie between two calls.
        """
        began = self._clock()
        refused = self.rate.refused_share()
        try:
            self._claimed = self._renew(refused)
        except RateSharesBusy:
            self._claimed = self._renew(refused)
        self.rate.trust_until(began + VALID_S)

    def _renew(self, refused: float) -> float:
        with self._shares.changing() as connection:
            ceiling, ceiling_at = self._locked_ceiling(connection)
            now = self._database.now(connection)  # after the wait for the lock
            others = self._others(connection, now)
            weights = {other.task: other.weight for other in others} | {self._task: self._weight}
            ceiling = adjusted(
                ceiling,
                self._configured,
                refused=refused,
                part=self._weight / sum(weights.values()),
                elapsed_s=(now - ceiling_at).total_seconds(),
            )
            free = max(0.0, self._configured - sum(other.requests_per_second for other in others))
            claim = min(divided(ceiling, weights)[self._task], free)
            self.rate.allow(self._usable(connection, claim, is_alone=not others))
            self._shares.put(connection, DESTINATION, weight=0, ceiling=ceiling, now=now)
            self._shares.put(connection, self._task, weight=self._weight, ceiling=claim, now=now)
        return claim

    def leave(self) -> None:
        """Send nothing more and let the others have the share; when the database is out of reach, it expires."""
        self.rate.allow(0)
        with suppress(StateUnavailable):
            self._shares.remove(self._task)

    def _locked_ceiling(self, connection: Transaction) -> tuple[float, datetime]:
        """The destination's ceiling and when it was last set, under the lock that every change of claims takes."""
        found = self._shares.locked(connection)
        if found is not None:
            return found.ceiling, found.seen_at
        now = self._database.now(connection)
        self._shares.put(connection, DESTINATION, weight=0, ceiling=self._configured, now=now)
        return self._configured, now

    def _others(self, connection: Transaction, now: datetime) -> list[_Claim]:
        """The other tasks that live; those that do not are removed."""
        rows = self._shares.others(connection, self._task, seen_since=now - timedelta(seconds=EXPIRES_S))
        return [_Claim(row.task, row.weight, row.ceiling) for row in rows]

    def _usable(self, connection: Transaction, claim: float, *, is_alone: bool) -> float:
        """The smaller of the last claim, which has stood for a second, and this one."""
        standing = self._shares.claim_of(connection, self._task)
        if standing is None and not is_alone:
            return 0.0
        if standing is None or self._claimed is None:  # alone, or in the place of a dead task of the same name
            self.rate.rest(_handover_s(claim))
        return min(value for value in (claim, standing, self._claimed) if value is not None)


@contextmanager
def sharing(
    database: Database,
    *,
    destination: str,
    task: str,
    requests_per_second: float,
    weight: int = Weight.AUDIENCES,
) -> Iterator[Rate]:
    """Register for the block and yield the pace, kept in step by a thread of its own.

    `task` names one running task: a second one of the same name takes the first one's place, so let it name what a lease
    protects. Raises StateUnavailable at the start only.
    """
    share = Share(database, destination=destination, task=task, requests_per_second=requests_per_second, weight=weight)
    share.refresh()
    done = threading.Event()
    keeper = threading.Thread(target=_keep, args=(share, done), daemon=True, name="rate")
    keeper.start()
    try:
        yield share.rate
    finally:
        done.set()
        keeper.join()
        share.leave()


def share_of_newcomer(
    database: Database, *, destination: str, requests_per_second: float, weight: int = Weight.AUDIENCES
) -> float:
    """The pace that a task which began now would come to, beside those that are sending; registers nothing."""
    with database.read() as connection:
        now = database.now(connection)
        rows = RateShares(database, destination).every(connection)
    ceiling, others = requests_per_second, 0
    for row in rows:
        since_s = (now - row.seen_at).total_seconds()
        if row.task == DESTINATION:
            ceiling = adjusted(row.ceiling, requests_per_second, refused=0, part=1, elapsed_s=since_s)
        elif since_s <= EXPIRES_S:
            others += row.weight
    return ceiling * weight / (weight + others)


def divided(requests_per_second: float, weights: Mapping[str, int]) -> dict[str, float]:
    """Divide by weight into whole requests, each within one of its exact part; a fraction of the total is left over.

    Whole, because a pace of 333.3 has seconds with 334 requests. Where a task would get none, the parts are exact instead.
    """
    bounds = [0.0, *accumulate(requests_per_second * weights[task] / sum(weights.values()) for task in sorted(weights))]
    whole = [float(int(above + ROUNDING) - int(below + ROUNDING)) for below, above in pairwise(bounds)]
    parts = whole if min(whole) >= 1 else [above - below for below, above in pairwise(bounds)]
    return dict(zip(sorted(weights), parts, strict=True))


def adjusted(ceiling: float, configured: float, *, refused: float, part: float, elapsed_s: float) -> float:
    """Move the destination's ceiling for one task, which has `part` of it and saw this share of 429s since its last move.

    Down by what Windsor refused, to half at most; up by a constant step (AIMD). So the ceiling settles a little above
    what Windsor takes, and one 429 in a hundred, which is no sign of overload, costs nothing.
    """
    lowered = ceiling * (1 - part * min(refused, 0.5))
    return min(configured, max(lowered + configured * RAISE_PER_S * elapsed_s, configured * LOWEST))


def _handover_s(requests_per_second: float) -> float:
    """Return how long those that have just left may still count against the second that begins now."""
    return min(1.0, CATCH_UP_S + HANDOVER_SLOTS / (MARGIN * requests_per_second)) if requests_per_second else 0.0


def _keep(share: Share, done: threading.Event) -> None:
    while not done.wait(REFRESH_S):
        with suppress(StateUnavailable):  # out of reach for now: the pace ends by itself
            share.refresh()
