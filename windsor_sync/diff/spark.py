"""Runs the diff on Spark, for audiences beyond one machine: the same statement, the same outbox.

The session is the one that is running, else what Spark's own configuration describes (SPARK_CONF_DIR, spark-submit, a
notebook's cluster). Its workers reach the sealed files in the object store, or under the same paths as this process.
"""

import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession

from windsor_sync.diff import duckdb, statement
from windsor_sync.diff.spark_files import files_at, remove_parts, stored_rows, workers_have_packages, write_parts
from windsor_sync.diff.task import DiffTask, Tally
from windsor_sync.domain.change import COLUMNS, Turnover
from windsor_sync.state.ledger import Head
from windsor_sync.storage.duckdb_engine import open_stored, parquet_files

DIALECT = statement.Dialect(sha256="sha2({}, 256)", to_bytes="encode({}, 'UTF-8')", lines="explode(split({}, '\\n'))")

READ_OFTEN = {"now_rows", "now_persons", "owed_persons", "told_rows", "matched", "links", "joined", "changes"}
"""Steps of the statement that several others read."""

TYPES = {"VARCHAR": "STRING", "TIMESTAMP": "TIMESTAMP_NTZ"}
"""Where Spark has another name for a type."""


_WILDCARDS = re.compile(r"([*?\[\]{}\\])")
"""Characters that have a meaning in the paths that Spark reads."""


@workers_have_packages()
def spark_diff(task: DiffTask, draft: Path) -> Tally:
    """Write the changes that turn what Windsor was told into the snapshot to `draft`, and count them.

    Raises ConfigError where Spark's workers lack a package that they need for an object store.
    """
    spark = SparkSession.builder.appName("windsor-sync").getOrCreate().newSession()  # views of its own
    _define_views(spark, task)
    [[merged]] = spark.sql(statement.MERGED.format(snapshot="snapshot_now", merges="merges")).collect()
    last = _define_steps(spark, statement.changes_sql(DIALECT))
    changes = spark.sql(
        statement.sendable(
            task.limits, last, DIALECT, has_protected=bool(task.protected), has_suppressed=bool(task.suppressed)
        )
    )
    with _parts(task, draft, changes) as parts, open_stored() as connection:
        duckdb.write(connection, _of_an_outbox(parts), draft, task.stamp, has_false=task.may_tell_false)
        turnover = _turnover(spark, task, parts)
        return replace(duckdb.tally(connection, str(draft)), merged=merged, turnover=turnover)


