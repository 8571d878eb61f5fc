"""A file that cannot be a snapshot is refused with its name, the line, what was found and what to do."""

import traceback
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import duckdb
import pandas as pd
import pytest
from nasty import CSV, OTHERS, SECRET, Nasty
from sealing import Bench

from windsor_sync.errors import ConfigError, SnapshotError, SourceUnavailable, WindsorSyncError
from windsor_sync.events.archive import list_files
from windsor_sync.sources import DataFrameSource, newest, open_source
from windsor_sync.sources.refusal import out_of_reach
from windsor_sync.storage.file_store import FileStore


@pytest.mark.parametrize("nasty", CSV + OTHERS, ids=str)
def test_an_unusable_file_is_refused_with_file_line_finding_and_remedy(bench: Bench, nasty: Nasty) -> None:
    path = bench.write(nasty.content, nasty.file)
    options = {"format": nasty.format} if nasty.format else {}
    if nasty.name == "a CSV file without the mapped column":
        options["columns"] = {"user_id": "customer"}
    with pytest.raises(SnapshotError) as caught:
        bench.seal(path, value_of=nasty.value_of, wants_value=bool(nasty.value_of), **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    for part in nasty.says:
        assert part in message
    assert "Nothing was sent; the last good snapshot stands." in message
    assert nasty.remedy in message.partition("stands.")[2]
    assert caught.value.exit_status == 8
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert list((bench.folder / "sealed").iterdir()) == []


def test_a_parquet_file_that_is_cut_or_damaged_is_refused(bench: Bench) -> None:
    path = bench.folder / "snapshot.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 'u' || i AS user_id FROM range(100000) t(i)) TO '{path}' (FORMAT parquet)")
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:1000] + bytes(500) + whole[1500:]):
        path.write_bytes(content)
        with pytest.raises(SnapshotError, match="damaged"):
            bench.seal(path)


@pytest.mark.parametrize(
    ("values", "finding"),
    [
        ([1.0, 2.0], "lost its zeros"),
        ([1.5, None], "lost its zeros"),
        ([True, False], "no id"),
        ([b"bytes", b"x"], "neither text nor numbers"),
        ([["a"], ["b"]], "neither text nor numbers"),
        ([1, 2.5, "a"], "neither text nor numbers"),
    ],
)
def test_ids_that_lost_their_digits_are_refused(bench: Bench, values: list[object], finding: str) -> None:
    with pytest.raises(SnapshotError, match=finding):
        bench.seal(DataFrameSource(pd.DataFrame({"user_id": values})))


def test_whole_numbers_are_ids_by_their_digits(bench: Bench) -> None:
    late_text = pd.Series([*range(5000), "00123"], dtype=object)
    assert "00123" in bench.user_ids(DataFrameSource(pd.DataFrame({"user_id": late_text})))
    assert bench.user_ids(DataFrameSource(pd.DataFrame({"user_id": [7, 2**62]}))) == [str(2**62), "7"]


