"""Which files of Segment's raw archive are found, and what is read of them."""

import gzip
import json
import os
import tracemalloc
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import fsspec
import pytest

from windsor_sync.errors import ConfigError, WindsorSyncError
from windsor_sync.events.archive import ArchiveFile, list_files, read_lines
from windsor_sync.sources import unpacking
from windsor_sync.sources.archive_text import LONGEST_LINE_BYTES, UnreadableLine, messages

DAYS = {day: str(int(datetime(2025, 6, day, tzinfo=UTC).timestamp() * 1000)) for day in (1, 2, 3)}


def put(root: Path, path: str, content: bytes = b"x") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)


def paths(root: Path, since: date | None = None) -> list[str]:
    return [file.path for file in list_files(str(root), since)]


def lines(root: Path, path: str = "s/1/a.gz") -> list[bytes | UnreadableLine]:
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
    with pytest.raises(ConfigError, match="does not exist"):
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
        assert last is UnreadableLine.TORN
        assert before == text.split(b"\n")[: len(before)]
        assert len(before) > 200


def test_a_damaged_file_is_reported_after_what_was_readable(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"one\ntwo\n"))
    packed[-5] ^= 0xFF  # its checksum
    put(tmp_path, "s/1/a.gz", bytes(packed))
    assert lines(tmp_path)[-1] is UnreadableLine.TORN
    put(tmp_path, "s/1/a.gz", gzip.compress(b"one\n") + b"garbage after the end")
    assert lines(tmp_path) == [b"one", UnreadableLine.TORN]


def test_a_line_of_any_length_takes_little_memory_and_does_not_hide_the_next(tmp_path: Path) -> None:
    put(tmp_path, "s/1/a.gz", gzip.compress(b"one\n" + bytes(LONGEST_LINE_BYTES * 3) + b"\ntwo\n" + bytes(3_000_000)))
    assert lines(tmp_path) == [b"one", UnreadableLine.LINE_TOO_LONG, b"two", UnreadableLine.LINE_TOO_LONG]


def test_a_file_that_vanished_is_out_of_reach_not_empty(tmp_path: Path) -> None:
    with pytest.raises(WindsorSyncError, match=r"s/1/a\.gz cannot be read .* left out with `since`"):
        lines(tmp_path)


EVENTS = [
    {"type": "track", "event": "Ordered", "properties": {"n": n, "say": "} {", "é": [{"a": 1}, {"b": "\\"}]}}
    for n in range(9)
]
TEXTS = [json.dumps(event) for event in EVENTS]
SHAPES = {
    "lines": "\n".join(TEXTS),
    "no line breaks, as Firehose puts them": "".join(TEXTS),
    "some to a line": "".join(TEXTS[:4]) + "\n" + " ".join(TEXTS[4:]) + "\n",
    "one, and then all others in one line": TEXTS[0] + "\n" + "".join(TEXTS[1:]),
    "a byte order mark": "\ufeff" + "\n".join(TEXTS),
    "an array": json.dumps(EVENTS),
    "an array over several lines": "[\n" + ",\n".join(TEXTS) + "\n]\n",
    "an array a line": json.dumps(EVENTS[:5]) + "\n" + json.dumps(EVENTS[5:]),
    "indented objects": "\n".join(json.dumps(event, indent=2) for event in EVENTS),
    "an indented array with a mark": "\ufeff" + json.dumps(EVENTS, indent="\t", ensure_ascii=False),
    "Windows line ends": "\r\n".join(TEXTS),
}


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_messages_are_read_however_they_are_set(shape: str, size: int) -> None:
    text = shape.encode()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    if size < len(TEXTS[0]):  # the beginning decides, and a store hands on more than a few bytes
        pieces = [text[:200], *(text[at : at + size] for at in range(200, len(text), size))]
    found = [line for piece in messages(iter(pieces)) for line in piece]
    assert [json.loads(line) for line in found if isinstance(line, bytes) and line.strip()] == EVENTS


WIDE = ["utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("shape", ["lines", "no line breaks, as Firehose puts them", "an indented array with a mark"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_archive_in_utf_16_is_read(
    tmp_path: Path, encoding: str, shape: str, pack: Callable[[bytes], bytes]
) -> None:
    put(tmp_path, "s/1/a.gz", pack(SHAPES[shape].removeprefix("\ufeff").encode(encoding)))
    assert [json.loads(line) for line in lines(tmp_path) if isinstance(line, bytes) and line.strip()] == EVENTS


@pytest.mark.parametrize("size", [3, 64, 1001])
def test_utf_16_that_comes_in_pieces_is_whole_and_its_damage_is_told(size: int) -> None:
    text = SHAPES["lines"].encode("utf-16")
    pieces = [text[:201], *(text[at : at + size] for at in range(201, len(text), size))]
    found = [line for piece in messages(iter(pieces)) for line in piece]
    assert [json.loads(line) for line in found if isinstance(line, bytes)] == EVENTS
    cut = [line for piece in messages(iter([*pieces[:-1], pieces[-1][:-1]])) for line in piece]
    assert (cut[-1], [json.loads(line) for line in cut[:8] if isinstance(line, bytes)]) == (
        UnreadableLine.TORN,
        EVENTS[:8],
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}{"b": \n{"c": 3}', ['{"a": 1}', '{"b": ', '{"c": 3}']),
        ('{"a": \n{"b": 2}\n', ['{"a": ', '{"b": 2}']),
        ('{"a": 1}{"b": "cut', ['{"a": 1}', '{"b": "cut']),
        ("user_id,email\nu1,a@x\n", ["user_id,email", "u1,a@x"]),
        ('[{"a": 1}, 7]', ['{"a": 1}', "7]"]),
        ("", []),
        ("[]", []),
        ('{"a": "}{"}\n{"b": 1}', ['{"a": "}{"}', '{"b": 1}']),
    ],
)
def test_what_is_no_message_stands_alone_and_spoils_no_other(text: str, expected: list[str]) -> None:
    found = [line for piece in messages(iter([text.encode()])) for line in piece]
    assert [line.decode() for line in found if isinstance(line, bytes) and line.strip()] == expected


def test_a_text_without_line_breaks_takes_no_more_memory_than_a_piece_and_a_message() -> None:
    pieces = (b"".join(b'{"n": "%d"}' % n for n in range(k * 1000, k * 1000 + 1000)) for k in range(300))
    most = max(len(piece) for piece in messages(iter(pieces)))
    assert most <= 1001


def test_an_object_without_an_end_is_one_line_that_is_too_long() -> None:
    pieces = iter([b'{"a": 1}{"b": "', *[b"x" * 300_000] * 5])
    assert [line for piece in messages(pieces) for line in piece][1:] == [UnreadableLine.LINE_TOO_LONG, b"x" * 300_000]


@pytest.mark.parametrize("filler", [b"0", b" ", b"\n", b"{", b'{"a":1}\n', b"[" * 3 + b"\n"])
def test_a_small_file_that_becomes_far_more_text_than_any_archive_is_left_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filler: bytes
) -> None:
    monkeypatch.setattr(unpacking, "HARMLESS_BYTES", 1 << 20)
    put(tmp_path, "s/1/a.gz", gzip.compress(b'{"whole": 1}\n' + filler * (8_000_000 // len(filler))))
    tracemalloc.start()
    found = lines(tmp_path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found[0], found[-1]) == (b'{"whole": 1}', UnreadableLine.UNPACKS_TOO_FAR)
    assert most < 64 << 20
