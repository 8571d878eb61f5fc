"""The rows of the tasks that share a destination's requests per second; `delivery.shared_rate` says what they mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from windsor_sync.state.database import Database, StateRow, Transaction
from windsor_sync.state.tables import rate_shares

DESTINATION = ""
"""Stands in for the task in the destination's own row."""


class RateSharesBusy(Exception):
    """Another task made the destination's row in this very moment: try again."""


@dataclass(frozen=True, slots=True)
class RateShares:
    """The rows of one destination."""

    database: Database
    destination: str

    @contextmanager
    def changing(self) -> Iterator[Transaction]:
        """Change rows in one transaction. Raises RateSharesBusy where another task was faster, and StateUnavailable."""
        try:
            with self.database.write() as connection:
                yield connection
        except IntegrityError:  # PostgreSQL
            raise RateSharesBusy from None

    def locked(self, connection: Transaction) -> StateRow | None:
        """Return the destination's own row, under the lock that every change of claims takes."""
        return connection.execute(select(rate_shares).where(*self._row(DESTINATION)).with_for_update()).one_or_none()

    def others(self, connection: Transaction, task: str, seen_since: datetime) -> list[StateRow]:
        """Return the rows of the other tasks that live; those of tasks that do not are removed."""
        others = (rate_shares.c.destination == self.destination, rate_shares.c.task.not_in((DESTINATION, task)))
        connection.execute(delete(rate_shares).where(*others, rate_shares.c.seen_at < seen_since))
        return list(connection.execute(select(rate_shares).where(*others)))

    def claim_of(self, connection: Transaction, task: str) -> float | None:
        """Return what a task has claimed; None without a row of it."""
        ceiling: float | None = connection.execute(select(rate_shares.c.ceiling).where(*self._row(task))).scalar()
        return ceiling

    def put(self, connection: Transaction, task: str, *, weight: int, ceiling: float, now: datetime) -> None:
        """Write the row of a task."""
        values = {"weight": weight, "ceiling": ceiling, "seen_at": now}
        if connection.execute(update(rate_shares).where(*self._row(task)).values(**values)).rowcount == 0:
            connection.execute(insert(rate_shares).values(destination=self.destination, task=task, **values))

    def remove(self, task: str) -> None:
        """Remove the row of a task. Raises StateUnavailable."""
        with self.database.write() as connection:
            connection.execute(delete(rate_shares).where(*self._row(task)))

    def every(self, connection: Transaction) -> list[StateRow]:
        """Return all rows of the destination."""
        return list(connection.execute(select(rate_shares).where(rate_shares.c.destination == self.destination)))

    def _row(self, task: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return (rate_shares.c.destination == self.destination, rate_shares.c.task == task)
