"""Reads and writes files of an object store on Spark's workers, with pyarrow and fsspec.

A cluster needs no driver for the store (such as `s3a`). Its workers need pyarrow, the store's fsspec package and the
store's credentials in their environment; windsor_sync need not be installed there.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from windsor_sync.errors import ConfigError, StateUnavailable
from windsor_sync.storage.duckdb_engine import DAMAGED, MISSING
from windsor_sync.storage.errors import file_system, in_reach, store_damaged

TASK_ROWS = 500_000
"""A task of Spark reads whole row groups of one file, until it has at least so many rows."""

_MISSING_PACKAGE = re.compile(r"(?:No module named '|Install )(\w+)")

SMALLER = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64()}
"""From a type that Spark does not have to one that holds its values."""


def stored_rows(spark: SparkSession, locations: Sequence[str]) -> DataFrame:
    """Return the rows of stored Parquet files that all have the same columns.

    Raises StoredFileError for a file that is gone or damaged, StateUnavailable if the store does not answer.
    """
    footers = {location: _footer(location) for location in locations}
    stretches = [(name, *stretch) for name, footer in footers.items() for stretch in _stretches(footer)]
    schema = _known_to_spark(next(iter(footers.values())).schema.to_arrow_schema())
    tasks = spark.createDataFrame(stretches, "location string, first int, last int").repartition(len(stretches))
    return tasks.mapInArrow(_reader(schema), from_arrow_schema(schema, prefer_timestamp_ntz=True))


def write_parts(rows: DataFrame, folder: str) -> list[str]:
    """Write the rows as Parquet files below a folder of an object store; returns their locations.

    A task that Spark runs twice writes two files; only the one that its result names is returned.
    """
    written = rows.mapInArrow(_writer(folder), "location string").collect()
    return [str(location) for (location,) in written]


def remove_parts(folder: str) -> None:
    """Remove the files of `write_parts`, also those of tasks that were lost; what the store does not let go is swept later."""
    with suppress(StateUnavailable), in_reach():
        fs, root = file_system(folder, use_listings_cache=False)
        for name in fs.find(root):
            fs.rm_file(name)


def files_at(location: str) -> list[str]:
    """Return a stored file, or the files of a folder; raises StoredFileError if there is none."""
    with in_reach():
        fs, root = file_system(location, use_listings_cache=False)
        found = [root] if fs.isfile(root) else sorted(fs.find(root))
    if not found:
        raise store_damaged(MISSING)
    return [str(fs.unstrip_protocol(name)) for name in found]


@contextmanager
def workers_have_packages() -> Iterator[None]:
    """Raise ConfigError where the workers of Spark lack a package that reads or writes the files of an object store."""
    try:
        yield
    except Exception as error:
        missing = _MISSING_PACKAGE.search(str(error))
        if missing is None:
            raise
        raise ConfigError(
            f"Spark's workers read and write the object store of `files` with Python, and their Python has no {missing[1]}. "
            "Nothing was sent. Install pyarrow and the store's package (s3fs, gcsfs or adlfs) for the Python that "
            "PYSPARK_PYTHON names on each worker, or say diff: duckdb."
        ) from None


def _footer(location: str) -> Any:
    with in_reach():
        fs, path = file_system(location)
        try:
            return pq.read_metadata(path, filesystem=fs)
        except FileNotFoundError:
            words = MISSING
        except pa.ArrowInvalid:
            words = DAMAGED
    raise store_damaged(words)


def _stretches(footer: Any) -> Iterator[tuple[int, int]]:
    """Yield stretches of row groups, [first, last), with about TASK_ROWS rows each; a file without rows has one, empty."""
    first = rows = 0
    for group in range(footer.num_row_groups):
        rows += footer.row_group(group).num_rows
        if rows >= TASK_ROWS:
            yield first, group + 1
            first, rows = group + 1, 0
    if rows or not first:
        yield first, footer.num_row_groups


def _known_to_spark(schema: Any) -> Any:
    return pa.schema([pa.field(field.name, SMALLER.get(field.type, field.type)) for field in schema])


# The functions for the workers are nested: Spark sends their code. A function of a module would be sent as a name, and
# the workers do not have this package.


def _reader(schema: Any) -> Callable[[Iterator[Any]], Iterator[Any]]:
    def read(tasks: Iterator[Any]) -> Iterator[Any]:
        import fsspec
        import pyarrow.parquet as parquet

        for batch in tasks:
            for task in batch.to_pylist():
                fs, path = fsspec.core.url_to_fs(task["location"])
                with fs.open(path, "rb") as file:
                    groups = list(range(task["first"], task["last"]))
                    for rows in parquet.ParquetFile(file).iter_batches(row_groups=groups):
                        yield rows.cast(schema)

    return read


def _writer(folder: str) -> Callable[[Iterator[Any]], Iterator[Any]]:
    def write(batches: Iterator[Any]) -> Iterator[Any]:
        import uuid

        import fsspec
        import pyarrow
        import pyarrow.parquet as parquet

        first = next(batches, None)
        if first is None:
            return
        location = f"{folder}/{uuid.uuid4().hex}.parquet"
        fs, path = fsspec.core.url_to_fs(location)
        with fs.open(path, "wb") as file, parquet.ParquetWriter(file, first.schema, compression="zstd") as writer:
            writer.write_batch(first)
            for batch in batches:
                writer.write_batch(batch)
        yield pyarrow.RecordBatch.from_pydict({"location": [location]})

    return write
