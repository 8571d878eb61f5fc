"""One export in several files, as the programs that people export with write it: all of it is read, or none."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from sealing import Bench

from tests.support.postgres import Postgres
from windsor_sync.errors import SnapshotError
from windsor_sync.sources import open_source

USERS = [f"u{number:02d}" for number in range(40)]
REGIONS = ["eu" if number % 2 else "us" for number in range(40)]
LONG_AGO = 1_700_000_000
UUIDS = ("0a1b2c3d-1111-4222-8333-444455556666", "9f8e7d6c-aaaa-4bbb-8ccc-ddddeeeeffff")

Write = Callable[[Path], str]
"""Makes an export below a folder, and returns the path to read it by"""


def table() -> pd.DataFrame:
    return pd.DataFrame({"user_id": USERS, "region": REGIONS})


# -- real writers --------------------------------------------------------------------------------------------


def duckdb_per_thread(folder: Path) -> str:
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        rows = "SELECT 'u' || lpad(i::VARCHAR, 2, '0') AS user_id FROM range(40) t(i)"
        connection.execute(f"COPY ({rows}) TO '{folder}/out' (FORMAT csv, PER_THREAD_OUTPUT)")
        connection.execute(f"COPY ({rows} LIMIT 0) TO '{folder}/out/data_1.csv' (FORMAT csv)")
    return f"{folder}/out/*.csv"


def duckdb_partitions(folder: Path) -> str:
    rows = table()
    with duckdb.connect() as connection:
        connection.register("members", rows)
        connection.execute(f"COPY members TO '{folder}/out' (FORMAT csv, PARTITION_BY (region))")
    return f"{folder}/out/*/*.csv"


def pyarrow_dataset(folder: Path) -> str:
    import pyarrow as pa
    import pyarrow.dataset as ds

    ds.write_dataset(
        pa.Table.from_pandas(table()), folder / "out", format="parquet", max_rows_per_file=10, max_rows_per_group=10
    )
    return f"{folder}/out/*.parquet"


def pyarrow_partitions(folder: Path) -> str:
    import pyarrow as pa
    import pyarrow.dataset as ds

    partitioning = ds.partitioning(pa.schema([("region", pa.string())]), flavor="hive")
    ds.write_dataset(pa.Table.from_pandas(table()), folder / "out", format="parquet", partitioning=partitioning)
    return f"{folder}/out/"


def pandas_partitions(folder: Path) -> str:
    pytest.importorskip("pyarrow")
    table().to_parquet(folder / "out", partition_cols=["region"])
    return f"{folder}/out/region=*/*.parquet"


def pandas_pieces(folder: Path) -> str:
    (folder / "out").mkdir()
    for number in range(4):
        table()[number * 10 : number * 10 + 10].to_csv(folder / f"out/members_{number}.csv", index=False)
    return f"{folder}/out/*.csv"


def polars_partitions(folder: Path) -> str:
    import polars as pl

    pl.from_pandas(table()).lazy().sink_parquet(pl.PartitionBy(folder / "out", key="region"), mkdir=True)
    return f"{folder}/out/*/*.parquet"


def polars_by_size(folder: Path) -> str:
    import polars as pl

    pl.from_pandas(table()).lazy().sink_csv(pl.PartitionBy(folder / "out", max_rows_per_file=10), mkdir=True)
    return f"{folder}/out/*.csv"


REAL: tuple[Write, ...] = (
    duckdb_per_thread,
    duckdb_partitions,
    pyarrow_dataset,
    pyarrow_partitions,
    pandas_partitions,
    pandas_pieces,
    polars_partitions,
    polars_by_size,
)


@pytest.mark.parametrize("write", REAL, ids=lambda write: write.__name__)
def test_what_a_program_writes_in_several_files_is_read_whole(bench: Bench, write: Write) -> None:
    path = write(bench.folder)
    assert len([*(bench.folder / "out").rglob("*.*")]) > 1
    assert bench.user_ids(open_source(path, format="csv" if "csv" in path else "parquet")) == USERS


def test_what_postgresql_copies_in_pieces_is_read_whole(bench: Bench, postgres: Postgres) -> None:
    import psycopg

    with postgres.nothing() as url, psycopg.connect(url.replace("+psycopg", "")) as connection:
        for number in range(2):
            select = f"SELECT 'u' || lpad((2 * i + {number})::text, 2, '0') AS user_id FROM generate_series(0, 19) i"
            with (
                (bench.folder / f"vip.part{number}.csv").open("wb") as file,
                connection.cursor().copy(f"COPY ({select}) TO STDOUT (FORMAT csv, HEADER)") as copy,
            ):
                file.writelines(copy)
    assert bench.user_ids(open_source(f"{bench.folder}/vip*.csv")) == USERS


# -- names as writers give them ------------------------------------------------------------------------------

NAMES = {
    "Redshift": ("vip_0000_part_00", "vip_0001_part_00", "vip_0001_part_01", "vip_0002_part_00"),
    "Redshift without a break": ("vip0000_part_00.csv", "vip0001_part_00.csv"),
    "Redshift, one slice": ("000", "001", "002"),
    "Snowflake": ("data_0_0_0.csv.gz", "data_0_1_0.csv.gz", "data_0_1_1.csv.gz"),
    "Snowflake with the query's id": (f"data_{UUIDS[0]}_0_0_0.csv", f"data_{UUIDS[0]}_0_1_0.csv"),
    "Snowflake with a prefix": ("vip_0_0_0.csv", "vip_0_1_0.csv"),
    "Airbyte": ("2026_01_31_1769832000000_0.csv", "2026_01_31_1769832000000_1.csv"),
    "DuckDB": ("data_0.csv", "data_1.csv"),
    "Polars": ("00000000.csv", "00000001.csv"),
    "Hadoop": ("000000_0", "000001_0"),
    "Athena": tuple(f"20260131_040500_00012_abcde_{uuid}" for uuid in UUIDS),
    "dlt": ("1769832000.1234567.0a1b2c3d4e.csv", "1769832000.1234567.1234567890.csv", "1769832000.1234567.abcdefabcd.csv"),
    "BigQuery": ("vip-000000000000.csv", "vip-000000000001.csv"),
    "Spark": tuple(f"part-0000{n}-{UUIDS[0]}-c000.csv" for n in range(3)),
    "Spark, at most so many rows a file": tuple(f"part-0000{n}-{UUIDS[0]}-c00{m}.csv" for n in range(2) for m in range(2)),
    "Databricks": tuple(f"part-0000{n}-tid-4586318469177-{UUIDS[0]}-{n + 10}-1-c000.csv" for n in range(2)),
    "Flink": ("part-0-0.csv", "part-0-1.csv", "part-1-0.csv"),
    "Beam": ("vip-00000-of-00002.csv", "vip-00001-of-00002.csv"),
    "dask": ("part.0.csv", "part.1.csv"),
    "split": ("vip_0000.csv", "vip_0001.csv", "vip_0002.csv"),
    "partitions": ("dt=2026-01-31/region=eu/part-0.csv", "dt=2026-01-31/region=us/part-0.csv"),
    "Spark's partitions": tuple(f"region={r}/part-0000{n}-{UUIDS[0]}.c000.csv" for n, r in enumerate(("eu", "us"))),
    "partitions of two levels": ("country=de/plan=a/data_0.csv", "country=de/plan=b/data_0.csv", "country=fr/plan=a/data_0.csv"),
    "partitions whose files have ids": tuple(f"region={r}/{UUIDS[0]}-0.csv" for r in ("eu", "us")),
}  # fmt: skip


def write(folder: Path, names: tuple[str, ...], at: float = LONG_AGO) -> None:
    """A file of one user each."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"user_id\nu{number}\n")
        os.utime(path, (at + number, at + number))


