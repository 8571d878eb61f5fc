"""Ends a query that takes too long: a thread asks the driver to cancel it, and reading stops with an error in our words."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from socket import SHUT_RDWR, socket
from threading import Event, Thread
from time import monotonic
from typing import Any

from sqlalchemy import Connection

from windsor_sync.errors import WindsorSyncError
from windsor_sync.settings.durations import format_duration
from windsor_sync.sources.refusal import unusable

AGAIN_S = 0.5
"""Time between two attempts to cancel: an attempt that comes between two statements cancels nothing."""

LAST_ATTEMPT_S = 5.0
"""How long closing waits for an attempt to cancel that is under way."""

HANG_UP_AFTER_S = 10.0
"""How long a server has to react to a cancel before its connection is closed."""

_CANCELS = ("cancel_safe", "cancel", "interrupt")
"""Names of the method that cancels: psycopg, psycopg2 and Oracle, then SQLite and DuckDB. Any thread may call it."""


class Deadline:
    """The time that one reading of a warehouse may take."""

    def __init__(self, limit: timedelta | None) -> None:
        self._limit = limit
        self._is_over, self._has_passed = Event(), Event()
        self._cancel: Callable[[], Any] | None = None
        self._driver: Any = None

    @contextmanager
    def running(self, connection: Connection) -> Iterator[None]:
        """Cancel the queries of a connection that run when the time has passed; without a limit, do nothing."""
        if self._limit is None:
            yield
            return
        driver = self._driver = connection.connection.driver_connection
        found = (getattr(driver, name, None) for name in _CANCELS)
        self._cancel = next(filter(callable, found), None)
        watch = Thread(target=self._watch, name="windsor_sync query_timeout", daemon=True)
        watch.start()
        try:
            yield
        finally:
            self._is_over.set()
            watch.join(LAST_ATTEMPT_S)

    def _watch(self) -> None:
        assert self._limit is not None
        wait_s, hang_up_at = self._limit.total_seconds(), 0.0
        while not self._is_over.wait(wait_s):
            self._has_passed.set()
            if self._cancel is not None:
                with suppress(Exception):  # a lost connection is reported by the thread that waits for it
                    self._cancel()
            wait_s = AGAIN_S
            hang_up_at = hang_up_at or monotonic() + HANG_UP_AFTER_S
            if monotonic() >= hang_up_at:
                _hang_up(self._driver)

    @contextmanager
    def kept(self, place: str) -> Iterator[None]:
        """Raise SnapshotError if the time has passed, at the beginning of the block or in place of its error."""
        self._refuse(place)
        try:
            yield
        except WindsorSyncError:
            self._refuse(place)
            raise

    def _refuse(self, place: str) -> None:
        if self._limit is None or not self._has_passed.is_set():
            return
        limit = format_duration(self._limit)
        what = "was cancelled" if self._cancel else "may still run: its driver cannot cancel it"
        raise unusable(
            f"The warehouse of {place} did not return the last row within {limit} (`query_timeout`). The query {what}.",
            "Make the query cheaper (a table instead of a view), or raise `query_timeout` of the snapshot in windsor.yaml.",
        ) from None


def _hang_up(driver: Any) -> None:
    """Shut down the socket of a driver, if it tells one, so that the thread that waits for an answer wakes up."""
    with suppress(Exception):
        end = socket(fileno=os.dup(driver.fileno()))
        with end:
            end.shutdown(SHUT_RDWR)