def test_a_file_that_changes_while_it_is_read_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bench.write("user_id\nu1\n")
    from windsor_sync.snapshots import seal as snapshot

    read_back = snapshot._read_back

    def rewrite(*arguments: object) -> tuple[int, str]:
        path.write_text("user_id\nu1\nu2\n")
        return read_back(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(snapshot, "_read_back", rewrite)
    with pytest.raises(SnapshotError, match="changed or removed while it was read"):
        bench.seal(path)
    assert list((bench.folder / "sealed").iterdir()) == []


@pytest.mark.parametrize("pattern", ["part-*.csv", ""], ids=["counted parts", "a folder"])
def test_a_part_that_arrives_while_the_others_are_read_makes_them_no_snapshot(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    export = bench.folder / "export"
    export.mkdir()
    for number in range(2):
        (export / f"part-{number}.csv").write_text(f"user_id\nu{number}\n")
    from windsor_sync.snapshots import seal as snapshot

    read_back = snapshot._read_back

    def late(*arguments: object) -> tuple[int, str]:
        (export / "part-2.csv").write_text("user_id\nu2\n")
        return read_back(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(snapshot, "_read_back", late)
    with pytest.raises(SnapshotError, match="changed or removed while it was read"):
        bench.seal(open_source(f"{export}/{pattern}", format="csv"))
    assert list((bench.folder / "sealed").iterdir()) == []
    monkeypatch.undo()
    assert bench.user_ids(open_source(f"{export}/{pattern}", format="csv")) == ["u0", "u1", "u2"]


def test_parts_are_the_same_also_with_files_beside_them_that_the_pattern_does_not_name(bench: Bench) -> None:
    export = bench.folder / "export"
    export.mkdir()
    for number in range(2):
        (export / f"part-{number}.csv").write_text(f"user_id\nu{number}\n")
        (export / f"part-{number}.csv.md5").write_text("0cc175b9c0f1b6a831c399e269772661")
    assert bench.user_ids(open_source(f"{export}/*.csv")) == ["u0", "u1"]


def test_a_customers_own_csv_that_breaks_off_is_refused_and_a_broken_row_inside_is_named_by_its_line(
    bench: Bench,
) -> None:
    cut = bench.write('user_id,note,total\nu1,"two\nlines",1\nu2,x', "cut.csv")
    with pytest.raises(SnapshotError, match=r"cut\.csv is cut short: its last row, in line 4, is broken"):
        bench.seal(cut, format="csv", value_of="total", wants_value=True)
    inside = bench.write('user_id,note,total\nu1,"two\nlines",1\nu2,x\nu3,y,3\n', "inside.csv")
    with pytest.raises(
        SnapshotError, match=r"inside\.csv \(CSV\): 1 of 3 rows cannot be read \(2 instead of 3 cells; line 4\)"
    ):
        bench.seal(inside, format="csv", value_of="total", wants_value=True)


def test_a_file_of_another_kind_is_no_empty_audience_however_many_broken_rows_are_allowed(bench: Bench) -> None:
    csv = bench.write("user_id\nu1\n", "members.jsonl")
    for percent in (0.1, 100):
        with pytest.raises(SnapshotError, match=r"2 of 2 rows cannot be read \(not a .*format") as refused:
            bench.seal(csv, format="jsonl", max_malformed_percent=percent)
        assert "raise max_malformed_percent" not in str(refused.value)


NO_ANSWER = aiohttp.ClientConnectorError(
    SimpleNamespace(host="127.0.0.1", port=1, ssl=None),  # type: ignore[arg-type]
    ConnectionRefusedError(111, "Connection refused"),
)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (NO_ANSWER, True),
        (ConnectionResetError(104, "Connection reset by peer"), True),
        (TimeoutError(), True),
        (PermissionError(13, "Permission denied"), False),
        (FileNotFoundError(2, "No such file or directory"), False),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_store_that_does_not_answer_is_tried_again_and_one_that_lets_nobody_in_is_not(
    error: Exception, passes: bool
) -> None:
    assert (
        isinstance(out_of_reach("s3://acme/*.csv cannot be looked up", error, "Run again."), SourceUnavailable)
        is passes
    )


@pytest.mark.parametrize(
    "url",
    ["zip://*.csv::missing.zip", "zip://a.csv::missing.zip", "tar://x::missing", "simplecache::zip://::missing",
     "zip://x::zip://y::missing", "zip://a.csv::no.zip", "tar://a.csv::no.zip", "s3://", "gs://", "reference://x",
     "ftp://127.0.0.1:1/x"],
)  # fmt: skip
def test_a_url_within_a_url_that_leads_nowhere_is_a_sentence(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no.zip").write_bytes(b"no archive")
    with pytest.raises((SnapshotError, ConfigError), match="Nothing was sent"):
        newest(url)
    with pytest.raises(WindsorSyncError):
        list_files(url)
    with pytest.raises(WindsorSyncError):
        FileStore(url).keep(tmp_path / "no.zip", "a")
