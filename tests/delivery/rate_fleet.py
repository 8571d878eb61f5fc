"""Tasks that send to one destination through real databases, by a clock that only moves when it is told to."""

import heapq
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, cycle

from sqlalchemy import Connection, select

from windsor_sync.delivery.rate import Rate
from windsor_sync.delivery.shared_rate import REFRESH_S, Share, sharing
from windsor_sync.state.database import Database
from windsor_sync.state.tables import rate_shares

START = datetime(2026, 1, 1, tzinfo=UTC)
OVERSLEEPS_S = (0.001, 0.004, 0.0, 0.012, 0.002)
LATENCY_S = 0.06
EVERY_S = REFRESH_S + 0.01
"""A refresh takes a moment."""

Windsor = Callable[[float], float | None]
"""At a moment: None when it takes the request, else the Retry-After of its 429 (0: without one)."""


class Clock:
    """Seconds, starting anywhere."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def send(rate: Rate, clock: Clock, seconds: float, late: Sequence[float] = (0.0,)) -> list[float]:
    """Send as fast as the rate allows, waking late from every nap; returns when each request went out."""
    sent: list[float] = []
    lateness = cycle(late)
    end = clock.now + seconds
    while clock.now < end:
        wait_s = rate.book()
        if wait_s == 0:
            rate.left()
            sent.append(clock.now)
        else:
            clock.now += wait_s + next(lateness)
    return sent


def busiest_second(sent: Sequence[float]) -> int:
    """The most requests that any stretch of one second contains, wherever it begins."""
    first = 0
    most = 0
    for last, moment in enumerate(sent):
        while sent[first] <= moment - 1:
            first += 1
        most = max(most, last - first + 1)
    return most


class TimedDatabase(Database):
    """A database whose clock is the test's."""

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database.engine, database.key)
        self._clock = clock

    def now(self, connection: Connection) -> datetime:
        """The moment the clock shows."""
        return START + timedelta(seconds=self._clock.now)


@dataclass
class Task:
    """A task on its way: what it sent, and what was taken of it."""

    share: Share
    sends_until: float
    refreshes_until: float
    leaves: bool
    sent: list[float] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)

    def during(self, first: float, last: float) -> int:
        """Requests between two moments."""
        return sum(first <= moment < last for moment in self.sent)


class Fleet:
    """Tasks that send to one destination, each as fast as its rate allows."""

    _numbers = count()

    def __init__(self, database: Database, requests_per_second: float, windsor: Windsor = lambda _: None) -> None:
        self.clock = Clock(0.0)
        self.database = TimedDatabase(database, self.clock)
        self.destination = f"windsor-{next(self._numbers)}"
        self.requests_per_second = requests_per_second
        self.tasks: list[Task] = []
        self._windsor = windsor
        self._order = count()
        self._due: list[tuple[float, int, Generator[float, None, None]]] = []

    def start(
        self,
        name: str,
        at: float = 0.0,
        until: float = 1e9,
        weight: int = 1,
        *,
        cut_off_at: float | None = None,
        leaves: bool = True,
    ) -> Task:
        """Let a task run from one moment to another; from `cut_off_at` on it does not reach the database."""
        task = Task(self.share(name, weight), until, until if cut_off_at is None else cut_off_at, leaves)
        self.tasks.append(task)
        self._push(at, self._living(task))
        return task

    def share(self, name: str, weight: int = 1) -> Share:
        """A task's share, not registered yet."""
        return Share(
            self.database,
            destination=self.destination,
            task=name,
            requests_per_second=self.requests_per_second,
            weight=weight,
            clock=self.clock,
        )

    def run(self, until: float) -> None:
        """Go on to a moment."""
        while self._due and self._due[0][0] < until:
            self.clock.now, _, actor = heapq.heappop(self._due)
            for delay_s in actor:
                self._push(self.clock.now + delay_s, actor)
                break
        self.clock.now = until

    @property
    def sent(self) -> list[float]:
        """When each request of any task went out."""
        return sorted(moment for task in self.tasks for moment in task.sent)

    def _push(self, at: float, actor: Generator[float, None, None]) -> None:
        heapq.heappush(self._due, (at, next(self._order), actor))

    def _living(self, task: Task) -> Generator[float, None, None]:
        """Refresh from the first moment on; send from then on, too."""
        task.share.refresh()
        self._push(self.clock.now, self._sending(task))
        while self.clock.now + EVERY_S < task.refreshes_until:
            yield EVERY_S
            task.share.refresh()
        yield max(0.0, task.sends_until - self.clock.now)
        if task.leaves:
            task.share.leave()

    def _sending(self, task: Task) -> Generator[float, None, None]:
        oversleeps = cycle(OVERSLEEPS_S)
        while self.clock.now < task.sends_until:
            wait_s = task.share.rate.book()
            if wait_s:
                yield wait_s + next(oversleeps)
                continue
            task.share.rate.left()
            task.sent.append(self.clock.now)
            refused = self._windsor(self.clock.now)
            if refused is None:
                task.taken.append(self.clock.now)
            else:
                self._push(self.clock.now + LATENCY_S, self._refused(task.share.rate, refused))

    def _refused(self, rate: Rate, retry_after_s: float) -> Generator[float, None, None]:
        rate.slow_down(retry_after_s)
        yield from ()


def claims(database: Database, destination: str) -> dict[str, float]:
    """What each task may send, as the database has it."""
    with database.read() as connection:
        rows = connection.execute(select(rate_shares).where(rate_shares.c.destination == destination))
        return {row.task: row.ceiling for row in rows if row.task}


def shared(database: Database, task: str, *, weight: int) -> AbstractContextManager[Rate]:
    return sharing(database, destination="windsor", task=task, requests_per_second=300, weight=weight)
