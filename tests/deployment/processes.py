"""Services as processes of this machine: started, asked for their health, ended with everything they started."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

BIN = Path(sys.executable).parent
PATIENCE_S = 120.0
GRACE_S = 8.0


def free_ports(wanted: list[int]) -> dict[int, int]:
    """A free port of the loopback for each wanted one."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in wanted]
    ports = {port: opened.getsockname()[1] for port, opened in zip(wanted, sockets, strict=True)}
    for opened in sockets:
        opened.close()
    return ports


def clean_environment(own: dict[str, str], folder: Path, programs: Path) -> dict[str, str]:
    """What a container starts with, and its own variables; `programs` are those of its image."""
    path = os.pathsep.join([str(BIN), os.environ["PATH"], str(programs)])
    return {"PATH": path, "HOME": str(folder), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", **own}


def wait_until(is_so: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Return as soon as it is so; fails the test when that takes too long."""
    deadline = time.monotonic() + patience_s
    while not is_so():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {patience_s:.0f} s: {what}", pytrace=False)
        time.sleep(0.25)


class Running:
    """A service that runs."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], cwd: Path, log: Path, **who: Any):
        self.name = name
        self.log = log
        self._home = environment["HOME"]
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                command, env=environment, cwd=cwd, stdout=sink, stderr=sink, start_new_session=True, **who
            )

    def said(self) -> str:
        """Everything it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """End it as a container is killed: every process of it at once, unwarned."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def ask(self, sign: signal.Signals) -> None:
        """Ask it to end, by its first process."""
        if self.process.poll() is None:
            self.process.send_signal(sign)

    def _family(self) -> list[psutil.Process]:
        """It, what it started, and what lost its parent but has its home."""
        try:
            first = psutil.Process(self.process.pid)
            found = {first, *first.children(recursive=True)}
        except psutil.NoSuchProcess:
            found = set()
        return [*(found | {one for one in psutil.process_iter() if _home_of(one) == self._home})]


def end(services: list[Running], sign: signal.Signals) -> None:
    """Ask all at once, and kill what is left after a while."""
    for service in services:
        service.ask(sign)
    deadline = time.monotonic() + GRACE_S
    for service in services:
        with suppress(subprocess.TimeoutExpired):
            service.process.wait(timeout=max(0.1, deadline - time.monotonic()))
        service.kill()


def _home_of(process: psutil.Process) -> str | None:
    try:
        environment: dict[str, str] = process.environ()
    except (psutil.Error, OSError):
        return None
    return environment.get("HOME")
