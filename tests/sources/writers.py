"""The programs that people export with, each writing a table of members itself, and the ways in which exports are split."""

import csv
import gzip
import json
import sqlite3
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet

Member = tuple[str, str | None]
"""user_id and e-mail"""
Table = Sequence[Member]
HEADER = ("user_id", "email")
UUIDS = [f"{number:x}a1b2c3d-{number}111-4222-8333-44445555666{number}" for number in range(1, 8)]


def frame(table: Table) -> pd.DataFrame:
    return pd.DataFrame({name: pd.array([row[at] for row in table], dtype="string") for at, name in enumerate(HEADER)})


def arrow(table: Table) -> pa.Table:
    return pa.table({name: pa.array([row[at] for row in table], pa.string()) for at, name in enumerate(HEADER)})


def in_duckdb(table: Table, sql: str) -> None:
    """Run a statement about `members`."""
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        connection.execute("CREATE TABLE members (user_id VARCHAR, email VARCHAR)")
        if table:
            connection.executemany("INSERT INTO members VALUES (?, ?)", [list(row) for row in table])
        connection.execute(sql)


# -- one file ------------------------------------------------------------------------------------------------


def by_csv_module(**dialect: Any) -> Callable[[Path, Table], None]:
    def write(path: Path, table: Table) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, **dialect).writerows([HEADER, *table])

    return write


def by_pandas_csv(**options: Any) -> Callable[[Path, Table], None]:
    return lambda path, table: frame(table).to_csv(path, index=False, **options)


def by_pandas_json(**options: Any) -> Callable[[Path, Table], None]:
    return lambda path, table: frame(table).to_json(path, orient="records", **options)


def by_pandas_parquet(engine: str, **options: Any) -> Callable[[Path, Table], None]:
    def write(path: Path, table: Table) -> None:
        texts = frame(table) if engine == "pyarrow" else frame(table).astype(object)
        texts.to_parquet(path, engine=engine, index=False, **options)

    return write


def by_duckdb(options: str) -> Callable[[Path, Table], None]:
    return lambda path, table: in_duckdb(table, f"COPY members TO '{path}' ({options})")


def by_polars(method: str, **options: Any) -> Callable[[Path, Table], None]:
    def write(path: Path, table: Table) -> None:
        getattr(pl.DataFrame(table, schema=dict.fromkeys(HEADER, pl.String), orient="row"), method)(path, **options)

    return write


def by_json_module(path: Path, table: Table) -> None:
    lines = [json.dumps({name: cell for name, cell in zip(HEADER, row, strict=True) if cell}) for row in table]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


def by_sqlites_shell(path: Path, table: Table) -> None:
    database = path.with_name("members.db")
    database.unlink(missing_ok=True)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE members (user_id TEXT, email TEXT)")
        connection.executemany("INSERT INTO members VALUES (?, ?)", table)
    command = ["sqlite3", "-csv", "-header", str(database), "SELECT user_id, email FROM members ORDER BY rowid"]
    written = subprocess.run(command, check=True, capture_output=True).stdout
    path.write_bytes(written or b"user_id,email\r\n")  # of no rows the shell says nothing at all
    database.unlink()


def workbook(path: Path, table: Table) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    for place, row in enumerate((HEADER, *table), start=1):
        for column, text in enumerate(row, start=1):
            cell = book.active.cell(place, column, text)
            cell.data_type = "s" if text else "n"  # a text that begins with = is no formula
    book.save(path)


def csv_of_a_workbook(path: Path, table: Table) -> None:
    """As Excel's "CSV UTF-8" has it: a byte order mark, lines that end with CR LF, cells with line feeds."""
    workbook(path.with_suffix(".xlsx"), table)
    book = openpyxl.load_workbook(path.with_suffix(".xlsx"), read_only=True)
    assert book.active is not None
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows(book.active.iter_rows(values_only=True))
    book.close()
    path.with_suffix(".xlsx").unlink()


ONE_FILE: Mapping[str, tuple[str, Callable[[Path, Table], None]]] = {
    "Python": (".csv", by_csv_module()),
    "Python, all in quotation marks": (".csv", by_csv_module(dialect="unix")),
    "Python, semicolons": (".csv", by_csv_module(delimiter=";")),
    "pandas": (".csv", by_pandas_csv()),
    "pandas, tabs": (".csv", by_pandas_csv(sep="\t")),
    "pandas, with its mark": (".csv", by_pandas_csv(encoding="utf-8-sig")),
    "pandas, UTF-16": (".csv", by_pandas_csv(encoding="utf-16")),
    "pandas, gzip": (".csv.gz", by_pandas_csv()),
    "polars": (".csv", by_polars("write_csv")),
    "polars, all in quotation marks": (".csv", by_polars("write_csv", quote_style="always", line_terminator="\r\n")),
    "pyarrow": (".csv", lambda path, table: pyarrow.csv.write_csv(arrow(table), path)),
    "duckdb": (".csv", by_duckdb("FORMAT csv, HEADER")),
    "sqlite3": (".csv", by_sqlites_shell),
    "openpyxl, as CSV": (".csv", csv_of_a_workbook),
    "openpyxl": (".csv", workbook),
    "json": (".jsonl.gz", by_json_module),
    "pandas, JSON lines": (".jsonl", by_pandas_json(lines=True)),
    "pandas, JSON": (".jsonl", by_pandas_json()),
    "polars, JSON lines": (".jsonl", by_polars("write_ndjson")),
    "duckdb, JSON lines": (".jsonl", by_duckdb("FORMAT json")),
    "pandas, Parquet by pyarrow": (".parquet", by_pandas_parquet("pyarrow")),
    "pandas, Parquet by fastparquet": (".parquet", by_pandas_parquet("fastparquet")),
    "fastparquet, gzip": (".parquet", by_pandas_parquet("fastparquet", compression="GZIP")),
    "pyarrow, Parquet": (".parquet", lambda path, table: pyarrow.parquet.write_table(arrow(table), path)),
    "polars, Parquet": (".parquet", by_polars("write_parquet")),
    "duckdb, Parquet": (".parquet", by_duckdb("FORMAT parquet, COMPRESSION zstd")),
}

