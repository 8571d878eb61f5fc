"""Which file is the snapshot, when it was taken, and when an equal fingerprint means equal content."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest
from sealing import Bench

from windsor_sync.errors import ConfigError, SnapshotError
from windsor_sync.events.archive import list_files
from windsor_sync.sources import newest, open_source
from windsor_sync.sources.files import confirm_unchanged, date_in

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
LONG_AGO = 1_700_000_000


def touch(path: Path, seconds: float = LONG_AGO, content: str = "user_id\nu1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (seconds, seconds))
    return path


def test_the_newest_file_of_a_pattern_is_taken_by_its_modification_time(tmp_path: Path) -> None:
    touch(tmp_path / "b.csv", LONG_AGO)
    wanted = touch(tmp_path / "a.csv", LONG_AGO + 7200)
    found = newest(f"{tmp_path}/*.csv")
    assert found.path == str(wanted)
    assert found.taken_at == found.mtime == datetime.fromtimestamp(LONG_AGO + 7200, UTC)


def test_a_date_in_the_path_outweighs_the_modification_time(tmp_path: Path) -> None:
    touch(tmp_path / "2024-06-01/vip.csv", LONG_AGO + 99)
    wanted = touch(tmp_path / "2024-06-02/vip.csv", LONG_AGO)
    touch(tmp_path / "undated/vip.csv", LONG_AGO + 99)
    found = newest(f"{tmp_path}/*/*.csv", "%Y-%m-%d")
    assert (found.path, found.taken_at) == (str(wanted), datetime(2024, 6, 2, tzinfo=UTC))


def test_the_snapshot_as_of_a_moment_is_the_newest_one_taken_by_then(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        touch(tmp_path / f"2024-06-0{day}.csv")
    found = newest(f"{tmp_path}/*.csv", "%Y-%m-%d", not_after=datetime(2024, 6, 2, tzinfo=UTC))
    assert Path(found.path).name == "2024-06-02.csv"
    with pytest.raises(SnapshotError, match=r"taken by 2024-05-31 00:00 UTC: the oldest is of 2024-06-01 00:00"):
        newest(f"{tmp_path}/*.csv", "%Y-%m-%d", not_after=datetime(2024, 5, 31, tzinfo=UTC))


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("x/2024-01-31/y.csv", "%Y-%m-%d", "2024-01-31T00:00:00+00:00"),
        ("2023-01-01/vip_20240131T0405.csv", "%Y%m%dT%H%M", "2024-01-31T04:05:00+00:00"),
        ("dt=2024-01-31/vip_2024-02-01.csv", "%Y-%m-%d", "2024-02-01T00:00:00+00:00"),
        ("2024-01-31T12:00+0200.csv", "%Y-%m-%dT%H:%M%z", "2024-01-31T10:00:00+00:00"),
        ("vip_31Jan2024.csv", "%d%b%Y", "2024-01-31T00:00:00+00:00"),
        ("99999999/20240131.csv", "%Y%m%d", "2024-01-31T00:00:00+00:00"),
        ("year=2024/month=01/day=31/x.csv", "year=%Y/month=%m/day=%d", "2024-01-31T00:00:00+00:00"),
        ("vip_2024013100.csv", "%Y%m%d", None),
        ("vip.csv", "%Y-%m-%d", None),
        ("2024-01-31/vip_2024-13-45.csv", "%Y-%m-%d", "2024-01-31T00:00:00+00:00"),
    ],
)
def test_dates_are_found_inside_paths(path: str, pattern: str, expected: str | None) -> None:
    found = date_in(path, pattern)
    assert (found.isoformat() if found else None) == expected


def test_a_directive_that_no_path_is_read_by_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match=r"taken_at %Y week %U uses %U"):
        date_in("2024 week 5", "%Y week %U")


def test_hidden_and_unfinished_files_are_never_taken(tmp_path: Path) -> None:
    wanted = touch(tmp_path / "a.csv", LONG_AGO)
    for name in (".hidden.csv", "b.csv.tmp", "c.part", "d.csv.crdownload", "~lock.csv", "_temporary/0/e.csv"):
        touch(tmp_path / name, LONG_AGO + 99)
    (tmp_path / "link_to_nowhere.csv").symlink_to(tmp_path / "nowhere.csv")
    assert newest(f"{tmp_path}/*").path == str(wanted)
    assert newest(str(tmp_path / "**/*.csv")).path == str(wanted)
    with pytest.raises(SnapshotError, match=r"\.part"):
        newest(str(tmp_path / "c.part"))


def test_a_file_with_the_letters_of_a_pattern_in_its_name_is_read_itself(bench: Bench) -> None:
    touch(bench.folder / "a1.csv", content="user_id\nwrong\n")
    touch(bench.folder / "a[1]*?.csv", content="user_id\nright\n")
    assert bench.user_ids(bench.folder / "a[1]*?.csv") == ["right"]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("nowhere/*.csv", ("there is no folder", "nowhere")),
        ("empty/*.csv", ("is empty",)),
        ("full/*.parquet", ("has 2 other entries", "Check the pattern")),
        ("full", ("it is a folder", "full/*.csv")),
        ("full/c.csv", ("has 2 other entries",)),
    ],
)
def test_when_nothing_is_found_pattern_and_folder_are_named(
    tmp_path: Path, pattern: str, says: tuple[str, ...]
) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "full/a.csv")
    touch(tmp_path / "full/b.csv")
    with pytest.raises(SnapshotError) as caught:
        newest(f"{tmp_path}/{pattern}")
    message = str(caught.value)
    assert f"{tmp_path}/{pattern}" in message
    assert "the last good snapshot stands" in message
    assert all(part in message for part in says)


def test_when_no_file_has_the_date_the_pattern_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "a.csv")
    with pytest.raises(SnapshotError, match=r"No file .* has a date like %Y-%m-%d in its path.*taken_at"):
        newest(f"{tmp_path}/*.csv", "%Y-%m-%d")


def test_an_old_file_can_be_known_again_and_a_fresh_one_cannot(tmp_path: Path) -> None:
    path = touch(tmp_path / "a.csv")
    found = newest(str(path))
    assert found.trusted_fingerprint == newest(str(path)).trusted_fingerprint is not None
    path.write_text("user_id\nu1\n")
    assert newest(str(path)).trusted_fingerprint is None


def test_a_rewritten_file_has_another_fingerprint_even_with_its_old_time_and_size(tmp_path: Path) -> None:
    path = touch(tmp_path / "a.csv", content="user_id\nu1\n")
    before = newest(str(path))
    touch(path, content="user_id\nu2\n")
    assert newest(str(path)).size == before.size
    assert newest(str(path)).mtime == before.mtime
    assert newest(str(path)).fingerprint != before.fingerprint
    with pytest.raises(SnapshotError, match="changed or removed"):
        confirm_unchanged(before)


def test_an_object_store_is_read_like_a_folder(bench: Bench) -> None:
    store = fsspec.filesystem("memory")
    for name, content in {"2024-01-01": b"user_id\nold\n", "2024-01-02": b"user_id,email\nnew,a@x\n"}.items():
        store.pipe_file(f"/exports/vip/{name}.csv", content)
    source = open_source("memory://exports/vip/*.csv", taken_at="%Y-%m-%d")
    assert source.origin is not None
    assert source.origin.path == "memory:///exports/vip/2024-01-02.csv"
    assert bench.members(source) == [("new", None, "a@x", None)]
    with pytest.raises(SnapshotError, match="nothing/"):
        open_source("memory://nothing/*.csv")


def test_a_parquet_file_of_an_object_store_is_read(bench: Bench) -> None:
    sealed = bench.seal(bench.write("user_id\nu1\n"))
    fsspec.filesystem("memory").pipe_file("/tables/vip.parquet", sealed.path.read_bytes())
    assert bench.user_ids(open_source("memory://tables/vip.parquet")) == ["u1"]


def test_an_unknown_store_and_an_unknown_format_are_configuration_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="kind of store"):
        newest("nosuchstore://bucket/x.csv")
    with pytest.raises(ConfigError, match="Set format"):
        open_source(str(touch(tmp_path / "vip.txt")))


def test_what_is_not_installed_is_named_and_how_to_get_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("gcsfs", "zstandard"):
        monkeypatch.setitem(sys.modules, package, None)  # as an import finds it that is not installed
    with pytest.raises(ConfigError, match=r"need gcsfs, which is not installed.*pip install gcsfs"):
        newest("gs://bucket/x.csv")
    with pytest.raises(ConfigError, match=r"gcsfs is not installed"):
        list_files("gs://bucket/logs")
    with pytest.raises(ConfigError, match=r"zstandard is not installed.*pip install zstandard"):
        bench.seal(bench.write(ZSTD_MAGIC + b"frame"))


@pytest.mark.parametrize("packing", ["gzip", "bz2", "lzma"])
def test_packed_files_are_unpacked_whatever_they_are_called(bench: Bench, packing: str) -> None:
    import importlib

    path = bench.write(importlib.import_module(packing).compress(b"user_id\nu1\n"))
    assert bench.user_ids(path) == ["u1"]


def test_a_snapshot_of_parts_is_found_again_by_its_path(tmp_path: Path) -> None:
    for day in (1, 2):
        for part in (0, 1):
            touch(tmp_path / f"2024-06-0{day}/part-{part}.csv", content=f"user_id\nu{day}{part}\n")
    found = newest(f"{tmp_path}/*/part-*.csv", "%Y-%m-%d", not_after=datetime(2024, 6, 1, tzinfo=UTC))
    again = newest(found.path, "%Y-%m-%d")
    assert [Path(part.path).name for part in found.parts] == ["part-0.csv", "part-1.csv"]
    assert (again, again.taken_at) == (found, datetime(2024, 6, 1, tzinfo=UTC))


def test_parts_have_another_fingerprint_when_one_of_them_is_written_anew(tmp_path: Path) -> None:
    for part in (0, 1):
        touch(tmp_path / f"part-{part}.csv")
    before = newest(f"{tmp_path}/part-*.csv")
    assert before.trusted_fingerprint is not None or not before.is_settled
    touch(tmp_path / "part-0.csv", content="user_id\nu2\n")
    assert newest(f"{tmp_path}/part-*.csv").fingerprint != before.fingerprint
    with pytest.raises(SnapshotError, match="changed or removed"):
        confirm_unchanged(before)


def test_the_newest_folder_is_a_snapshot_of_all_its_files(bench: Bench) -> None:
    for day in (1, 2):
        for name in ("a", "b"):
            touch(bench.folder / f"dt=2024-06-0{day}/{name}.csv", content=f"user_id\n{name}{day}\n")
    touch(bench.folder / "dt=2024-06-02/_SUCCESS", content="")
    source = open_source(f"{bench.folder}/dt=*/", taken_at="%Y-%m-%d")
    assert bench.user_ids(source) == ["a2", "b2"]
    assert source.origin is not None
    assert source.origin.taken_at == datetime(2024, 6, 2, tzinfo=UTC)
