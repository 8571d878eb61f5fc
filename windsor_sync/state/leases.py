"""One writer: a lease with a fencing token per resource (an audience at a destination), or per part of it (a shard).

Parts of a resource may have a holder each, at the same time; the whole has one only while no part has, and the other way
round. So tasks that deliver an outbox side by side keep everybody from opening a run, and never meet one who does.

The token grows with every holder. A commit names its token and is refused once the lease has passed to someone
else or its deadline is over, so a writer that was paused cannot overwrite what happened meanwhile. Before every
request the holder looks at its own clock, which went on while the process, or the whole machine, stood still. A holder
that was killed blocks nobody on its own machine, where it can be seen that it is gone; elsewhere its deadline decides.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from windsor_sync.errors import LeaseHeld, LeaseLost, SnapshotError, StateUnavailable, StoredFileError
from windsor_sync.state.database import Database
from windsor_sync.state.tables import leases
from windsor_sync.storage.process import has_died, mark_of_this_process

TTL_S = 60.0
"""How long a lease lasts unrenewed: a run whose machine is gone blocks its audience no longer than this."""

RENEWALS_PER_TTL = 4

_PART = " / shard "

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux's monotonic clock stands still while the machine sleeps, and the database's does not."""


class Lease:
    """The right to write to one resource, as long as `is_valid`."""

    def __init__(
        self, database: Database, resource: str, holder: str, token: int, valid_until: float, ttl_s: float
    ) -> None:
        self._database = database
        self._ttl_s = ttl_s
        self._valid_until = valid_until
        self._turning = threading.Lock()
        self.resource = resource
        self.holder = holder
        self.token = token

    @property
    def is_valid(self) -> bool:
        """Whether the deadline is still ahead, by a clock that nobody sets; cheap enough for every request."""
        return _clock() < self._valid_until

    def require(self) -> None:
        """Raise LeaseLost when the deadline has passed."""
        if not self.is_valid:
            raise self._lost()

    def fence(self, connection: Connection) -> None:
        """Let the caller's transaction commit only if this run still holds the lease; raises LeaseLost.

        The lease's row stays locked until that transaction ends, so nobody takes over in between.
        """
        now = self._database.now(connection)
        renewed = connection.execute(
            update(leases)
            .where(leases.c.resource == self.resource, leases.c.token == self.token, leases.c.deadline > now)
            .values(deadline=now + timedelta(seconds=self._ttl_s))
        )
        if renewed.rowcount != 1:
            self._valid_until = 0.0
            raise self._lost()

    def renew(self) -> None:
        """Move the deadline; raises LeaseLost when it is too late."""
        before = _clock()
        with self._turning, self._database.write() as connection:
            self.fence(connection)
        self._valid_until = before + self._ttl_s  # only now: a transaction that is rolled back moves no deadline

    def turn(self) -> int:
        """Take a new token for this lease and return it. A copy of the state that was made earlier has a smaller token."""
        with self._turning:
            with self._database.write() as connection:
                self.fence(connection)
                raise_token(connection, self.resource, self.token + 1)
            self.token += 1
        return self.token

    def release(self) -> None:
        """Let the next run in at once; a lease that was lost is left alone."""
        self._valid_until = 0.0
        with self._database.write() as connection:
            connection.execute(
                update(leases)
                .where(leases.c.resource == self.resource, leases.c.token == self.token)
                .values(holder=None, process=None, deadline=self._database.now(connection))
            )

    def _lost(self) -> LeaseLost:
        return LeaseLost(
            f"This run lost its lease on {self.resource}: it stood still for more than {self._ttl_s:.0f} s, or the state "
            "database was out of reach. It stopped without sending or recording anything more; what it had recorded "
            "stands. The next run tells Windsor what is owed or in doubt."
        )


def resource_of(key: str, destination: str, shard: int | None = None) -> str:
    """Return the resource of a lease on an audience at a destination, or on a shard of its delivery."""
    whole = f"{key} at {destination}"
    return whole if shard is None else f"{whole}{_PART}{shard}"


def tokens(connection: Connection) -> dict[str, int]:
    """Return the token of each resource that was ever leased."""
    return {row.resource: row.token for row in connection.execute(select(leases.c.resource, leases.c.token))}


def raise_token(connection: Connection, resource: str, token: int) -> None:
    """Make the next token of the resource greater than this one, also where it was never leased."""
    here = leases.c.resource == resource
    if connection.execute(update(leases).where(here, leases.c.token < token).values(token=token)).rowcount:
        return
    if connection.execute(select(leases.c.token).where(here)).first() is None:
        moment = datetime.now(UTC)
        connection.execute(insert(leases).values(resource=resource, token=token, acquired_at=moment, deadline=moment))