# -- several files -------------------------------------------------------------------------------------------

NAMED: Mapping[str, Callable[[int, int], str]] = {
    "parts": lambda number, _: f"part-{number}",
    "Spark": lambda number, _: f"part-{number:05}-{UUIDS[0]}-c000",
    "Spark, at most so many rows a file": lambda number, _: f"part-{number // 2:05}-{UUIDS[0]}-c{number % 2:03}",
    "Redshift": lambda number, _: f"members_{number:04}_part_00",
    "Snowflake": lambda number, _: f"data_0_{number}_0",
    "BigQuery": lambda number, _: f"members-{number:012}",
    "Beam": lambda number, count: f"members-{number:05}-of-{count:05}",
    "Airbyte": lambda number, _: f"2026_01_31_1769832000000_{number}",
    "partitions": lambda number, _: f"region=r{number}/part-0",
    "partitions of two levels": lambda number, _: f"country=c{number // 2}/plan=p{number % 2}/data_0",
    "names of nobody's choice": lambda number, _: UUIDS[number],
}
UNSURE = "names of nobody's choice"


def split(
    folder: Path, pieces: Sequence[Table], ending: str, write: Callable[[Path, Table], None], names: str
) -> list[Path]:
    """A file for each piece, named as `names` says."""
    paths = [folder / (NAMED[names](number, len(pieces)) + ending) for number in range(len(pieces))]
    for path, piece in zip(paths, pieces, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, piece)
    return paths


def with_regions(table: Table) -> pd.DataFrame:
    return frame(table).assign(region=["eu" if place % 2 else "us" for place in range(len(table))])


def duckdb_per_thread(folder: Path, table: Table) -> None:
    in_duckdb(table, f"COPY members TO '{folder}' (FORMAT csv, HEADER, PER_THREAD_OUTPUT, OVERWRITE_OR_IGNORE)")


def duckdb_partitions(folder: Path, table: Table) -> None:
    in_duckdb(
        table,
        f"COPY (SELECT *, CASE rowid % 2 WHEN 0 THEN 'us' ELSE 'eu' END AS region FROM members) TO '{folder}' "
        "(FORMAT parquet, PARTITION_BY (region), OVERWRITE_OR_IGNORE)",
    )


def pyarrow_dataset(kind: str) -> Callable[[Path, Table], None]:
    return lambda folder, table: pa.dataset.write_dataset(
        arrow(table), folder, format=kind, max_rows_per_file=2, max_rows_per_group=2
    )


def pyarrow_partitions(folder: Path, table: Table) -> None:
    parted = pa.dataset.partitioning(pa.schema([("region", pa.string())]), flavor="hive")
    pa.dataset.write_dataset(pa.Table.from_pandas(with_regions(table)), folder, format="parquet", partitioning=parted)


def pandas_partitions(folder: Path, table: Table) -> None:
    with_regions(table).to_parquet(folder, partition_cols=["region"], engine="pyarrow")


def fastparquet_parts(folder: Path, table: Table) -> None:
    """`part.0.parquet`, `part.1.parquet`, and `_metadata` beside them."""
    import fastparquet

    fastparquet.write(
        str(folder), frame(table).astype(object), file_scheme="hive", row_group_offsets=2, write_index=False
    )


def fastparquet_partitions(folder: Path, table: Table) -> None:
    import fastparquet

    texts = with_regions(table).astype(object)
    fastparquet.write(str(folder), texts, file_scheme="hive", partition_on=["region"], write_index=False)


def polars_parts(folder: Path, table: Table) -> None:
    pl.from_arrow(arrow(table)).lazy().sink_csv(pl.PartitionBy(folder, max_rows_per_file=2), mkdir=True)  # type: ignore[union-attr]


def polars_partitions(folder: Path, table: Table) -> None:
    pl.from_pandas(with_regions(table)).lazy().sink_parquet(pl.PartitionBy(folder, key="region"), mkdir=True)


SEVERAL_FILES: Mapping[str, tuple[str, Callable[[Path, Table], None]]] = {
    "duckdb, per thread": (".csv", duckdb_per_thread),
    "duckdb, partitions": (".parquet", duckdb_partitions),
    "pyarrow, a dataset of CSV": (".csv", pyarrow_dataset("csv")),
    "pyarrow, a dataset of Parquet": (".parquet", pyarrow_dataset("parquet")),
    "pyarrow, partitions": (".parquet", pyarrow_partitions),
    "pandas, partitions": (".parquet", pandas_partitions),
    "fastparquet, parts": (".parquet", fastparquet_parts),
    "fastparquet, partitions": (".parquet", fastparquet_partitions),
    "polars, parts": (".csv", polars_parts),
    "polars, partitions": (".parquet", polars_partitions),
}