def pattern(folder: Path, name: str) -> str:
    return "/".join([str(folder), *["*"] * (name.count("/") + 1)])


def users(count: int) -> list[str]:
    return [f"u{number}" for number in range(count)]


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES.keys())
def test_files_whose_names_count_one_export_are_read_together(bench: Bench, names: tuple[str, ...]) -> None:
    write(bench.folder / "x", names)
    assert bench.user_ids(open_source(pattern(bench.folder / "x", names[0]), format="csv")) == users(len(names))


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES.keys())
def test_an_earlier_export_beside_them_is_left_alone(bench: Bench, names: tuple[str, ...]) -> None:
    write(bench.folder / "x/2026-02-02", names, LONG_AGO + 7200)
    write(bench.folder / "x/2026-02-01", tuple(f"{name}" for name in names))
    source = open_source(pattern(bench.folder / "x/*", names[0]), format="csv")
    assert source.origin is not None
    assert all("2026-02-02" in part.path for part in source.origin.parts)
    assert bench.user_ids(source) == users(len(names))


@pytest.mark.parametrize(
    "names",
    [
        ("eu.csv", "us.csv"),
        ("vip.csv", "vip (1).csv"),
        ("vip_1.csv", "vip_2.csv"),
        ("vip-5.csv", "vip-9.csv"),
        (f"{UUIDS[0]}.csv", f"{UUIDS[1]}.csv"),
        ("vip_2026-01-31T0405.csv", "vip_2026-01-31T0406.csv"),
        ("part-0.csv", "part-1.csv", "summary.csv"),
        ("eu/vip.csv", "us/vip.csv"),
        ("hour=04/part-0.csv", "run=1/part-0.csv"),
        ("data_0.csv", "data_2.csv"),
        ("vip #.csv", "vip @.csv", "vip ~.csv"),
    ],
)
def test_files_that_may_be_one_export_are_refused_with_their_names_and_the_setting(
    bench: Bench, names: tuple[str, ...]
) -> None:
    write(bench.folder / "x", names)
    path = pattern(bench.folder / "x", names[0])
    with pytest.raises(SnapshotError) as caught:
        bench.seal(open_source(path, format="csv"))
    assert "consists_of: all_files" in str(caught.value)
    assert "consists_of: one_file" in str(caught.value)
    assert sum(name.removesuffix(".csv") in str(caught.value) for name in names) > 1
    assert bench.user_ids(open_source(path, format="csv", consists_of="all_files")) == users(len(names))
    assert bench.user_ids(open_source(path, format="csv", consists_of="one_file")) == users(len(names))[-1:]


