"""Programs of this environment, started without a container and ended with everything they started."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from windsor_sync.airflow.dag_files import dags_folder
from windsor_sync.errors import WindsorSyncError

BIN = Path(sys.executable).parent
API_KEY = "sandbox"
END_S = 30.0
PROGRAMS = {"windsor": "python"}
"""Name of a log → program, where they differ."""


def free_port(wanted: int) -> int:
    """The port on the loopback, or another one when that is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(folder: Path, ports: Sequence[int]) -> dict[str, str]:
    """Of an Airflow with everything in `folder`; ports of its page and of its two log servers."""
    page, worker_logs, trigger_logs = ports
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "WINDSOR_", "SEGMENT_"))
    }
    return inherited | {
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{page}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(page),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder()),
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "10",  # seconds; nobody who looks waits for five minutes
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{page}/execution/",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(Path(__file__).parent / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
        "WINDSOR_API_KEY": API_KEY,
        "WINDSOR_SYNC_CONFIG": str(folder / "windsor.yaml"),
    }


def run(program: str, arguments: Sequence[str], folder: Path, env: dict[str, str]) -> None:
    """Run a program to its end; raises WindsorSyncError when that is not a good one."""
    log = folder / f"{program}-{arguments[0]}.log"
    with log.open("wb") as sink:
        done = subprocess.run([BIN / program, *arguments], cwd=folder, env=env, stdout=sink, stderr=sink, check=False)  # noqa: S603
    if done.returncode:
        raise WindsorSyncError(f"{program} {arguments[0]} did not work; everything is ended. {log} says why.")


class Program:
    """One that runs for as long as a `with` block; the block's end ends it, and whatever it left behind."""

    def __init__(self, name: str, arguments: Sequence[str], folder: Path, env: dict[str, str]) -> None:
        self.log = folder / f"{name}.log"
        self._command = [str(BIN / PROGRAMS.get(name, name)), *arguments]
        self._folder = folder
        self._env = env

    @property
    def has_ended(self) -> bool:
        """By itself."""
        return self._process.poll() is not None

    def __enter__(self) -> Self:
        with self.log.open("wb") as sink:
            self._process = subprocess.Popen(  # noqa: S603
                self._command, cwd=self._folder, env=self._env, stdout=sink, stderr=sink, start_new_session=True
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """`airflow standalone` ends in order when it alone hears of SIGINT; its children do not, when they hear it too."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # a session of its own
            self._process.wait()
