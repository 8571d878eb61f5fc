"""Opens compressed files as streams: gzip, bzip2, xz, zstd, and a zip archive of one file.

Nothing is unpacked by its name in an archive, and nothing is held in memory; a file that unpacks to far more than any
download does is refused before it fills the disk.
"""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any, Protocol

from windsor_sync.errors import ConfigError
from windsor_sync.sources.refusal import AGAIN, unusable

BLOCK_BYTES = 1 << 20
MOST_TIMES = 200
"""Downloads shrink to a fifth or a tenth; gzip's limit is a thousand."""
HARMLESS_BYTES = 256 << 20
"""Up to here no ratio is suspicious: it fits on any disk."""
MAX_DICTIONARY_BYTES = 128 << 20
"""What an xz stream may ask for; `xz -9` takes 65 MB."""
MAX_DIRECTORY_BYTES = 1 << 20
"""Of a zip archive's list of files; an archive of one file has a line of it."""
_ZIP_END_BYTES = 22 + 65_535
"""The end of a zip archive with the longest comment."""
NAMED_MEMBERS = 5


class Stream(Protocol):
    """The stream that the readers of text need."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""


def most_unpacked_bytes(packed_bytes: int) -> int:
    """Return how much a compressed file of this size may become."""
    return max(HARMLESS_BYTES, MOST_TIMES * packed_bytes)


class _Bounded:
    """A stream that refuses to go on for ever."""

    def __init__(self, stream: Stream, packed_bytes: int, name: str) -> None:
        self._stream = stream
        self._limit = most_unpacked_bytes(packed_bytes)
        self._name = name
        self._read = 0

    def read(self, size: int, /) -> bytes:
        chunk = self._stream.read(size)
        self._read += len(chunk)
        if self._read > self._limit:
            raise unusable(f"{self._name} unpacks to more than {MOST_TIMES} times its size: no download does.", AGAIN)
        return chunk


def unpacked(raw: IO[bytes], packed_bytes: int, name: str) -> Stream | None:
    """Return the content of a compressed file as a stream; None for another file. Its first bytes decide, not its name.

    Raises SnapshotError for an archive of no file or of several, with their names.
    """
    start = raw.read(8)
    raw.seek(0)
    unpack = next((each for magic, each in _UNPACK.items() if start.startswith(magic)), None)
    return _Bounded(unpack(raw, name), packed_bytes, name) if unpack else None


@contextmanager
def damage_named(name: str) -> Iterator[None]:
    """Turn the decompressors' errors about damaged data into a SnapshotError."""
    try:
        yield
    except EOFError:
        raise unusable(f"{name} is cut short: its compressed data ends too early.", AGAIN) from None
    except (zlib.error, gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError):
        raise unusable(f"{name} is damaged: its compressed data cannot be unpacked.", AGAIN) from None


def _only_member(raw: IO[bytes], name: str) -> Stream:
    _refuse_long_directory(raw, name)
    archive = zipfile.ZipFile(raw)
    if "[Content_Types].xml" in archive.NameToInfo:
        raise unusable(f"{name} is an Excel workbook (a zip archive), not plain text.", "Save it as CSV.")
    members = [member for member in archive.infolist() if not member.is_dir() and not _is_litter(member.filename)]
    if len(members) != 1:
        raise unusable(
            f"{name} is a zip archive of {len(members)} files{_shown(members)}, not of one.",
            "Unpack it and set path to the file that holds the members.",
        )
    if members[0].flag_bits & 1:
        raise unusable(f"{name} is a zip archive with a password.", "Unpack it, and set path to the file.")
    if members[0].compress_type == zipfile.ZIP_LZMA:  # it may ask for gigabytes of memory
        raise unusable(f"{name} is a zip archive compressed with LZMA.", "Unpack it, and set path to the file.")
    return archive.open(members[0])


