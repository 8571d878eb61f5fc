"""`make up`, without a terminal."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from deploy import up as making
from deploy.health import is_healthy
from tests.chaos.processes import IS_CHAOS
from tests.deployment.compose import ROOT
from tests.deployment.processes import wait_until

pytestmark = pytest.mark.timeout(600)


def left_of(folder: Path) -> list[psutil.Process]:
    """Processes that work in the folder or below."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.skipif(not IS_CHAOS, reason="takes four minutes; make chaos runs it")
def test_up_shows_everything_to_a_person_and_ctrl_c_ends_all_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "up"
    command = [sys.executable, "-m", "deploy.up", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        printed = []
        try:
            for line in up.stdout:
                printed.append(line)
                if line.startswith("Ctrl-C"):
                    break
            shown = "".join(printed)
            assert "1,100 exits wait for you" in shown, shown
            airflow = next(line.split()[1] for line in printed if line.startswith("Airflow "))
            windsor = next(line.split()[1] for line in printed if line.startswith("Windsor "))
            everything_answers(airflow, windsor)
            assert left_of(folder)
        finally:
            up.send_signal(signal.SIGINT)
            up.communicate(timeout=90)
    assert up.returncode == 0
    wait_until(lambda: not left_of(folder), "nothing is left running", 10)


def everything_answers(airflow: str, windsor: str) -> None:
    with httpx.Client(timeout=30, follow_redirects=True) as http:
        assert http.get(windsor).status_code == 200
        token = http.get(f"{airflow}/auth/token").json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        dags = http.get(f"{airflow}/api/v2/dags").json()["dags"]
        assert {dag["dag_id"]: dag["is_paused"] for dag in dags} == dict.fromkeys(
            ("engage_audience_backfill", "engage_audience_sync", "engage_sync_now", "segment_event_forwarding"), False
        )
        for page in ("required_actions", "dags/engage_audience_backfill", "plugin/windsor", "windsor/"):
            assert http.get(f"{airflow}/{page}").status_code == 200, page


def test_up_leaves_a_folder_of_yours_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    done = subprocess.run([sys.executable, "-m", "deploy.up", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "left alone" in done.stderr
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_windsor_port_that_is_taken_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody, ExitStack() as running:
        taken = somebody.getsockname()[1]
        monkeypatch.setattr(making, "WINDSOR_PORT", taken)
        windsor = making._start_windsor(tmp_path, dict(os.environ), running)
        assert is_healthy(f"{windsor}users")
        assert str(taken) not in windsor
