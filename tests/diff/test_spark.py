"""Spark makes the outbox that DuckDB makes, row for row."""

import os
import shutil
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb as duckdb_module
import pytest
from hypothesis import HealthCheck, given, settings
from states import MEMBER, NOW, State, outbox_as_set, states, uploaded, write_rows

from tests.support.s3 import environment
from windsor_sync.diff import duckdb
from windsor_sync.diff.task import DiffTask
from windsor_sync.domain.change import Limits
from windsor_sync.errors import ConfigError, StoredFileError
from windsor_sync.snapshots.seal import seal
from windsor_sync.sources import open_source
from windsor_sync.storage.file_store import FileStore

EXAMPLES = 10 if os.environ.get("WINDSOR_CHAOS") == "1" else 1
"""Spark takes as long for one example as DuckDB for a thousand."""

pytestmark = pytest.mark.skipif(
    not (shutil.which("java") or os.environ.get("JAVA_HOME")),
    reason="Spark needs Java, which is not installed here (Debian: apt install openjdk-17-jre-headless)",
)


@pytest.fixture(scope="module", autouse=True)
def session(s3_endpoint: str) -> Iterator[None]:
    """One Spark on this machine for the whole module: it takes seconds to start."""
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed: pip install windsor-sync[spark]")
    os.environ["PYSPARK_PYTHON"] = sys.executable
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
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",  # it does not live long
    }
    for name, value in quick.items():
        builder = builder.config(name, value)
    started = builder.getOrCreate()
    started.sparkContext.environment.update(environment(s3_endpoint))
    yield
    started.stop()


@pytest.mark.thorough
@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(state=states(more_users=20))
def test_both_engines_find_the_same_changes(state: State) -> None:
    from windsor_sync.diff import spark

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = state.task(folder)
        expected = duckdb.duckdb_diff(task, folder / "duckdb.parquet")
        assert spark.spark_diff(task, folder / "spark.parquet") == expected
        assert outbox_as_set(str(folder / "spark.parquet")) == outbox_as_set(str(folder / "duckdb.parquet"))
        assert not list(folder.glob(".changes-*"))


@pytest.mark.forms(1)
@pytest.mark.parametrize("name", ["files [1]", "files {a,b}", "what? all*", "two words`"])
def test_a_folder_of_any_name_is_read(tmp_path: Path, name: str) -> None:
    from windsor_sync.diff import spark

    folder = tmp_path / name
    folder.mkdir()
    state = State(
        before={"u1": (None, None), "u2": ("a@x", None)},
        now={"u2": ("b@x", None), "u3": (None, None)},
        outbox=(),
        departed=(),
        held=(),
        shards=(),
        verdicts=(),
        limits=Limits(),
    )
    found = spark.spark_diff(state.task(folder), folder / "spark.parquet")
    assert (found.entered, found.exited, found.updated) == (1, 1, 1)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(state=states(more_users=20))
def test_files_in_an_object_store_make_the_same_outbox_and_leave_no_draft(s3: Any, state: State) -> None:
    from windsor_sync.diff import spark

    files = FileStore("s3://acme/files")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = state.task(folder)
        expected = duckdb.duckdb_diff(task, folder / "duckdb.parquet")
        found = spark.spark_diff(uploaded(task, files), folder / "spark.parquet")
        assert found == expected
        assert outbox_as_set(str(folder / "spark.parquet")) == outbox_as_set(str(folder / "duckdb.parquet"))
    assert not s3.find("acme/files/drafts")


@pytest.mark.parametrize(("content", "words"), [(None, "missing"), (b"PAR1 and no more", "damaged")])
def test_a_file_of_an_object_store_that_cannot_be_read_is_an_error_and_leaves_no_draft(
    s3: Any, tmp_path: Path, content: bytes | None, words: str
) -> None:
    from windsor_sync.diff import spark

    if content:
        s3.pipe_file("acme/now.parquet", content)
    task = DiffTask(
        head=None, snapshot="s3://acme/now.parquet", number=1, taken_at=NOW, moment=NOW, drafts="s3://acme/d"
    )
    with pytest.raises(StoredFileError, match=f"a stored file is {words}"):
        spark.spark_diff(task, tmp_path / "draft.parquet")
    assert not s3.find("acme/d")


def test_the_error_names_the_package_that_workers_lack_and_where_to_install_it(s3: Any, tmp_path: Path) -> None:
    from pyspark.sql import SparkSession

    from windsor_sync.diff import spark

    snapshot = write_rows(tmp_path / "now.parquet", MEMBER, [("u1", None, None, None, None)])
    s3.put_file(snapshot, "acme/now.parquet")
    context = SparkSession.active().sparkContext
    usual = context.pythonExec
    context.pythonExec = bare_python(tmp_path)
    task = DiffTask(
        head=None, snapshot="s3://acme/now.parquet", number=1, taken_at=NOW, moment=NOW, drafts="s3://acme/d"
    )
    try:
        with pytest.raises(ConfigError, match=r"has no pyarrow.*Nothing was sent.*PYSPARK_PYTHON"):
            spark.spark_diff(task, tmp_path / "draft.parquet")
    finally:
        context.pythonExec = usual


def bare_python(folder: Path) -> str:
    """A Python without packages; Spark adds its own."""
    place = folder / "bare"
    venv.create(place, with_pip=False)
    return str(place / "bin/python")


def test_what_spark_exports_in_several_files_is_read_whole(tmp_path: Path) -> None:
    from pyspark.sql import SparkSession

    from windsor_sync.snapshots.seal import seal
    from windsor_sync.sources import open_source

    session = SparkSession.active()
    users = session.createDataFrame(
        [(f"u{n}", "eu" if n % 2 else "us") for n in range(12)], "user_id string, region string"
    )
    several = users.repartition(2).write.option("header", True)
    several.option("maxRecordsPerFile", 4).csv(f"{tmp_path}/plain")
    several.partitionBy("region").csv(f"{tmp_path}/partitions")
    assert len(list((tmp_path / "plain").glob("*.csv"))) > 2
    for path in ("plain/*.csv", "plain/", "partitions/*/*.csv"):
        sealed = seal(open_source(f"{tmp_path}/{path}", format="csv"), tmp_path / "sealed.parquet")
        assert (sealed.rows_read, sealed.members) == (12, 12)


@pytest.mark.forms(3)
@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
@pytest.mark.parametrize("partitions", [(), ("region",)])
def test_what_spark_exports_is_read_whole(tmp_path: Path, kind: str, partitions: tuple[str, ...]) -> None:
    from pyspark.sql import SparkSession

    rows = [
        (f"{number:05}", None if number % 3 else f"m{number}@x.org", "eu" if number % 2 else "us")
        for number in range(9)
    ]
    frame = (
        SparkSession.getActiveSession()
        .createDataFrame(rows, "user_id string, email string, region string")
        .repartition(2)
    )
    options = {"header": "true", "maxRecordsPerFile": "3"}
    frame.write.options(**options).partitionBy(*partitions).format(kind).save(str(tmp_path / "out"))
    ending = {"csv": "csv", "json": "json", "parquet": "snappy.parquet"}[kind]
    assert len(list((tmp_path / "out").rglob(f"*.{ending}"))) > 2
    for path in ("out/", "out/" + "region=*/" * len(partitions) + f"*.{ending}"):
        source = open_source(f"{tmp_path}/{path}", format={"json": "jsonl"}.get(kind, kind))
        sealed = seal(source, tmp_path / "sealed.parquet")
        members = duckdb_module.read_parquet(str(sealed.path)).project("user_id, email").order("user_id").fetchall()
        assert members == [row[:2] for row in rows]
