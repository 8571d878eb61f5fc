"""A DAG file is read every 30 seconds: it is cheap, and reaches neither the network nor a database."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.world import World

ROOT = Path(__file__).parents[2]
DAGS = sorted((ROOT / "dags").glob("*.py"))
MOST_S = 0.3

IMPORT = """
import json, runpy, socket, sqlite3, sys, time
import airflow.sdk, airflow.dag_processing.dagbag
from airflow.providers.standard.operators import hitl
for name in ("BaseOperator", "BaseNotifier", "BaseOperatorLink", "DAG", "Asset", "Param", "RetryPolicy", "task_group"):
    getattr(airflow.sdk, name, None)  # Airflow before 3.3 has no retry policies
def forbidden(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind", "sqlite3.connect"):
        raise PermissionError(event)
sys.addaudithook(forbidden)
before = set(sys.modules)
began = time.process_time()
runpy.run_path(sys.argv[1])
print(json.dumps([time.process_time() - began, sorted(set(sys.modules) - before)]))
"""

HEAVY = {
    "duckdb",
    "pandas",
    "aiohttp",
    "windsor_sync.usecases.sync",
    "windsor_sync.usecases.forward",
    "windsor_sync.state.database",
}


def read(dag_file: Path) -> tuple[float, list[str]]:
    """Return the seconds of processor beyond Airflow's imports, and the modules that come beside them."""
    command = [sys.executable, "-c", IMPORT, str(dag_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seconds, modules = json.loads(done.stdout.splitlines()[-1])
    return seconds, modules


@pytest.mark.parametrize("dag_file", DAGS, ids=lambda path: path.stem)
def test_reading_a_dag_file_imports_nothing_heavy_and_reaches_nothing(dag_file: Path, configured: World) -> None:
    configured.destination["url"] = (
        "http://windsor.localhost/"  # a name that has to be looked up before anything is sent
    )
    _ = configured.config
    _, modules = read(dag_file)
    assert not HEAVY & set(modules)


@pytest.mark.thorough
@pytest.mark.parametrize("dag_file", DAGS, ids=lambda path: path.stem)
def test_reading_a_dag_file_takes_a_moment(dag_file: Path, configured: World) -> None:
    _ = configured.config
    assert any(read(dag_file)[0] <= MOST_S for _ in range(3))
