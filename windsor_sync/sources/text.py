"""The bytes of a text file, looked at once before anyone parses them: unpacked, whole, UTF-8, no binary.

Everything here works on blocks at the speed of memory; a gigabyte takes about a second.
"""

import codecs
import logging
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import duckdb

from windsor_sync.errors import SnapshotError, harmless
from windsor_sync.private import make_folder
from windsor_sync.sources.encodings import LOOKED_AT_BYTES, Latin1, NotLatin1, Prefixed, Utf16, utf16_of
from windsor_sync.sources.files import SourceFile, is_local, open_bytes
from windsor_sync.sources.refusal import AGAIN, out_of_reach, unusable
from windsor_sync.sources.unpacking import BLOCK_BYTES, Stream, damage_named, unpacked
from windsor_sync.storage.errors import trouble

AT_ONCE_BYTES = 1 << 17
"""Size of a block. It stays in the processor's cache while it is looked at; larger blocks take twice the time."""
MAX_LINE_BYTES = 64 << 20
"""A longer line is no row of text, whatever the file is."""

_OTHER_THINGS = {
    b"PK\x03\x04": ("a zip archive (or an Excel workbook)", "Unpack it, or save it as CSV."),
    b"\x1f\x8b": ("compressed twice", "Unpack it once."),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook of the old kind", "Save it as CSV."),
    b"PAR1": ("a Parquet file", "Set format: parquet."),
    codecs.BOM_UTF32_LE: ("UTF-32 text", "Save it as UTF-8."),
    codecs.BOM_UTF32_BE: ("UTF-32 text", "Save it as UTF-8."),
}
_BEGINS_WITH_RETURN = re.compile(rb"^\r+(?![\r\n])", re.MULTILINE)
_NOT_QUOTES_OR_NEWLINES = bytes(byte for byte in range(256) if byte not in b'"\n')


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlainText:
    """A text file that was looked at: plain UTF-8 on a local disk."""

    path: Path
    """of the file itself, or of its unpacked and recoded copy in the engine's folder for spilled data"""
    name: str
    """of the file itself, for messages"""
    lines: int
    """physical lines, without the blank ones at the end"""
    blank_lines_at_end: int
    quotes: int
    """how many quotation marks it holds"""
    has_quoted_newline: bool
    """whether some line holds an odd number of quotation marks, so that a row may go over several lines"""
    begins_with_return: bool
    """whether some line begins with a carriage return, and has more than that"""


def plain_text(file: SourceFile, connection: duckdb.DuckDBPyConnection) -> PlainText:
    """Look at the whole file; one that is packed, remote or not UTF-8 is copied beside the engine's spilled data.

    Raises SnapshotError for a file that is empty, cut short, binary, or of another encoding, with the line.
    """
    try:
        return _looked_at(file, connection)
    except _NotUtf8 as error:
        not_utf8 = error
    try:
        text = _looked_at(file, connection, is_latin_1=True)
    except (NotLatin1, _NotUtf8):
        raise unusable(*not_utf8.finding_and_remedy) from None
    _log.warning("%s is not UTF-8: it was read as Latin-1 (Windows-1252).", harmless(file.path))
    return text


def _looked_at(file: SourceFile, connection: duckdb.DuckDBPyConnection, *, is_latin_1: bool = False) -> PlainText:
    reading = _Reading(file.path)
    try:
        with open_bytes(file) as raw, damage_named(file.path):
            inside = unpacked(raw, file.size, file.path)
            stream, is_utf_8 = _as_utf_8(inside or raw, file.path, is_latin_1)
            if is_local(file) and inside is None and is_utf_8:
                reading.look_at(stream)
                return reading.result(Path(file.path))
            copy = scratch_folder_of(connection) / f"{uuid.uuid4().hex}.txt"
            with copy.open("wb") as target:
                reading.look_at(stream, target)
            return reading.result(copy)
    except trouble() as error:
        raise _unreadable(file, error) from None


def _as_utf_8(stream: Stream, name: str, is_latin_1: bool) -> tuple[Stream, bool]:
    """The stream as UTF-8, and whether it is that already."""
    start = stream.read(LOOKED_AT_BYTES)
    whole = Prefixed(start, stream)
    encoding = utf16_of(start)
    if encoding is not None:
        return Utf16(whole, encoding, name), False
    return (Latin1(whole), False) if is_latin_1 else (whole, True)


def local_copy(file: SourceFile, connection: duckdb.DuckDBPyConnection) -> Path:
    """The file itself where it is local, else a copy beside the engine's spilled data."""
    if is_local(file):
        return Path(file.path)
    copy = scratch_folder_of(connection) / f"{uuid.uuid4().hex}.copy"
    try:
        with open_bytes(file) as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, BLOCK_BYTES)
    except trouble() as error:
        raise _unreadable(file, error) from None
    return copy


def scratch_folder_of(connection: duckdb.DuckDBPyConnection) -> Path:
    """The folder into which this engine spills; it is gone when the engine is closed."""
    row = connection.execute("SELECT current_setting('temp_directory')").fetchone()
    assert row is not None
    folder = Path(row[0])
    make_folder(folder)
    return folder


