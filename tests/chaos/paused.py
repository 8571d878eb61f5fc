"""A process that stops itself (SIGSTOP) at its n-th touch of the store or the state; the touches are found while it runs.

As a program, `python -m tests.chaos.paused CONFIG WHAT LEASE_S POINT HOW`, it does one of `TASKS` with a lease of so many
seconds, and writes what it touched to standard output. With POINT 0 it never stands still. With HOW `database` or `store` it
does not stop: from the point on that one is out of reach, for so many touches as OUTAGES has.
"""

import errno
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from inspect import isfunction
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.domain.change import Limits
from windsor_sync.domain.run import Run
from windsor_sync.errors import WindsorSyncError
from windsor_sync.settings import load
from windsor_sync.storage.file_store import FileStore
from windsor_sync.usecases import forward
from windsor_sync.usecases.close_run import error_of
from windsor_sync.usecases.forget import forget
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.sync import sync
from windsor_sync.usecases.workspace import Workspace, open_workspace

BESIDE = frozenset({"rate", "lease"})
"""Threads that touch the state by the clock: a stop there could not be repeated."""

FORGOTTEN = "user-forgotten"

OUTAGES = (1, 4, 1 << 30)
"""For how many touches something is out of reach; which of them, the point decides."""

ROWS = 6
"""A checkpoint lets go so many rows, so that a short delivery has several."""


class Touches:
    """Counts the touches of this process, and stops it at one of them."""

    def __init__(self, store: str, point: int, how: str = "stop") -> None:
        self.names: list[str] = []
        self._store = store
        self._point = point
        self._how = how
        self._left = OUTAGES[point % len(OUTAGES)]
        self._lock = threading.Lock()
        self._is_over = False

    def watch(self) -> None:
        """Count from now on: every method of the file store, every call of the system below it, every statement."""
        for name, method in vars(FileStore).items():
            if isfunction(method) and not name.startswith("_"):
                setattr(FileStore, name, self._watched(name, method))
        sys.addaudithook(self._called)
        for moment in ("before_cursor_execute", "commit", "rollback"):
            event.listen(Engine, moment, self._noted(moment))

    def end(self) -> list[str]:
        """Return what was touched; nothing counts any more."""
        self.touch("end")
        self._is_over = True
        return self.names

    def touch(self, name: str) -> None:
        """Count, and stand still if this is the point; returns once the process is woken."""
        if self._is_over or threading.current_thread().name in BESIDE:
            return
        with self._lock:
            self.names.append(name)
            if len(self.names) == self._point and self._how == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)

    def _require(self, what: str, error: Exception) -> None:
        """Raise the error while `what` is out of reach."""
        if self._how == what and not self._is_over and 0 < self._point <= len(self.names) and self._left > 0:
            self._left -= 1
            raise error

    def _watched(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def watched(*args: Any, **options: Any) -> Any:
            self.touch(f"before {name}")
            result = method(*args, **options)
            self.touch(f"after {name}")
            return result

        return watched

    def _called(self, what: str, args: tuple[Any, ...]) -> None:
        paths = [os.fspath(arg) for arg in args if isinstance(arg, str | os.PathLike)]
        if ours := [path for path in paths if path.startswith(self._store)]:
            self.touch(what)
            if not what.startswith("shutil."):  # which is no call of the system, but the beginning of several
                self._require("store", OSError(errno.EIO, os.strerror(errno.EIO), ours[0]))

    def _noted(self, moment: str) -> Callable[..., None]:
        def statement(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
            self.touch(" ".join(text.split()[:3]))
            self._require("database", OperationalError("out of reach", None, ConnectionError()))

        def end_of_transaction(_connection: Any) -> None:
            self.touch(moment)
            if moment == "commit":
                self._require("database", OperationalError("out of reach", None, ConnectionError()))

        return statement if moment == "before_cursor_execute" else end_of_transaction


def _sync(workspace: Workspace, request: Request) -> list[Run]:
    (computation,) = workspace.settings.computations
    return [sync(workspace, computation, request, CancelToken())]


def _forget(workspace: Workspace) -> list[Run]:
    forget(workspace, FORGOTTEN, who="a test", why=None)
    return []


TASKS: dict[str, Callable[[Workspace], list[Run]]] = {
    "sync": lambda workspace: _sync(workspace, Request()),
    "resync": lambda workspace: _sync(workspace, Request(kind="backfill", limits=Limits(is_resync=True))),
    "forget": _forget,
    "forward": lambda workspace: forward.forward(workspace, forward.ForwardRequest(), CancelToken()),
}


def main() -> int:
    """Do it, stopped once; returns the exit status."""
    config, what, lease_s, point, how = sys.argv[1:]
    settings = load(Path(config))
    touches = Touches(settings.files, int(point), how)
    touches.watch()
    error: WindsorSyncError | None
    try:
        with open_workspace(settings) as opened:
            limits = replace(opened.engine_limits, checkpoint_rows=ROWS)
            runs = TASKS[what](replace(opened, engine_limits=limits, lease_ttl_s=float(lease_s)))
            error = error_of(runs[-1]) if runs else None
    except WindsorSyncError as raised:
        error = raised
    print(json.dumps(touches.end()))
    if error:
        print(error, file=sys.stderr)
    return error.exit_status if error else 0


if __name__ == "__main__":
    sys.exit(main())