@contextmanager
def _parts(task: DiffTask, draft: Path, changes: DataFrame) -> Iterator[list[str]]:
    """Let the workers write the changes as files that this process reaches too, and remove the files when the block ends.

    The files are among the drafts: if this process is killed, a later one removes them.
    """
    folder = f"{task.drafts or draft.parent}/changes-{uuid.uuid4().hex}"
    try:
        if task.drafts:
            yield write_parts(changes, folder)
        else:
            changes.write.parquet(folder)
            yield [str(part) for part in sorted(Path(folder).iterdir()) if part.name.startswith("part-")]
    finally:
        if task.drafts:
            remove_parts(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _turnover(spark: SparkSession, task: DiffTask, changes: Sequence[str]) -> Turnover | None:
    """Count the users who differ from the snapshot before; None where that snapshot is not known."""
    if task.head is not None and task.head.snapshot is None:
        return None
    if changes:
        _rows_of(spark, changes).createOrReplaceTempView("found_changes")
    else:
        _view(spark, "found_changes", statement.nobody(_spark_types(COLUMNS)))
    [counts] = spark.sql(statement.sql("turnover")).collect()
    return Turnover(*counts)


def _of_an_outbox(parts: Sequence[str]) -> str:
    """Return SQL for the rows that Spark wrote, with the column types of an outbox."""
    if not parts:
        return statement.nobody({name: COLUMNS[name] for name in statement.outbox_columns()})
    columns = ", ".join(f"CAST({name} AS {COLUMNS[name]}) AS {name}" for name in statement.outbox_columns())
    return f"SELECT {columns} FROM {parquet_files(parts)}"


def _define_steps(spark: SparkSession, text: str) -> str:
    """Make each named select of a statement a view, and return the last one.

    Spark would plan and run a select again for each of its readers; what several read is kept by the workers.
    """
    for name, select in statement.steps(text):
        if not name:
            return select
        rows = spark.sql(select)
        (_kept(rows) if name in READ_OFTEN else rows).createOrReplaceTempView(name)
    raise AssertionError("a statement ends with a select")


def _kept(rows: DataFrame) -> DataFrame:
    """Let two workers keep the rows once they are computed, so that one worker may be lost."""
    return rows.localCheckpoint(eager=False, storageLevel=StorageLevel.MEMORY_AND_DISK_2)


def _define_views(spark: SparkSession, task: DiffTask) -> None:
    head = task.head
    before = head.snapshot if head else None
    table = partial(_table_of, spark)
    _view(spark, "snapshot_now", statement.snapshot_view(table(task.snapshot)))
    _view(spark, "snapshot_before", statement.snapshot_view(table(before) if before else _no_members()))
    _view(spark, "outbox_before", _outbox_before(spark, head))
    for name, location in zip(task.merges._fields, task.merges, strict=True):
        rows = (
            statement.nobody(_spark_types(statement.MERGES)) if location is None else f"SELECT * FROM {table(location)}"
        )
        _view(spark, f"merges_{name}", rows)
    _view(spark, "merges", statement.merges_sql(task.merges))
    _table(spark, "progress_before", statement.PROGRESS, statement.progress_rows(head))
    _table(spark, "verdicts_before", statement.VERDICTS, statement.verdict_rows(head))
    for name, users in (("suppressed", task.suppressed.hashes), ("protected", task.protected)):
        _table(spark, name, {"user_hash": "VARCHAR"}, [(user_hash,) for user_hash in users])
    _table(spark, "run", statement.RUN, [statement.run_row(task)])
    types = _spark_types({"identity": "VARCHAR", "user_id": "VARCHAR", "anonymous_id": "VARCHAR", "email": "VARCHAR"})
    _view(spark, "departed", statement.departed(task.departed, table, types))
    _kept(spark.sql(statement.sql("owed"))).createOrReplaceTempView("owed")


def _outbox_before(spark: SparkSession, head: Head | None) -> str:
    if head is None or head.outbox is None:
        return statement.nobody(_spark_types(COLUMNS))
    rows = _table_of(spark, head.outbox)
    sent = statement.sent_before(spark.sql(f"SELECT * FROM {rows}").columns)
    columns = ", ".join(name for name in COLUMNS if name not in ("was_sent", "status"))
    return f"SELECT {columns}, {sent}, {statement.status_before(head.held)} AS status FROM {rows}"


def _no_members() -> str:
    return f"({statement.nobody(_spark_types(duckdb.MEMBER))})"


def _table_of(spark: SparkSession, location: str) -> str:
    """Return a stored file, or a folder of them, as a table in SQL."""
    view = f"stored_{uuid.uuid4().hex}"
    _rows_of(spark, files_at(location) if "://" in location else [location]).createOrReplaceTempView(view)
    return view


def _rows_of(spark: SparkSession, locations: Sequence[str]) -> DataFrame:
    """Return the rows of Parquet files, at least one, which are all on a disk or all in an object store."""
    if "://" in locations[0]:
        return stored_rows(spark, locations)
    return spark.read.parquet(*(_WILDCARDS.sub(r"\\\1", path) for path in locations))


def _spark_types(columns: dict[str, str]) -> dict[str, str]:
    return {name: TYPES.get(kind, kind) for name, kind in columns.items()}


def _view(spark: SparkSession, name: str, select: str) -> None:
    spark.sql(select).createOrReplaceTempView(name)


def _table(spark: SparkSession, name: str, columns: dict[str, str], rows: Sequence[Sequence[object]]) -> None:
    schema = ", ".join(f"{column} {kind}" for column, kind in _spark_types(columns).items())
    spark.createDataFrame([tuple(row) for row in rows], schema).createOrReplaceTempView(name)