def lines_of_bytes(text: PlainText, positions: Iterable[int]) -> list[int]:
    """The physical lines, counted from 1, in which bytes (counted from 0, ascending) stand."""
    lines = []
    line, done = 1, 0
    with text.path.open("rb") as file:
        for position in positions:
            while done < position and (block := file.read(min(position - done, BLOCK_BYTES))):
                line += block.count(b"\n")
                done += len(block)
            lines.append(line)
    return lines


def _unreadable(file: SourceFile, error: Exception) -> SnapshotError:
    return out_of_reach(f"{file.path} cannot be read", error, "Run again when it can be.")


class _NotUtf8(Exception):
    """The file may be of another encoding; if it is not, this is what is wrong with it."""

    def __init__(self, finding: str, remedy: str) -> None:
        super().__init__(finding)
        self.finding_and_remedy = finding, remedy


class _Reading:
    """The facts about a file that are known so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines = 0
        self._quotes = 0
        self._has_quoted_newline = False
        self._newlines_at_end = 0
        self._has_returns = self._begins_with_return = False
        self._has_content = False
        self._is_first = True

    def look_at(self, stream: Stream, copy: IO[bytes] | None = None) -> None:
        for block in self._whole_lines(stream, copy):
            if self._is_first:
                self._refuse_other_things(block)
                self._is_first = False
            self._refuse_what_is_not_text(block)
            self._count(block)

    def result(self, path: Path) -> PlainText:
        if not self._has_content:
            raise unusable(f"{self.name} is empty: it does not hold a single line.", AGAIN)
        if self.lines == self._newlines_at_end == 0 and self._has_returns:
            raise unusable(f"{self.name} ends its lines with carriage returns alone.", "Save it with line feeds.")
        blank_lines = max(self._newlines_at_end - 1, 0)
        is_unfinished = self._newlines_at_end == 0
        return PlainText(
            path=path,
            name=self.name,
            lines=self.lines - blank_lines + is_unfinished,
            blank_lines_at_end=blank_lines,
            quotes=self._quotes,
            has_quoted_newline=self._has_quoted_newline,
            begins_with_return=self._begins_with_return,
        )

    def _whole_lines(self, stream: Stream, copy: IO[bytes] | None) -> Iterator[bytes]:
        """Blocks that end where a line does, so that no character and no line lies in two of them."""
        pending = b""
        while chunk := stream.read(max(AT_ONCE_BYTES, len(pending))):
            if copy is not None:
                copy.write(chunk)
            block = pending + chunk
            end = block.rfind(b"\n") + 1
            pending = block[end:]
            if len(pending) > MAX_LINE_BYTES:
                raise unusable(
                    f"{self.name} has a line of more than {MAX_LINE_BYTES >> 20} MB after line {self.lines}.", AGAIN
                )
            if end:
                yield block[:end]
        if pending:
            yield pending

    def _refuse_other_things(self, block: bytes) -> None:
        for magic, (thing, remedy) in _OTHER_THINGS.items():
            if block.startswith(magic):
                raise unusable(f"{self.name} is {thing}, not plain text.", remedy)
        if block.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"<"):
            raise unusable(
                f"{self.name} is a web page (HTML) or XML: line 1 begins with <.",
                "The download probably led to a sign-in or error page; download the file again.",
            )

    def _refuse_what_is_not_text(self, block: bytes) -> None:
        if (position := block.find(b"\0")) >= 0:
            raise unusable(*self._bad_byte(block, position, "is binary: it holds a NUL byte"))
        if block.isascii():
            return
        try:
            block.decode()
        except UnicodeDecodeError as error:
            raise _NotUtf8(*self._bad_byte(block, error.start, "is not UTF-8: it holds other bytes")) from None

    def _bad_byte(self, block: bytes, position: int, finding: str) -> tuple[str, str]:
        line = self.lines + block.count(b"\n", 0, position) + 1
        return f"{self.name} {finding} in line {line}.", "Save it as UTF-8 text, or download it again."

    def _count(self, block: bytes) -> None:
        marks = block.translate(None, _NOT_QUOTES_OR_NEWLINES)
        quotes = marks.count(b'"')
        self.lines += len(marks) - quotes
        content = block.rstrip(b"\r\n")
        newlines = block.count(b"\n", len(content))
        self._newlines_at_end = newlines if content else self._newlines_at_end + newlines
        self._has_content = self._has_content or not block.isspace()
        if b"\r" in block:
            self._has_returns = True
            self._begins_with_return = self._begins_with_return or _BEGINS_WITH_RETURN.search(block) is not None
        if quotes:
            self._quotes += quotes
            self._has_quoted_newline = self._has_quoted_newline or _has_odd_line(marks)


def _has_odd_line(marks: bytes) -> bool:
    """Whether a line holds an odd number of quotation marks; all else but the line feeds is gone."""
    # Most lines are like the last one: what they have in common is quicker to take out at once than mark by mark.
    usual = marks[:-1].rpartition(b"\n")[2]
    marks = marks.replace(usual[: len(usual) & ~1] + b"\n", b"\n")
    return b'"' in marks.replace(b'""', b"")
