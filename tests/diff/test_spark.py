"""Spark makes the outbox that DuckDB makes, row for row."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from states import State, outbox_as_set, states

from windsor_sync.diff import duckdb

pytestmark = pytest.mark.skipif(
    not (shutil.which("java") or os.environ.get("JAVA_HOME")),
    reason="Spark needs Java, which is not installed here (Debian: apt install openjdk-17-jre-headless)",
)


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    """One Spark on this machine for the whole module: it takes seconds to start."""
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed: pip install windsor-sync[spark]")
    builder = sql.SparkSession.builder.master("local[1]")
    quick = {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.default.parallelism": "1",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.codegen.wholeStage": "false",
        "spark.log.level": "ERROR",
    }
    for name, value in quick.items():
        builder = builder.config(name, value)
    started = builder.getOrCreate()
    yield
    started.stop()


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(state=states(more_users=20))
def test_both_engines_find_the_same_changes(state: State) -> None:
    from windsor_sync.diff import spark

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = state.task(folder)
        expected = duckdb.diff(task, folder / "duckdb.parquet")
        assert spark.diff(task, folder / "spark.parquet") == expected
        assert outbox_as_set(str(folder / "spark.parquet")) == outbox_as_set(str(folder / "duckdb.parquet"))
        assert not list(folder.glob(".changes-*"))
