"""The diff on a Spark cluster with a master and two workers, files in an object store, and one worker lost."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb as duckdb_module
import pytest

from tests.diff.states import NOW, outbox_as_set
from tests.support.s3 import environment
from windsor_sync.diff import duckdb
from windsor_sync.diff.task import DiffTask
from windsor_sync.state.ledger import Head
from windsor_sync.storage.file_store import FileStore

pytestmark = [
    pytest.mark.skipif(os.environ.get("WINDSOR_CHAOS") != "1", reason="a cluster takes a minute: make chaos runs it"),
    pytest.mark.skipif(not shutil.which("java"), reason="Spark needs Java"),
]
USERS = 400_000
CHURN = 100
"""one in so many users left, and as many came"""


@pytest.fixture
def cluster(
    s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """A session on a standalone cluster of two workers; yields their processes."""
    pyspark = pytest.importorskip("pyspark", reason="pyspark is not installed: pip install windsor-sync[spark]")
    home = Path(pyspark.__file__).parent
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)  # the session tells the workers which Python to start
    env = os.environ | environment(s3_endpoint) | {"SPARK_HOME": str(home)}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    host, port = address.split(":")
    with ExitStack() as running:
        log = running.enter_context((tmp_path / "log").open("wb"))

        def start(kind: str, *arguments: str) -> "subprocess.Popen[bytes]":
            command = [str(home / "bin/spark-class"), f"org.apache.spark.deploy.{kind}", "--host", host, *arguments]
            started = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
            running.callback(end, started)
            return started

        start("master.Master", "--port", port, "--webui-port", "0")
        wait_for(host, int(port))
        about = ("--cores", "1", "--memory", "1g", "--webui-port", "0", "--work-dir", str(tmp_path / "work"))
        workers = [start("worker.Worker", *about, f"spark://{address}") for _ in range(2)]
        builder = pyspark.sql.SparkSession.builder.master(f"spark://{address}")
        for name, value in {
            "spark.ui.enabled": "false",
            "spark.driver.host": host,
            "spark.driver.bindAddress": host,
            "spark.executor.memory": "512m",
            "spark.sql.shuffle.partitions": "8",
            "spark.log.level": "ERROR",
        }.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        running.callback(session.stop)
        yield workers


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process of Spark and the processes that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(host: str, port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection((host, port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the master did not start")


def stored(files: FileStore, path: str, first: int) -> str:
    """Store a snapshot of USERS users, the first of which has this number."""
    with files.draft() as draft:
        duckdb_module.execute(f"""
            COPY (SELECT 'user-' || n AS user_id, NULL::VARCHAR AS anonymous_id, n || '@x.example' AS email,
                NULL::VARCHAR AS profile_id, NULL::VARCHAR AS value FROM range({first}, {first + USERS}) r(n))
            TO '{draft}' (FORMAT parquet, ROW_GROUP_SIZE 20480)
        """)
        files.keep(draft, path)
    return files.location(path)


def test_a_cluster_with_files_in_an_object_store_makes_the_same_outbox_though_a_worker_is_lost(
    s3: Any, cluster: list["subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    from windsor_sync.diff import spark

    files = FileStore("s3://acme/files")
    head = Head("r1", 1, 1, stored(files, "before.parquet", 0), "", NOW, USERS, None, (), True, (), ())
    now = stored(files, "now.parquet", USERS // CHURN)
    task = DiffTask(head=head, snapshot=now, number=2, taken_at=NOW, moment=NOW, drafts=files.drafts_url)
    expected = duckdb.duckdb_diff(task, tmp_path / "duckdb.parquet")
    assert (expected.entered, expected.exited) == (USERS // CHURN, USERS // CHURN)

    def lose_one() -> None:
        while not busy_workers(cluster):
            time.sleep(0.1)
        end(cluster[0])

    loss = Thread(target=lose_one)
    loss.start()
    found = spark.spark_diff(task, tmp_path / "spark.parquet")
    loss.join()
    assert cluster[0].returncode == -signal.SIGKILL
    assert found == expected
    assert outbox_as_set(str(tmp_path / "spark.parquet")) == outbox_as_set(str(tmp_path / "duckdb.parquet"))
    assert not s3.find("acme/files/drafts")


def busy_workers(cluster: list["subprocess.Popen[bytes]"]) -> bool:
    """Whether the first worker's Java has a Python that reads files for it."""
    found = subprocess.run(
        ["pgrep", "-g", str(cluster[0].pid), "-f", "pyspark.daemon"], capture_output=True, check=False
    )
    return bool(found.stdout)
