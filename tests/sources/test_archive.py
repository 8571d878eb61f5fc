"""Which files of Segment's raw archive are found, and what is read of them."""

import gzip
import os
from datetime import UTC, date, datetime
from pathlib import Path

import fsspec
import pytest

from windsor_sync.errors import ConfigError, WindsorSyncError
from windsor_sync.sources.archive import LONGEST_LINE_BYTES, ArchiveFile, Unreadable, list_files, read_lines

DAYS = {day: str(int(datetime(2025, 6, day, tzinfo=UTC).timestamp() * 1000)) for day in (1, 2, 3)}


def put(root: Path, path: str, content: bytes = b"x") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)


def paths(root: Path, since: date | None = None) -> list[str]:
    return [file.path for file in list_files(str(root), since)]


def lines(root: Path, path: str = "s/1/a.gz") -> list[bytes | Unreadable]:
    file = ArchiveFile(path, 0, "", None)
    return [line for piece in read_lines(str(root), file) for line in piece]


def test_files_are_found_wherever_they_appear_by_day_and_name(tmp_path: Path) -> None:
    put(tmp_path, f"src1/{DAYS[2]}/200.b.gz")
    put(tmp_path, f"src2/{DAYS[1]}/100.a.gz")
    put(tmp_path, f"src1/{DAYS[1]}/900.late.gz")
    put(tmp_path, f"a/deeper/prefix/{DAYS[3]}/300.gz")
    put(tmp_path, "src1/2025-06-02/150.gz")
    put(tmp_path, "exported/by-hand.json")
    assert paths(tmp_path) == [
        f"src2/{DAYS[1]}/100.a.gz",
        f"src1/{DAYS[1]}/900.late.gz",
        "src1/2025-06-02/150.gz",
        f"src1/{DAYS[2]}/200.b.gz",
        f"a/deeper/prefix/{DAYS[3]}/300.gz",
        "exported/by-hand.json",
    ]


def test_since_leaves_out_earlier_days_but_never_a_file_of_no_day(tmp_path: Path) -> None:
    put(tmp_path, f"s/{DAYS[1]}/1.gz")
    put(tmp_path, f"s/{DAYS[2]}/2.gz")
    put(tmp_path, "s/2025-05-31/0.gz")
    put(tmp_path, "s/no-day/3.gz")
    assert paths(tmp_path, date(2025, 6, 2)) == [f"s/{DAYS[2]}/2.gz", "s/no-day/3.gz"]


@pytest.mark.parametrize("folder", ["1717200000001", "20250601", "99999999999999200000000", "2025-13-01", "day"])
def test_a_folder_that_is_no_midnight_is_no_day(tmp_path: Path, folder: str) -> None:
    put(tmp_path, f"s/{folder}/1.gz")
    assert [file.day for file in list_files(str(tmp_path), date(2099, 1, 1))] == [None]


@pytest.mark.parametrize(
    "name", ["dummy-object.txt", ".hidden.gz", "1.gz.tmp", "1.gz.part", "~1.gz", ".git/1.gz", "_temporary/0/1.gz"]
)
def test_probes_and_unfinished_files_are_left_alone(tmp_path: Path, name: str) -> None:
    put(tmp_path, f"s/{DAYS[1]}/{name}")
    put(tmp_path, f"s/{DAYS[1]}/1.gz")
    assert paths(tmp_path) == [f"s/{DAYS[1]}/1.gz"]


def test_a_fingerprint_changes_when_the_file_is_written_anew_and_not_otherwise(tmp_path: Path) -> None:
    put(tmp_path, "s/1.gz", b"x")
    before = list_files(str(tmp_path))
    assert list_files(str(tmp_path)) == before
    stat = (tmp_path / "s/1.gz").stat()
    put(tmp_path, "s/1.gz", b"y")
    os.utime(tmp_path / "s/1.gz", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    assert list_files(str(tmp_path))[0].fingerprint != before[0].fingerprint


def test_an_object_store_is_listed_and_read_like_a_folder() -> None:
    store = fsspec.filesystem("memory")
    path = f"/segment-logs/src/{DAYS[1]}/1.gz"
    store.pipe(path, gzip.compress(b"one\ntwo\n"))
    try:
        (file,) = list_files("memory://segment-logs", None)
        assert (file.path, file.day) == (f"src/{DAYS[1]}/1.gz", date(2025, 6, 1))
        assert list(read_lines("memory://segment-logs", file)) == [[b"one", b"two"]]
    finally:
        store.rm("/segment-logs", recursive=True)


def test_an_empty_archive_has_no_files_and_a_missing_one_is_a_wrong_setting(tmp_path: Path) -> None:
    assert paths(tmp_path) == []
    with pytest.raises(ConfigError, match="no folder"):
        list_files(str(tmp_path / "nowhere"), None)
    with pytest.raises(ConfigError, match=r"events\.archive"):
        list_files("nostore://bucket/logs", None)


@pytest.mark.parametrize("text", [b"", b"one", b"one\n", b"one\ntwo", b"one\r\n\ntwo\n", b"\n"])
def test_a_packed_file_and_one_that_a_client_unpacked_read_alike(tmp_path: Path, text: bytes) -> None:
    put(tmp_path, "s/1/a.gz", gzip.compress(text))
    put(tmp_path, "s/1/b.gz", text)
    expected = text.split(b"\n") if not text.endswith(b"\n") else text.split(b"\n")[:-1]
    assert lines(tmp_path, "s/1/a.gz") == lines(tmp_path, "s/1/b.gz") == (expected if text else [])


def test_several_packed_streams_in_one_file_are_one_text(tmp_path: Path) -> None:
    put(tmp_path, "s/1/a.gz", gzip.compress(b"one\nt") + gzip.compress(b"wo\n"))
    assert lines(tmp_path) == [b"one", b"two"]


def test_a_torn_file_gives_its_readable_lines_and_one_that_cannot_be_had(tmp_path: Path) -> None:
    text = b"".join(b'{"number": %d, "noise": "%s"}\n' % (n, os.urandom(20).hex().encode()) for n in range(2_000))
    packed = gzip.compress(text)
    for cut in (len(packed) // 3, len(packed) - 9, len(packed) - 1):
        put(tmp_path, "s/1/a.gz", packed[:cut])
        *before, last = lines(tmp_path)
        assert last is Unreadable.TORN
        assert before == text.split(b"\n")[: len(before)]
        assert len(before) > 200


def test_a_damaged_file_is_reported_after_what_was_readable(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"one\ntwo\n"))
    packed[-5] ^= 0xFF  # its checksum
    put(tmp_path, "s/1/a.gz", bytes(packed))
    assert lines(tmp_path)[-1] is Unreadable.TORN
    put(tmp_path, "s/1/a.gz", gzip.compress(b"one\n") + b"garbage after the end")
    assert lines(tmp_path) == [b"one", Unreadable.TORN]


def test_a_line_of_any_length_takes_little_memory_and_does_not_hide_the_next(tmp_path: Path) -> None:
    put(tmp_path, "s/1/a.gz", gzip.compress(b"one\n" + bytes(LONGEST_LINE_BYTES * 3) + b"\ntwo\n" + bytes(3_000_000)))
    assert lines(tmp_path) == [b"one", Unreadable.LINE_TOO_LONG, b"two", Unreadable.LINE_TOO_LONG]


def test_a_file_that_vanished_is_out_of_reach_not_empty(tmp_path: Path) -> None:
    with pytest.raises(WindsorSyncError, match=r"s/1/a\.gz cannot be read .* left out with `since`"):
        lines(tmp_path)
