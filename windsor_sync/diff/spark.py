"""Runs the diff on Spark, for audiences beyond one machine: the same statement, the same outbox.

The session is the one that is running, else what Spark's own configuration describes (SPARK_CONF_DIR, spark-submit, a
notebook's cluster). Its workers have to reach the sealed files under the paths that this process has for them.
"""

import re
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pyspark.sql import SparkSession

from windsor_sync.diff import duckdb, statement
from windsor_sync.diff.task import DiffTask, Tally
from windsor_sync.domain.change import COLUMNS, Turnover
from windsor_sync.errors import ConfigError
from windsor_sync.state.ledger import Head
from windsor_sync.storage.duckdb_engine import open_duckdb, parquet_files

DIALECT = statement.Dialect(sha256="sha2({}, 256)", to_bytes="encode({}, 'UTF-8')", lines="explode(split({}, '\\n'))")

READ_OFTEN = {"now_rows", "now_persons", "owed_persons", "told_rows", "matched", "links", "joined", "changes"}
"""Steps of the statement that several others read."""

TYPES = {"VARCHAR": "STRING", "TIMESTAMP": "TIMESTAMP_NTZ"}
"""Where Spark has another name for a type."""


def spark_diff(task: DiffTask, draft: Path) -> Tally:
    """Write the changes that turn what Windsor was told into the snapshot to `draft`, and count them.

    Raises ConfigError for sealed files in an object store: Spark would need an account and a scheme of its own for it.
    """
    if "://" in task.snapshot:
        raise ConfigError(
            "windsor.yaml says diff: spark, and `files` names an object store, which Spark is not let into here. Nothing was "
            "sent. Let `files` be a folder that this process and Spark's workers share, or say diff: duckdb."
        )
    spark = SparkSession.builder.appName("windsor-sync").getOrCreate().newSession()  # views of its own
    _define_views(spark, task)
    [[merged]] = spark.sql(statement.MERGED.format(snapshot="snapshot_now", merges="merges")).collect()
    last = _define_steps(spark, statement.changes_sql(DIALECT))
    changes = spark.sql(
        statement.sendable(
            task.limits, last, DIALECT, has_protected=bool(task.protected), has_suppressed=bool(task.suppressed)
        )
    )
    # Beside the draft: there the workers reach it and this process too, and it is swept when this process is killed.
    parts = draft.parent / f"changes-{uuid.uuid4().hex}"
    try:
        changes.write.parquet(str(parts))
        with open_duckdb(str(draft.parent)) as connection:
            duckdb.write(connection, _parts(parts), draft, task.stamp, has_false=task.may_tell_false)
            turnover = _turnover(spark, task, parts)
            return replace(duckdb.tally(connection, str(draft)), merged=merged, turnover=turnover)
    finally:
        shutil.rmtree(parts, ignore_errors=True)


def _turnover(spark: SparkSession, task: DiffTask, changes: Path) -> Turnover | None:
    """Count who differs from the snapshot before; None where that is not known."""
    if task.head is not None and task.head.snapshot is None:
        return None
    _view(spark, "found_changes", f"SELECT * FROM {_file(str(changes))}")
    [counts] = spark.sql(statement.sql("turnover")).collect()
    return Turnover(*counts)


def _parts(folder: Path) -> str:
    """Return the files that Spark wrote, with the column types of an outbox."""
    files = [str(part) for part in sorted(folder.iterdir()) if part.suffix == ".parquet" and part.name[0] not in "._"]
    columns = ", ".join(f"CAST({name} AS {COLUMNS[name]}) AS {name}" for name in statement.outbox_columns())
    return f"SELECT {columns} FROM {parquet_files(files)}"


def _define_steps(spark: SparkSession, text: str) -> str:
    """Make each named select of a statement a view, and return the last one.

    Spark would plan and run a select again for each of its readers; what several read is kept by the workers.
    """
    for name, select in statement.steps(text):
        if not name:
            return select
        rows = spark.sql(select)
        (rows.localCheckpoint(eager=False) if name in READ_OFTEN else rows).createOrReplaceTempView(name)
    raise AssertionError("a statement ends with a select")


def _define_views(spark: SparkSession, task: DiffTask) -> None:
    head = task.head
    before = head.snapshot if head else None
    _view(spark, "snapshot_now", statement.snapshot_view(_file(task.snapshot)))
    _view(spark, "snapshot_before", statement.snapshot_view(_file(before) if before else _no_members()))
    _view(spark, "outbox_before", _outbox_before(spark, head))
    for name, location in zip(task.merges._fields, task.merges, strict=True):
        rows = (
            statement.nobody(_spark_types(statement.MERGES)) if location is None else f"SELECT * FROM {_file(location)}"
        )
        _view(spark, f"merges_{name}", rows)
    _view(spark, "merges", statement.merges_sql(task.merges))
    _table(spark, "progress_before", statement.PROGRESS, statement.progress_rows(head))
    _table(spark, "verdicts_before", statement.VERDICTS, statement.verdict_rows(head))
    for name, users in (("suppressed", task.suppressed.hashes), ("protected", task.protected)):
        _table(spark, name, {"user_hash": "VARCHAR"}, [(user_hash,) for user_hash in users])
    _table(spark, "run", statement.RUN, [statement.run_row(task)])
    types = _spark_types({"identity": "VARCHAR", "user_id": "VARCHAR", "anonymous_id": "VARCHAR", "email": "VARCHAR"})
    _view(spark, "departed", statement.departed(task.departed, _file, types))
    spark.sql(statement.sql("owed")).localCheckpoint(eager=False).createOrReplaceTempView("owed")


def _outbox_before(spark: SparkSession, head: Head | None) -> str:
    if head is None or head.outbox is None:
        return statement.nobody(_spark_types(COLUMNS))
    rows = _file(head.outbox)
    sent = statement.sent_before(spark.sql(f"SELECT * FROM {rows}").columns)
    columns = ", ".join(name for name in COLUMNS if name not in ("was_sent", "status"))
    return f"SELECT {columns}, {sent}, {statement.status_before(head)} AS status FROM {rows}"


def _no_members() -> str:
    return f"({statement.nobody(_spark_types(duckdb.MEMBER))})"


def _file(location: str) -> str:
    """A Parquet file as a table; its path is no pattern."""
    path = re.sub(r"([*?\[\]{}\\])", r"\\\1", location)
    return f"parquet.`{path.replace('`', '``')}`"


def _spark_types(columns: dict[str, str]) -> dict[str, str]:
    return {name: TYPES.get(kind, kind) for name, kind in columns.items()}


def _view(spark: SparkSession, name: str, select: str) -> None:
    spark.sql(select).createOrReplaceTempView(name)


def _table(spark: SparkSession, name: str, columns: dict[str, str], rows: Sequence[Sequence[object]]) -> None:
    schema = ", ".join(f"{column} {kind}" for column, kind in _spark_types(columns).items())
    spark.createDataFrame([tuple(row) for row in rows], schema).createOrReplaceTempView(name)
