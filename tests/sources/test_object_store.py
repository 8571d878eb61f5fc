"""Snapshots in an object store that speaks S3: the newest, whole, and consistent while others write."""

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from sealing import Bench

from tests.cli.test_command_line import run
from tests.support.ports import nobody_at
from windsor_sync.errors import SnapshotError, SourceUnavailable, WindsorSyncError
from windsor_sync.events.archive import list_files
from windsor_sync.sources import newest, open_source
from windsor_sync.sources import text as text_module
from windsor_sync.sources.files import confirm_unchanged
from windsor_sync.storage.duckdb_engine import open_duckdb, quoted
from windsor_sync.storage.file_store import FileStore


def test_the_newest_object_of_a_pattern_is_read(bench: Bench, s3: Any) -> None:
    for day in ("2026-01-01", "2026-01-02"):
        s3.pipe_file(f"acme/vip/{day}/members.csv.gz", gzip.compress(f"user_id\nof {day}\n".encode()))
    s3.pipe_file("acme/vip/2026-01-03/members.csv.gz.tmp", b"half")
    source = open_source("s3://acme/vip/*/*.csv.gz", taken_at="%Y-%m-%d")
    assert source.origin is not None
    assert source.origin.path == "s3://acme/vip/2026-01-02/members.csv.gz"
    assert bench.user_ids(source) == ["of 2026-01-02"]


def test_an_object_that_came_since_we_last_looked_is_seen(s3: Any) -> None:
    s3.pipe_file("acme/vip/2026-01-01.csv", b"user_id\n")
    assert newest("s3://acme/vip/*.csv", "%Y-%m-%d").path.endswith("01.csv")
    s3.pipe_file("acme/vip/2026-01-02.csv", b"user_id\n")
    assert newest("s3://acme/vip/*.csv", "%Y-%m-%d").path.endswith("02.csv")


def test_parts_in_an_object_store_are_one_snapshot(bench: Bench, s3: Any) -> None:
    for number in range(3):
        s3.pipe_file(f"acme/run=7/part-{number}.csv", f"user_id\nu{number}\n".encode())
    assert bench.user_ids(open_source("s3://acme/run=*/part-*.csv")) == ["u0", "u1", "u2"]
    assert bench.user_ids(open_source("s3://acme/run=*/", format="csv")) == ["u0", "u1", "u2"]
    s3.rm_file("acme/run=7/part-1.csv")
    with pytest.raises(SnapshotError, match="part 1 is missing"):
        open_source("s3://acme/run=*/part-*.csv")


def test_a_parquet_object_is_read(bench: Bench, s3: Any) -> None:
    s3.put_file(str(bench.seal(bench.write("user_id\nu1\n")).path), "acme/vip.parquet")
    assert bench.user_ids(open_source("s3://acme/vip.parquet")) == ["u1"]


def test_the_same_content_has_the_same_fingerprint_and_other_content_another(s3: Any) -> None:
    s3.pipe_file("acme/vip.csv", b"user_id\nu1\n")
    first = newest("s3://acme/vip.csv")
    assert first.trusted_fingerprint == newest("s3://acme/vip*.csv").trusted_fingerprint is not None
    s3.pipe_file("acme/vip.csv", b"user_id\nu2\n")
    assert newest("s3://acme/vip.csv").fingerprint != first.fingerprint
    with pytest.raises(SnapshotError, match="changed or removed"):
        confirm_unchanged(first)


def test_an_object_that_is_replaced_while_it_is_read_is_refused(
    bench: Bench, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.pipe_file("acme/vip.csv", b"user_id\n" + b"".join(b"u%d\n" % number for number in range(2_000_000)))
    looked_at = text_module._Reading._count

    def replaced(reading: Any, block: bytes) -> None:
        if not reading.lines:
            s3.pipe_file("acme/vip.csv", b"user_id\n" + b"x\n" * 6_000_000)
        looked_at(reading, block)

    monkeypatch.setattr(text_module._Reading, "_count", replaced)
    with pytest.raises(SnapshotError, match=r"changed or removed|cannot be read"):
        bench.seal(open_source("s3://acme/vip.csv"))


def test_the_engine_reads_sealed_files_where_they_are(s3: Any, tmp_path: Path) -> None:
    store = FileStore("s3://acme/files")
    with store.draft() as draft, open_duckdb() as connection:
        numbers = "SELECT i, md5(i::VARCHAR) AS h FROM range(300000) t(i)"
        connection.execute(f"COPY ({numbers}) TO {quoted(str(draft))} (FORMAT parquet, ROW_GROUP_SIZE 2048)")
        store.keep(draft, "snapshots/vip/1.parquet")
    assert store.exists("snapshots/vip/1.parquet")
    assert s3.find("acme/files") == ["acme/files/snapshots/vip/1.parquet"]
    with open_duckdb() as connection:
        rows = f"read_parquet({quoted(store.location('snapshots/vip/1.parquet'))})"
        every = f"SELECT count(*), count(*) FILTER (h = md5(i::VARCHAR)) FROM {rows}"
        assert connection.execute(every).fetchall() == [(300_000, 300_000)]
    store.delete("snapshots/vip/1.parquet")
    assert not store.exists("snapshots/vip/1.parquet")


def test_a_store_that_is_out_of_reach_is_an_error_that_may_pass(
    s3: Any, monkeypatch: pytest.MonkeyPatch, bench: Bench
) -> None:
    s3.pipe_file("acme/vip.csv", b"user_id\nu1\n")
    known = open_source("s3://acme/vip.csv")
    with nobody_at() as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        type(s3).clear_instance_cache()
        with pytest.raises(SourceUnavailable, match=r"s3://acme/\*\.csv cannot be looked up.*Nothing was sent"):
            newest("s3://acme/*.csv")
        with pytest.raises(SourceUnavailable, match=r"s3://acme/vip\.csv cannot be read.*Nothing was sent"):
            bench.seal(known)
        with pytest.raises(WindsorSyncError, match=r"s3://acme/logs cannot be read.*nothing was sent"):
            list_files("s3://acme/logs")


def test_the_example_of_the_page_is_planned_from_the_store_it_names(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs/sources/files.md").read_text(encoding="utf-8")
    [example] = re.findall(r"^```yaml\n(files: s3:.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for bucket in ("acme-windsor", "acme-exports"):
        if not s3.exists(bucket):
            s3.mkdir(bucket)
    for day in (30, 31):
        s3.pipe_file(f"acme-exports/vip/2026-01-{day}.csv.gz", gzip.compress(f"user_id\nana\nof {day}\n".encode()))
    (tmp_path / "windsor.yaml").write_text(f"destination: {{url: 'http://127.0.0.1:8474/'}}\n{example}")
    planned = run("plan", "vip", "--messages", "-", cwd=tmp_path)
    assert planned.status == 0, planned.err
    assert '"userId":"of 31"' in planned.out
    assert '"userId":"of 30"' not in planned.out
    assert s3.find("acme-windsor") == []  # a plan stores nothing