def acquire(database: Database, resource: str, holder: str, ttl_s: float = TTL_S, shard: int | None = None) -> Lease:
    """Take the lease on all of the resource, or on one shard; raises LeaseHeld, which names the holder and since when."""
    before = _clock()
    try:
        taken, token = _take(database, resource, shard, holder, ttl_s)
    except IntegrityError:  # PostgreSQL: someone else was the first ever to take it, at the same moment
        taken, token = _take(database, resource, shard, holder, ttl_s)
    return Lease(database, taken, holder, token, before + ttl_s, ttl_s)


def _take(database: Database, whole: str, shard: int | None, holder: str, ttl_s: float) -> tuple[str, int]:
    resource = whole if shard is None else f"{whole}{_PART}{shard}"
    parts = _are_parts_of(whole)
    with database.write() as connection:
        # The whole's row first, by everybody: what a part's taker and the whole's see of each other is never half done.
        rows = _locked(connection, leases.c.resource == whole)
        rows |= _locked(connection, parts if shard is None else leases.c.resource == resource)
        now = database.now(connection)  # after the wait for the locks
        for row in rows.values():
            if _is_alive(row, now):
                raise _held(row.resource, row.holder, row.acquired_at, row.deadline)
        found = rows.pop(resource, None)
        _evict(connection, [row.resource for row in rows.values() if row.holder is not None])
        token: int = 1 if found is None else found.token + 1
        values = {
            "token": token,
            "holder": holder,
            "process": mark_of_this_process(),
            "acquired_at": now,
            "deadline": now + timedelta(seconds=ttl_s),
        }
        if found is None:
            connection.execute(insert(leases).values(resource=resource, **values))
        else:
            connection.execute(update(leases).where(leases.c.resource == resource).values(**values))
        return resource, token


def is_held(database: Database, resource: str) -> bool:
    """Whether somebody alive has the lease, or one on a part. It is looked at and not taken, and in nobody's way."""
    with database.read() as connection:
        now = database.now(connection)
        rows = connection.execute(select(leases).where(or_(leases.c.resource == resource, _are_parts_of(resource))))
        return any(_is_alive(row, now) for row in rows)


def require_nobody(database: Database, connection: Connection) -> None:
    """Raise LeaseHeld when anybody alive has a lease on anything."""
    now = database.now(connection)
    for row in connection.execute(select(leases).where(leases.c.holder.is_not(None)).order_by(leases.c.resource)):
        if _is_alive(row, now):
            raise _held(row.resource, row.holder, row.acquired_at, row.deadline)


def _are_parts_of(whole: str) -> ColumnElement[bool]:
    """Compare the beginning exactly: for LIKE, capitals are small letters in SQLite."""
    return func.substr(leases.c.resource, 1, len(whole) + len(_PART)) == whole + _PART


def _is_alive(row: Row[Any], now: datetime) -> bool:
    return row.holder is not None and row.deadline > now and not has_died(row.process)


def _locked(connection: Connection, which: ColumnElement[bool]) -> dict[str, Row[Any]]:
    query = select(leases).where(which).order_by(leases.c.resource).with_for_update()
    return {row.resource: row for row in connection.execute(query)}


def _evict(connection: Connection, resources: list[str]) -> None:
    """Holders that died or stood still: a renewal of theirs that waits for our lock must come too late."""
    if resources:
        connection.execute(
            update(leases)
            .where(leases.c.resource.in_(resources))
            .values(token=leases.c.token + 1, holder=None, process=None)
        )


@contextmanager
def held(
    database: Database, resource: str, holder: str, ttl_s: float = TTL_S, shard: int | None = None
) -> Iterator[Lease]:
    """Hold the lease for the block, renewed by a thread of its own, and release it afterwards.

    A block that lost the lease meanwhile may have met snapshots or files of the next holder: it raises LeaseLost, not what it
    says of them.
    """
    lease = acquire(database, resource, holder, ttl_s, shard)
    done = threading.Event()
    keeper = threading.Thread(target=_keep, args=(lease, done, ttl_s / RENEWALS_PER_TTL), daemon=True, name="lease")
    keeper.start()
    try:
        yield lease
    except (SnapshotError, StoredFileError):
        lease.require()
        raise
    finally:
        done.set()
        keeper.join()
        with suppress(StateUnavailable):  # the block's outcome counts; unreleased, the lease ends by itself
            lease.release()


def _keep(lease: Lease, done: threading.Event, every_s: float) -> None:
    while not done.wait(every_s):
        try:
            lease.renew()
        except LeaseLost:
            return
        except StateUnavailable:
            continue  # for now: the deadline decides


def _clock() -> float:
    return time.clock_gettime(_CLOCK)


def _held(resource: str, holder: str, since: datetime, deadline: datetime) -> LeaseHeld:
    return LeaseHeld(
        f"Another run is writing to {resource}: {holder}, since {since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC. Nothing was "
        f"done. Wait for it to end; if it died, its lease ends by itself at {deadline.astimezone(UTC):%H:%M:%S} UTC."
    )
