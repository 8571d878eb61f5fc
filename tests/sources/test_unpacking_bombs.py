"""What a compressed file asks for is looked at before it is given."""

import io
import lzma
import zipfile
from pathlib import Path

import pytest

from windsor_sync.errors import SnapshotError
from windsor_sync.sources import unpacking
from windsor_sync.sources.unpacking import damage_named, unpacked

ROWS = b"user_id\n" + b"".join(b"user-%d\n" % number for number in range(50_000))


def read(data: bytes) -> bytes:
    """All that is inside."""
    with damage_named("members.csv"):
        stream = unpacked(io.BytesIO(data), len(data), "members.csv")
        assert stream is not None
        return b"".join(iter(lambda: stream.read(65_536), b""))


@pytest.mark.parametrize("between", [b"", b"\0" * 8])
def test_an_xz_file_is_read_with_all_its_streams(between: bytes) -> None:
    assert read(lzma.compress(ROWS) + between + lzma.compress(ROWS) + between) == ROWS * 2


def test_an_xz_file_that_asks_for_more_memory_than_any_download_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(lzma.compress(ROWS, preset=6)) == ROWS
    monkeypatch.setattr(unpacking, "MAX_DICTIONARY_BYTES", 1 << 20)  # its dictionary has 8 MB
    with pytest.raises(SnapshotError, match=r"members\.csv"):
        read(lzma.compress(ROWS, preset=6))


def test_an_xz_file_that_is_cut_is_no_end() -> None:
    with pytest.raises(SnapshotError, match="cut short"):
        read(lzma.compress(ROWS)[:-20])


def test_a_zip_archive_that_may_ask_for_gigabytes_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "members.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("members.csv", ROWS)
    with pytest.raises(SnapshotError, match="compressed with LZMA"):
        read((tmp_path / "members.zip").read_bytes())


@pytest.mark.parametrize("pack", [lzma.compress, unpacking.bz2.compress])
def test_what_unpacks_to_far_more_than_a_download_is_left(monkeypatch: pytest.MonkeyPatch, pack: "type[bytes]") -> None:
    monkeypatch.setattr(unpacking, "HARMLESS_BYTES", 1 << 20)
    with pytest.raises(SnapshotError, match="times its size"):
        read(pack(b"0" * 20_000_000))


def test_a_zip_archive_that_lists_very_many_files_is_refused_before_the_list_is_read() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number:05}.csv", b"")
    with pytest.raises(SnapshotError, match="very many files"):
        read(packed.getvalue())
