"""Chooses the engine that compares snapshots."""

from collections.abc import Callable
from pathlib import Path

from windsor_sync.diff import duckdb
from windsor_sync.diff.task import DiffTask, Tally
from windsor_sync.errors import ConfigError

Diff = Callable[[DiffTask, Path], Tally]


def engine(name: str) -> Diff:
    """The diff of `duckdb` or `spark`. Raises ConfigError where Spark is wanted and not installed."""
    if name != "spark":
        return duckdb.duckdb_diff
    try:
        from windsor_sync.diff import spark
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"pyspark", "py4j", "pyarrow"}:
            raise
        raise ConfigError(
            "windsor.yaml says diff: spark, but Spark is not installed here. Nothing was sent. Install it: "
            "pip install 'windsor-sync[spark]' (it needs Java 17), or say diff: duckdb."
        ) from None
    return spark.spark_diff
