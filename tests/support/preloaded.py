"""A process that has imported what `windsor-sync` needs, and forks itself for each command that a test starts.

As a program, `python -m tests.support.preloaded SOCKET`, it reads requests from the inherited socket. A request holds the
arguments for an interpreter, its folder and environment, and the three standard streams; the answer is the child's pid. The
child's parent is the process that asked, which waits for it as for any child.
"""

import atexit
import gc
import importlib
import os
import pickle
import pkgutil
import runpy
import signal
import socket
import sys
import threading
import time
import types
from typing import Any, NoReturn

MAX_REQUEST_BYTES = 1 << 17

LIBRARIES = (
    "aiohttp.web", "alembic.command", "alembic.config", "duckdb", "fsspec.implementations.local", "httptools", "httpx", "jinja2",
    "orjson", "pandas", "psycopg", "s3fs", "pydantic", "rich.console", "rich.live", "rich.progress", "rich.table", "sqlalchemy",
    "yaml",
)  # fmt: skip
"""Airflow is not among them: what it imports depends on the environment."""

PACKAGES = ("windsor_sync", "windsor_sync.cli", "windsor_sync.sandbox", "windsor_sync.state")
LEFT_OUT = ("windsor_sync.airflow", "windsor_sync.cli.__main__", "windsor_sync.sandbox.__main__", "windsor_sync.dags")


def main() -> None:
    """Serve until the tests have closed their end; in a child, run what was asked for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, and with them this process
    load()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as wire:
        wire.send(b"ready")
        request = serve(wire)
    if request is not None:
        prepare(*request)
        leave(run(request[0]["arguments"]))
    os._exit(0)


def load() -> None:
    """Import the libraries and every module of the package that a command may use."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for package in PACKAGES:
        for found in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
            if found.name not in LEFT_OUT:
                importlib.import_module(found.name)


def serve(wire: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Fork a child for each request; returns the request in the child, and None when there are no more."""
    while True:
        message, streams, _, _ = socket.recv_fds(wire, MAX_REQUEST_BYTES, 3)
        if not message:
            return None
        if (answer := grandchild()) is None:
            return pickle.loads(message), streams
        for stream in streams:
            os.close(stream)
        wire.send(answer)


def grandchild() -> bytes | None:
    """Fork twice, so that the grandchild has another parent; returns its pid, and None in the grandchild."""
    reading, writing = os.pipe()
    between = os.fork()
    if between:
        os.close(writing)
        os.waitpid(between, 0)
        with os.fdopen(reading, "rb") as pipe:
            return pipe.read()
    os.close(reading)
    pid = os.fork()
    if pid:
        os.write(writing, str(pid).encode())
        os._exit(0)
    os.close(writing)
    return None


def prepare(request: dict[str, Any], streams: list[int]) -> None:
    """Take on the folder, environment, streams and arguments."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, max(streams) + 1)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())  # type: ignore[union-attr]
    sys.path[:1] = [request["cwd"], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]


def run(arguments: list[str]) -> int:
    """Do what `python ARGUMENTS` does; returns the exit status."""
    kind, program, *rest = arguments
    sys.argv = ["-c" if kind == "-c" else program, *rest]
    try:
        if kind == "-c":
            main_module = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(program, main_module.__dict__)
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def leave(status: int) -> NoReturn:
    """End as an interpreter does, without taking apart what was imported: that takes as long as a short command."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 0xFF)


if __name__ == "__main__":
    main()