def test_files_of_one_date_are_never_taken_for_the_newest_of_them(bench: Bench) -> None:
    for number, name in enumerate(("vip_2026-01-31_eu.csv", "vip_2026-01-31_us.csv", "vip_2026-01-30_eu.csv")):
        write(bench.folder / "x", (name,), LONG_AGO + number * 36_000)
    with pytest.raises(
        SnapshotError, match=r"vip_2026-01-31_us\.csv and vip_2026-01-31_eu\.csv have the same taken_at"
    ):
        open_source(f"{bench.folder}/x/*.csv", taken_at="%Y-%m-%d")


def test_files_of_different_days_that_were_copied_at_once_are_different_snapshots(bench: Bench) -> None:
    write(bench.folder / "x", ("vip_2026-01-29.csv", "vip_2026-01-30.csv", "vip_2026-01-31.csv"))
    assert bench.user_ids(open_source(f"{bench.folder}/x/*.csv")) == ["u2"]
    os.utime(bench.folder / "x/vip_2026-01-30.csv", (LONG_AGO + 60, LONG_AGO + 60))
    with pytest.raises(SnapshotError, match=r"vip_2026-01-30\.csv and vip_2026-01-31\.csv: .* Say with taken_at"):
        open_source(f"{bench.folder}/x/*.csv")


