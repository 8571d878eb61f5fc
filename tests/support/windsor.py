"""Windsor for tests: the real sandbox on loopback, in this process or in one of its own."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import httpx
import pytest

from tests.support.commands import Python
from windsor_sync.sandbox import Faults, Sandbox
from windsor_sync.sandbox.store import Store

Send = Callable[..., httpx.Response]  # posts one message, its fields given by name


class StartWindsor(Protocol):
    """Starts a sandbox that ends with the test."""

    def __call__(
        self,
        *,
        api_key: str = ...,
        faults: Faults | None = ...,
        state_file: Path | None = ...,
        names: list[str] = ...,
        store: Store | None = ...,
    ) -> Sandbox: ...


@pytest.fixture
def start_windsor() -> Iterator[StartWindsor]:
    """Sandboxes as a test wants them, as many as it wants."""
    with ExitStack() as running:

        def start(
            *,
            api_key: str = "sandbox",
            faults: Faults | None = None,
            state_file: Path | None = None,
            names: list[str] | None = None,
            store: Store | None = None,
        ) -> Sandbox:
            sandbox = Sandbox(api_key=api_key, faults=faults, state_file=state_file, names=names or [], store=store)
            return running.enter_context(sandbox)

        yield start


@pytest.fixture
def windsor(start_windsor: StartWindsor) -> Sandbox:
    """One healthy Windsor; its key is `windsor.api_key`."""
    return start_windsor()


class WindsorProcess:
    """A sandbox in a process of its own, for tests in which somebody is killed."""

    def __init__(self, *options: str, port: int = 0, program: str = "windsor_sync.sandbox") -> None:
        """Prepare `python -m` and the program with these options; port 0 takes a free one."""
        self._command = ["-m", *program.split(), "--port", str(port), *options]

    def __enter__(self) -> Self:
        self.process = Python(*self._command, env=os.environ, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.announced = self.process.stdout.readline()
        self.url = self.announced.removeprefix("Windsor sandbox: ").split()[0].rstrip(",")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.process.communicate()