def _refuse_long_directory(raw: IO[bytes], name: str) -> None:
    """Look at what the archive's end says of its directory, which is read as a whole: it may list millions of files."""
    end = raw.seek(0, io.SEEK_END)
    raw.seek(max(0, end - _ZIP_END_BYTES))
    tail = raw.read(_ZIP_END_BYTES)
    raw.seek(0)
    at = tail.rfind(b"PK\x05\x06")
    if at >= 0 and int.from_bytes(tail[at + 12 : at + 16], "little") > MAX_DIRECTORY_BYTES:
        raise unusable(
            f"{name} is a zip archive of very many files, not of one.",
            "Unpack it and set path to the file that holds the members.",
        )


def _is_litter(member: str) -> bool:
    """Return whether macOS added this file to the archive."""
    return any(
        part == "__MACOSX" or part.startswith("._") or part == ".DS_Store" for part in PurePosixPath(member).parts
    )


def _shown(members: list[zipfile.ZipInfo]) -> str:
    if not members:
        return ""
    names = [repr(PurePosixPath(member.filename).name)[1:-1] for member in members[:NAMED_MEMBERS]]
    return f" ({', '.join(names)}{', …' if len(members) > NAMED_MEMBERS else ''})"


class _Xz:
    """All streams of an xz file. Its head says how much memory it takes, up to 4 GiB: the package's own stream takes it."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._stream: lzma.LZMADecompressor | None = None
        self._rest = b""

    def read(self, size: int) -> bytes:
        """At most `size` bytes."""
        while True:
            needs_more = self._stream is None or self._stream.needs_input
            packed = (self._rest or self._raw.read(BLOCK_BYTES // 16)) if needs_more else b""
            self._rest = b""
            if needs_more and not packed:
                if self._stream is not None:
                    raise EOFError
                return b""
            if self._stream is None:
                packed = packed.lstrip(b"\0")  # what fills up a stream
                if not packed:
                    continue
                self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_DICTIONARY_BYTES)
            chunk = self._stream.decompress(packed, size)
            if self._stream.eof:
                self._rest, self._stream = self._stream.unused_data, None
            if chunk:
                return chunk


class _Zstd:
    """All frames of a zstd file; unlike the package's own stream it says when the last one is cut."""

    def __init__(self, raw: IO[bytes], name: str) -> None:
        try:
            import zstandard
        except ImportError:
            raise ConfigError(
                f"{name} is compressed with zstd, for which the package zstandard is not installed. Nothing was sent. "
                "Install it (pip install zstandard), or compress the file with gzip."
            ) from None
        self._module = zstandard
        self._raw = raw
        self._name = name
        self._frame: Any = None
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """About `size` bytes."""
        while True:
            packed = self._rest or self._raw.read(min(size, BLOCK_BYTES) // 64)
            self._rest = b""
            if not packed:
                if self._frame is not None:
                    raise EOFError
                return b""
            if chunk := self._decompress(packed):
                return chunk

    def _decompress(self, packed: bytes) -> bytes:
        self._frame = self._frame or self._module.ZstdDecompressor().decompressobj()
        try:
            chunk: bytes = self._frame.decompress(packed)
        except self._module.ZstdError:
            raise unusable(f"{self._name} is damaged: its compressed data cannot be unpacked.", AGAIN) from None
        if self._frame.eof:
            self._rest, self._frame = self._frame.unused_data, None
        return chunk


_UNPACK: dict[bytes, Callable[[Any, str], Stream]] = {
    b"\x1f\x8b": lambda raw, _: gzip.GzipFile(fileobj=raw),
    b"BZh": lambda raw, _: bz2.BZ2File(raw),
    b"\xfd7zXZ\x00": lambda raw, _: _Xz(raw),
    b"PK\x03\x04": _only_member,
    b"PK\x05\x06": _only_member,  # an archive of nothing
    b"\x28\xb5\x2f\xfd": _Zstd,
}