def test_counted_files_that_name_the_same_users_are_several_snapshots(bench: Bench) -> None:
    for number in range(2):
        (bench.folder / f"vip_{number}.csv").write_text("user_id\nu1\nu2\nu3\n" + f"n{number}\n")
    with pytest.raises(SnapshotError, match=r"vip_0\.csv, vip_1\.csv: .*name the same users.*consists_of: one_file"):
        bench.seal(open_source(f"{bench.folder}/vip_*.csv"))


def test_of_numbered_downloads_that_name_the_same_users_the_newest_is_the_snapshot(bench: Bench) -> None:
    for number in (1, 2, 3):
        members = "".join(f"u{member}\n" for member in range(number, number + 20))
        (bench.folder / f"{number}.csv").write_text(f"user_id\n{members}")
        os.utime(bench.folder / f"{number}.csv", (LONG_AGO + number * 60, LONG_AGO + number * 60))
    assert bench.user_ids(open_source(f"{bench.folder}/*.csv")) == sorted(f"u{member}" for member in range(3, 23))


def test_a_numbered_download_without_rows_is_not_taken_for_the_newest_of_them(bench: Bench) -> None:
    for number, rows in ((1, "u1\nu2\n"), (2, "")):
        (bench.folder / f"{number}.csv").write_text(f"user_id\n{rows}")
        os.utime(bench.folder / f"{number}.csv", (LONG_AGO + number * 60, LONG_AGO + number * 60))
    with pytest.raises(SnapshotError, match=r"2\.csv and 1\.csv were written within minutes of each other"):
        bench.seal(open_source(f"{bench.folder}/*.csv"))


@pytest.mark.parametrize("others", [["", "u1\n"], ["", "u1\nu2\n"], ["u3\n", "u1\nu2\n"], ["", ""]])
def test_a_download_without_rows_or_of_others_beside_them_makes_it_unsure_too(bench: Bench, others: list[str]) -> None:
    for number, rows in enumerate([*others, "u3\n"]):
        (bench.folder / f"{UUIDS[0][:-1]}{number}.csv").write_text(f"user_id\n{rows}")
        os.utime(bench.folder / f"{UUIDS[0][:-1]}{number}.csv", (LONG_AGO + number, LONG_AGO + number))
    with pytest.raises(SnapshotError, match="were written within minutes of each other"):
        bench.seal(open_source(f"{bench.folder}/*.csv"))


def test_snapshots_that_are_hours_apart_are_not_parts_of_one(bench: Bench) -> None:
    for number in range(3):
        write(bench.folder / "x", (f"vip_{number}.csv",), LONG_AGO + number * 9000)
    assert open_source(f"{bench.folder}/x/*.csv").origin.parts == ()  # type: ignore[union-attr]


@pytest.mark.parametrize("setting", ["one_file", "all_files"])
def test_a_backfill_of_an_older_file_brings_what_belongs_to_it(bench: Bench, setting: str) -> None:
    write(bench.folder / "x", ("eu.csv", "us.csv"))
    source = open_source(f"{bench.folder}/x/*.csv", consists_of=setting, at=f"{bench.folder}/x/us.csv")
    assert bench.user_ids(source) == (["u0", "u1"] if setting == "all_files" else ["u1"])


# -- what is beside the data ---------------------------------------------------------------------------------


def test_markers_checksums_and_settings_of_a_folder_are_no_data(bench: Bench) -> None:
    write(bench.folder / "x", ("part-0.csv", "part-1.csv"))
    for name in (
        "_SUCCESS",
        "_committed_1",
        ".part-0.csv.crc",
        "part-0.csv.crc",
        "desktop.ini",
        "vip.md5",
        "q.csv.metadata",
    ):
        (bench.folder / "x" / name).write_text("{}")
    for path in (f"{bench.folder}/x/*", f"{bench.folder}/x/"):
        assert bench.user_ids(open_source(path, format="csv")) == ["u0", "u1"]


def manifest(folder: Path, *names: str, sizes: dict[str, int] | None = None) -> None:
    entries = [
        {"url": f"s3://elsewhere/unload/{name}", "meta": {"content_length": (sizes or {}).get(name, 11)}}
        for name in names
    ]
    (folder / "vip_manifest").write_text(json.dumps({"entries": entries}))


