"""windsor-sync as processes of their own: to be killed, stopped, woken and asked how they ended.

As a program, `python -m tests.chaos.processes CONFIG LEASE_S ROWS`, it is one sync of everything with a short lease and
frequent checkpoints: what the command line does, at a pace at which a test can wait for a lease to run out.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.commands import Python, clean_environment
from tests.support.world import World

ROOT = Path(__file__).parents[2]

IS_CHAOS = os.environ.get("WINDSOR_CHAOS") == "1"
"""Whether this is `make chaos`: the same promises, many more times."""

PATIENCE_S = 60
"""For something that is certain to happen; running out of it fails the test."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended."""

    status: int
    """exit status; negative: the signal that killed it"""
    output: str
    errors: str


class Command:
    """A process for a `with` block, which it does not outlive."""

    _numbers = count(1)

    def __init__(self, world: World, arguments: Sequence[str], **environment: str) -> None:
        """Prepare Python with these arguments in the world's folder; `environment` comes on top of Windsor's key."""
        self._arguments = arguments
        self._folder = world.folder
        self._environment = clean_environment() | {"WINDSOR_API_KEY": world.windsor.api_key} | environment
        number = next(self._numbers)
        self._output, self._errors = (world.folder / f"{kind}-{number}.txt" for kind in ("output", "errors"))

    def __enter__(self) -> Self:
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self.process = Python(
                *self._arguments,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet; one that stands still is running."""
        return self.process.poll() is None

    @property
    def errors(self) -> str:
        """What it has written to standard error so far."""
        return self._errors.read_text(encoding="utf-8")

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def stand_still(self) -> bool:
        """Stop it as it is; returns once it stands still, or False when it had ended."""
        if self.is_running:
            self.send(signal.SIGSTOP)
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return self.is_running

    def kill(self) -> Ended:
        """End it without a chance to do anything more."""
        self.process.kill()
        return self.end()

    def end(self) -> Ended:
        """Wait for its end."""
        status = self.process.wait(timeout=PATIENCE_S)
        return Ended(status, self._output.read_text(encoding="utf-8"), self.errors)


def windsor_sync(world: World, *arguments: str, **environment: str) -> Command:
    """The command line with the world's configuration."""
    return Command(world, ["-m", "windsor_sync.cli", "--config", str(world.config), *arguments], **environment)


def brisk_sync(world: World, *, lease_s: float, checkpoint_rows: int) -> Command:
    """A sync of everything whose lease does not last long."""
    return Command(
        world,
        ["-m", "tests.chaos.processes", str(world.config), str(lease_s), str(checkpoint_rows)],
        PYTHONPATH=str(ROOT),
    )


def until(condition: Callable[[], object]) -> None:
    """Wait for something that another process is about to do."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.001)


def main() -> int:
    """Sync every audience; returns the exit status of the first that did not end well."""
    from windsor_sync.delivery.cancel import CancelToken
    from windsor_sync.errors import WindsorSyncError
    from windsor_sync.settings import load
    from windsor_sync.usecases.close_run import error_of
    from windsor_sync.usecases.request import Request
    from windsor_sync.usecases.sync import sync
    from windsor_sync.usecases.workspace import open_workspace

    config, lease_s, checkpoint_rows = sys.argv[1:]
    settings = load(Path(config))
    with open_workspace(settings) as opened:
        limits = replace(opened.engine_limits, checkpoint_rows=int(checkpoint_rows))
        workspace = replace(opened, engine_limits=limits, lease_ttl_s=float(lease_s))
        for computation in settings.computations:
            try:
                error = error_of(sync(workspace, computation, Request(), CancelToken()))
            except WindsorSyncError as raised:
                error = raised
            if error:
                print(error, file=sys.stderr)
                return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
