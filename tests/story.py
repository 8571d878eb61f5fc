"""Run docs/moving-in.md, command by command, in Airflows that existed before windsor_sync: the end of `make matrix`.

    python -m tests.story [RELEASE ...]

Each release gets an environment with Airflow alone. Then the commands of the page's `console story` blocks are typed
into it, beside a stand-in of Windsor and a receiver of alerts.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from deploy.local import free_port
from tests.docs.pages import ROOT, blocks_of
from tests.matrix import OF_ITS_TIME, uv
from tests.support.receiver import Receiver
from windsor_sync.sandbox import Sandbox

PAGE = ROOT / "docs" / "moving-in.md"
ENDS: dict[str, tuple[str, tuple[str, ...]]] = {"3.2.0": ("3.11", OF_ITS_TIME), "3.3.2": ("3.13", ())}
"""Release → its Python, and libraries of its time."""

PATIENCE_S = 420.0
"""How long a command is repeated until it shows the page's lines."""

SHOWS_PROGRESS = "windsor-sync audiences"


class StoryError(Exception):
    """The story did not go on as the page says."""


class Terminal:
    """Types commands into one environment."""

    def __init__(self, folder: Path, environment: dict[str, str], running: ExitStack) -> None:
        self.folder = folder
        self.environment = environment
        self.running = running

    def type_in(self, command: str, shown: list[str]) -> None:
        """Type a command and look for the page's lines; `SHOWS_PROGRESS` is repeated until it shows them."""
        print(f"$ {command}", flush=True)
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            self.environment[name] = value.replace("$PWD", str(self.folder))
            return
        if command.endswith("&"):
            self._start(command.removesuffix("&"))
            return
        give_up_at = time.monotonic() + (PATIENCE_S if command == SHOWS_PROGRESS else 0)
        while True:
            done = self._run(command)
            printed = done.stdout + done.stderr
            if done.returncode == 0 and all(is_shown(line, printed) for line in shown):
                return
            if time.monotonic() > give_up_at:
                raise StoryError(f"{command} ended with {done.returncode} and printed:\n{printed}")
            time.sleep(3)

    def _run(self, command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )

    def _start(self, command: str) -> None:
        started = subprocess.Popen(
            f"exec {command}", shell=True, cwd=self.folder, env=self.environment, start_new_session=True
        )

        def stop() -> None:
            os.killpg(started.pid, signal.SIGTERM)
            try:
                started.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(started.pid, signal.SIGKILL)

        self.running.callback(stop)


def is_shown(line: str, printed: str) -> bool:
    """Tell whether a line was printed; spaces may differ, and `…` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in " ".join(line.split()).split("…"))
    return any(re.search(pattern, " ".join(each.split())) for each in printed.splitlines())


def airflow_alone(folder: Path, release: str) -> Path:
    """Make an environment with Airflow and a `pip`, and nothing of ours; returns its programs."""
    python, libraries = ENDS[release]
    uv("venv", "--quiet", "--no-python-downloads", "--python", python, str(folder))
    program = folder / "bin" / "python"
    uv("pip", "install", "--quiet", "--python", str(program), f"apache-airflow=={release}", *libraries)
    pip = folder / "bin" / "pip"  # uv's, which is faster
    words = f'exec {sys.executable} -m uv pip "$command" --quiet --python {program} "$@"'
    pip.write_text(f"#!/bin/sh\ncommand=$1; shift\n{words}\n")
    pip.chmod(0o755)
    return folder / "bin"


def environment_of(programs: Path, folder: Path, windsor: str, pager: str) -> dict[str, str]:
    """Return the variables of an Airflow on free ports, and where this story's Windsor and receiver are."""
    page = free_port(8080)
    left = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "WINDSOR", "VIRTUAL"))}
    return (
        left
        | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__API__PORT": str(page),
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{page}",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{page}/execution/",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "10",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",  # the API server takes long for its first answer on a busy machine
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port(8793)),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port(8794)),
            "WINDSOR_SYNC_DESTINATION__URL": windsor,
            "WINDSOR_SYNC_DESTINATION__NAME": "windsor",
            "PAGER_URL": pager,
        }
    )


def tell(release: str, folder: Path) -> None:
    """Type the commands of the page; raises StoryError where the result is not as the page says."""
    with ExitStack() as running:
        windsor = running.enter_context(Sandbox(api_key="sandbox"))
        receiver = Receiver()
        running.callback(receiver.close)
        project = folder / "project"
        project.mkdir()
        for block in blocks_of(PAGE):
            if block.argument in ("windsor.yaml", "dbt_shop.py"):
                (project / block.argument).write_text(block.text, encoding="utf-8")
        uv("build", "--quiet", "--wheel", "--out-dir", str(project), str(ROOT))
        programs = airflow_alone(folder / "venv", release)
        terminal = Terminal(project, environment_of(programs, project, windsor.url, receiver.url), running)
        for command, shown in commands():
            terminal.type_in(command, shown)
        if "stale" not in receiver.events:
            raise StoryError(f"The receiver got {receiver.events} and no alert about the stale snapshot.")
        _compare(terminal)


def _compare(terminal: Terminal) -> None:
    """Raise StoryError where a shipped file was edited, or a package that was there before was changed."""
    terminal.type_in("pip freeze > after.txt", [])
    before, after = (set((terminal.folder / name).read_text().splitlines()) for name in ("before.txt", "after.txt"))
    if before - after:
        raise StoryError(f"pip changed {sorted(before - after)}.")
    terminal.type_in('windsor-sync airflow-setup --dags "$AIRFLOW_HOME/dags"', ["engage_audience_sync.py: unchanged"])


def commands() -> list[tuple[str, list[str]]]:
    """Return the page's commands, each with the lines that it shows."""
    found: list[tuple[str, list[str]]] = []
    for block in blocks_of(PAGE):
        for line in block.text.splitlines() if block.info == "console story" else ():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def main(releases: list[str]) -> int:
    """Run the page on each release; returns 1 at the first release that fails."""
    for release in releases or ENDS:
        folder = Path(tempfile.mkdtemp(prefix="windsor-story-"))
        print(f"-- docs/moving-in.md on Airflow {release}", flush=True)
        try:
            tell(release, folder)
        except StoryError as error:
            print(f"Airflow {release}: {error}\nIts files are in {folder}.")
            return 1
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