def test_a_manifest_is_believed_and_checked(bench: Bench) -> None:
    write(bench.folder / "x", ("vip_0000_part_00", "vip_0001_part_00", "vip_0002_part_00"))
    path = f"{bench.folder}/x/vip_*"
    manifest(bench.folder / "x", "vip_0000_part_00", "vip_0002_part_00")
    assert bench.user_ids(open_source(path, format="csv")) == ["u0", "u2"]
    manifest(bench.folder / "x", "vip_0002_part_00", "vip_0003_part_00")
    with pytest.raises(SnapshotError, match=r"vip_manifest names 'vip_0003_part_00', which is not there"):
        open_source(path, format="csv")
    manifest(bench.folder / "x", "vip_0002_part_00", sizes={"vip_0002_part_00": 12})
    with pytest.raises(SnapshotError, match=r"vip_0002_part_00 has 11 bytes, but vip_manifest says 12"):
        open_source(path, format="csv")


def test_athenas_manifest_is_no_data(bench: Bench) -> None:
    names = tuple(f"20260131_040500_00012_abcde_{uuid}.csv" for uuid in UUIDS)
    write(bench.folder / "x", names)
    (bench.folder / "x/7f-manifest.csv").write_text("".join(f"s3://acme/x/{name}\n" for name in names))
    assert bench.user_ids(open_source(f"{bench.folder}/x/*.csv")) == ["u0", "u1"]


def test_a_file_that_is_only_called_manifest_is_data(bench: Bench) -> None:
    bench.write("user_id\nu1\n", "manifest.csv")
    assert bench.user_ids(bench.folder / "manifest.csv") == ["u1"]
    assert bench.user_ids(open_source(f"{bench.folder}/*.csv")) == ["u1"]


def test_a_write_of_databricks_that_is_not_committed_is_refused(bench: Bench) -> None:
    names = tuple(f"part-0000{n}-tid-77-{UUIDS[n]}-{n}-1-c000.csv" for n in range(2))
    write(bench.folder / "x", names)
    (bench.folder / "x/_started_77").touch()
    with pytest.raises(SnapshotError, match="write '77' was started and not committed"):
        open_source(f"{bench.folder}/x/*.csv")
    (bench.folder / "x/_committed_77").write_text(json.dumps({"added": [names[0]], "removed": []}))
    assert bench.user_ids(open_source(f"{bench.folder}/x/*.csv")) == ["u0"]


@pytest.mark.parametrize(
    ("mark", "kind"),
    [
        ("_delta_log/0.json", "a Delta table"),
        (".hoodie/x", "a Hudi table"),
        ("metadata/version-hint.text", "an Iceberg table"),
    ],
)
def test_the_folder_of_a_table_format_is_refused_by_name(bench: Bench, mark: str, kind: str) -> None:
    duckdb.sql("SELECT 'u1' AS user_id").write_parquet(str(bench.folder / "part-0.parquet"))
    (bench.folder / mark).parent.mkdir()
    (bench.folder / mark).write_text("{}")
    for path in (f"{bench.folder}/*.parquet", f"{bench.folder}/"):
        with pytest.raises(SnapshotError, match=f"is {kind}: its files also hold rows that the table no longer has"):
            open_source(path, format="parquet")


def test_a_folder_of_snapshots_is_not_one_snapshot(bench: Bench) -> None:
    write(bench.folder / "x", ("2026-01-30/part-0.csv", "2026-01-31/part-0.csv"))
    with pytest.raises(SnapshotError, match=r"folders of its own: 2026-01-30, 2026-01-31.*set path: .*/x/\*/"):
        open_source(f"{bench.folder}/x/", format="csv")
    assert bench.user_ids(open_source(f"{bench.folder}/x/*/", format="csv")) == ["u1"]
    assert bench.user_ids(open_source(f"{bench.folder}/x/", format="csv", consists_of="all_files")) == ["u0", "u1"]


