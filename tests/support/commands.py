"""windsor-sync, and other programs, as processes of their own that need not import their libraries first.

Each is forked from a process that has imported them (tests/support/preloaded.py). A test of what a command imports, or of how
long it takes to start, needs a fresh interpreter: `subprocess` with `sys.executable`.
"""

import ctypes
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.preloaded import MAX_REQUEST_BYTES

ROOT = Path(__file__).parents[2]
PR_SET_CHILD_SUBREAPER = 36
AT_START = ("PYTHON", "LC_", "LANG", "LD_", "COVERAGE_")
"""Begin the names of variables that Python reads when it starts."""
LATER = ("PYTHONPATH", "PYTHONASYNCIODEBUG")


class Preloaded:
    """The process that forks commands; Linux only, since a test has to become the parent of its grandchild."""

    def __init__(self) -> None:
        self._wire, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._prctl = ctypes.CDLL(None, use_errno=True).prctl
        command = [sys.executable, "-m", "tests.support.preloaded", str(theirs.fileno())]
        kept = clean_environment()
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=kept, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
        )
        theirs.close()
        self._starts_as = at_start(kept)
        assert self._wire.recv(16) == b"ready", "tests.support.preloaded did not start"

    def takes(self, env: Mapping[str, str]) -> bool:
        """Whether a fork would be what a fresh interpreter with this environment is."""
        return at_start(env) == self._starts_as

    def fork(self, arguments: Sequence[str], cwd: str, env: Mapping[str, str], streams: list[int]) -> int:
        """Start what an interpreter would with these arguments; returns the pid of what is then a child of this process."""
        request = pickle.dumps({"arguments": list(arguments), "cwd": cwd, "env": dict(env)})
        assert len(request) < MAX_REQUEST_BYTES
        with self._lock:
            self._prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            try:
                socket.send_fds(self._wire, [request], streams)
                return int(self._wire.recv(16))
            finally:
                self._prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def clean_environment() -> dict[str, str]:
    """The environment without what this test run, or the person who started it, set for Airflow or for us."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "WINDSOR"))}


def at_start(env: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that is read when Python starts, and not later."""
    return {name: value for name, value in env.items() if name.startswith(AT_START) and name not in LATER}


@cache
def preloaded() -> Preloaded | None:
    """This process's own one; None where commands have to be fresh interpreters."""
    is_measured = any(name.startswith("COVERAGE_") for name in os.environ)
    return Preloaded() if sys.platform == "linux" and not is_measured else None


class Python(subprocess.Popen[Any]):
    """`python -m MODULE …` or `python -c CODE …`, forked where that is the same thing; the options are those of Popen."""

    def __init__(self, *arguments: str, env: Mapping[str, str], **options: Any) -> None:
        super().__init__([sys.executable, *arguments], env=env, **options)

    def _execute_child(self, args: list[str], *rest: Any) -> None:
        *_, cwd, env, _startupinfo, _flags, _shell = rest[:9]
        ready = preloaded()
        if ready is None or not ready.takes(env):
            super()._execute_child(args, *rest)  # type: ignore[misc]
            return
        stdin, our_stdin, our_stdout, stdout, our_stderr, stderr = rest[9:15]
        streams = [own if own != -1 else number for number, own in enumerate((stdin, stdout, stderr))]
        self.pid = ready.fork(args[1:], str(cwd or Path.cwd()), env, streams)
        self._child_created = True
        self._close_pipe_fds(stdin, our_stdin, our_stdout, stdout, our_stderr, stderr)  # type: ignore[attr-defined]


def run(*arguments: str, timeout: float = 120, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run Python with these arguments to its end, as `subprocess.run` with captured text would."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Python(*arguments, text=True, **pipes, **options) as process:
        try:
            out, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)
