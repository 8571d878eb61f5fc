"""Text in other encodings than UTF-8, recoded while it is read.

Only what can be told is taken: UTF-16 by its mark or by its zeros, and Latin-1 where a file is not UTF-8 and all it
holds beside ASCII are the letters À to ÿ, which ISO 8859-1, 8859-15 and Windows-1252 write alike. Every sequence of UTF-8
has a byte that is no such letter, so a file that mixes the two is never taken for Latin-1. Cyrillic, Greek and the like
in an encoding of their own are made of such letters too, but whole words of them: no language of Latin-1 writes so.
"""

import codecs
import re

from windsor_sync.sources.refusal import AGAIN, unusable
from windsor_sync.sources.unpacking import Stream

LOOKED_AT_BYTES = 4096
_LATIN_1 = bytes(byte for byte in range(256) if byte < 0x80 or (byte >= 0xC0 and byte not in {0xD7, 0xF7}))
_OTHER_SCRIPT = re.compile(rb"[\x80-\xff]{4}")


class NotLatin1(Exception):
    """The file holds bytes that Latin-1 has no letters for, or words in another script."""


class Prefixed:
    """A stream whose beginning was read already."""

    def __init__(self, start: bytes, stream: Stream) -> None:
        self._start = start
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        chunk, self._start = self._start, b""
        return chunk or self._stream.read(size)


class Utf16:
    """UTF-16 as UTF-8."""

    def __init__(self, stream: Stream, encoding: str, name: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._name = name
        self._is_first = True

    def read(self, size: int, /) -> bytes:
        """About `size` bytes."""
        while chunk := self._stream.read(size):
            if text := self._decoded(chunk):
                return text.encode()
        self._decoded(b"", is_end=True)
        return b""

    def _decoded(self, chunk: bytes, *, is_end: bool = False) -> str:
        try:
            text = self._decoder.decode(chunk, is_end)
        except UnicodeDecodeError:
            raise unusable(f"{self._name} is UTF-16 text that is cut short or damaged.", AGAIN) from None
        if text and self._is_first:
            self._is_first = False
            return text.removeprefix("\ufeff")
        return text


class Latin1:
    """Latin-1 as UTF-8; raises NotLatin1."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        """About `size` bytes."""
        chunk = self._stream.read(size)
        if chunk.translate(None, _LATIN_1) or _OTHER_SCRIPT.search(chunk):
            raise NotLatin1
        return chunk.decode("latin-1").encode()


def utf16_of(start: bytes) -> str | None:
    """The kind of UTF-16 that a file begins with, by its mark, or by the zeros of its ASCII; None for anything else."""
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return None
    if start.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if start.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    pairs = len(start) // 2
    even, odd = start[: 2 * pairs : 2].count(0), start[1 : 2 * pairs : 2].count(0)
    if 2 * odd > pairs and 10 * even < odd:
        return "utf-16-le"
    return "utf-16-be" if 2 * even > pairs and 10 * odd < even else None


def wide_encoding_of(start: bytes) -> str | None:
    """The kind of UTF-16 or UTF-32 that a text begins with; None for anything else."""
    if start.startswith(codecs.BOM_UTF32_LE):
        return "utf-32-le"
    if start.startswith(codecs.BOM_UTF32_BE):
        return "utf-32-be"
    return utf16_of(start)