def test_a_folder_with_files_of_several_days_is_not_one_snapshot(bench: Bench) -> None:
    write(bench.folder / "x", ("vip_2026-01-30.csv", "vip_2026-01-31.csv"))
    with pytest.raises(
        SnapshotError, match=r"holds files of different times: vip_2026-01-31\.csv and vip_2026-01-30\.csv"
    ):
        open_source(f"{bench.folder}/x/", format="csv")


def test_a_folder_lacks_no_part(bench: Bench) -> None:
    write(bench.folder / "x", ("part-0.csv", "part-2.csv"))
    with pytest.raises(SnapshotError, match="part 1 is missing"):
        open_source(f"{bench.folder}/x/", format="csv")


def test_a_pattern_that_only_folders_match_says_so(bench: Bench) -> None:
    write(bench.folder / "x", ("2026-01-30/part-0.csv",))
    with pytest.raises(SnapshotError, match=r"what matches it are folders.*With .*/x/\*/ the newest"):
        open_source(f"{bench.folder}/x/*", format="csv")


def test_a_folder_made_with_a_console_is_no_file_of_it(bench: Bench, s3: Any) -> None:
    for key, body in {
        "m/": b"",
        "m/eu/": b"",
        "m/part-0.csv": b"user_id\nu0\n",
        "m/part-1.csv": b"user_id\nu1\n",
    }.items():
        s3.pipe_file(f"acme/{key}", body)
    s3.pipe_file("acme/m_$folder$", b"")
    assert bench.user_ids(open_source("s3://acme/m/", format="csv")) == ["u0", "u1"]
    assert bench.user_ids(open_source("s3://acme/m/*.csv")) == ["u0", "u1"]
    assert bench.user_ids(open_source("s3://acme/m*/*", format="csv")) == ["u0", "u1"]


# -- the page ------------------------------------------------------------------------------------------------

PAGE: dict[str, tuple[str | Write | Callable[..., None], ...]] = {
    "Redshift `UNLOAD`": (
        "Redshift",
        "Redshift without a break",
        "Redshift, one slice",
        test_a_manifest_is_believed_and_checked,
    ),
    "Snowflake `COPY INTO`": ("Snowflake", "Snowflake with the query's id", "Snowflake with a prefix"),
    "BigQuery `EXPORT DATA`": ("BigQuery",),
    "Athena `UNLOAD`": ("Athena", test_athenas_manifest_is_no_data),
    "Airbyte": ("Airbyte", test_an_earlier_export_beside_them_is_left_alone),
    "dlt": ("dlt", test_an_earlier_export_beside_them_is_left_alone),
    "DuckDB, Polars, pyarrow, pandas, dask": ("DuckDB", "Polars", "dask", *REAL),
    "Hadoop, Hive": ("Hadoop",),
    "Spark, Databricks": ("Spark", "Databricks", test_a_write_of_databricks_that_is_not_committed_is_refused),
    "partitions": ("partitions", "Spark's partitions", "partitions of two levels"),
    "Beam, split": ("Beam", "split"),
    "regions by hand": (test_files_that_may_be_one_export_are_refused_with_their_names_and_the_setting,),
    "downloads by hand": (test_files_that_may_be_one_export_are_refused_with_their_names_and_the_setting,),
    "a Delta, Hudi or Iceberg table": (test_the_folder_of_a_table_format_is_refused_by_name,),
    "a folder made with a console": (test_a_folder_made_with_a_console_is_no_file_of_it,),
}


def test_each_row_of_the_page_is_tried_here() -> None:
    page = (Path(__file__).parents[2] / "docs/sources/files.md").read_text(encoding="utf-8")
    rows = page.partition("### Your export")[2].partition("\n\n|")[2].partition("\n\n")[0].splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == list(PAGE)
    assert {name for tried in PAGE.values() for name in tried if isinstance(name, str)} <= set(NAMES)
