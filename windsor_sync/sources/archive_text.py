"""From the text of an archive's file to its messages: one a line, as Segment writes them, or as others pass them on.

Firehose and its like put objects behind each other without a line break; tools that copy archives make arrays of them, indent
them, put a byte order mark in front, or write UTF-16. Where the first line is one whole object, lines are what is read.
"""

import codecs
import json
import re
from collections.abc import Iterator
from enum import StrEnum

from windsor_sync.sources.encodings import LOOKED_AT_BYTES, wide_encoding_of

LONGEST_LINE_BYTES = 1024 * 1024
"""A message of Segment's has less than 32 KB; a longer line is not kept in memory."""

_BETWEEN = re.compile(r"[\s,\[\]]*")
"""What stands between messages: white space, and what makes arrays of them."""
_TOUCHING = re.compile(rb"\}\s*\{")
"""What valid JSON has within a text only."""
_decode = json.JSONDecoder().raw_decode


class UnreadableLine(StrEnum):
    """The reason why a line of a file cannot be had."""

    TORN = "torn_file"
    """The compressed file ends early or is damaged from here on."""
    LINE_TOO_LONG = "line_too_long"
    UNPACKS_TOO_FAR = "unpacks_too_far"
    """From here on a small file becomes more text than any archive has."""


Lines = list[bytes | UnreadableLine]
Pieces = Iterator[bytes | UnreadableLine]


def messages(pieces: Pieces) -> Iterator[Lines]:
    """Yield the messages of a text that comes in pieces; the last of those may say why the rest cannot be had."""
    start = next(pieces, b"")
    if isinstance(start, bytes) and (encoding := wide_encoding_of(start[:LOOKED_AT_BYTES])):
        pieces = _as_utf_8(_chain(start, pieces), encoding)
        start = next(pieces, b"")
    if isinstance(start, bytes):
        start = start.removeprefix(codecs.BOM_UTF8)
    together = _chain(start, pieces)
    return _lines(together) if not isinstance(start, bytes) or _is_of_lines(start) else _values(together)


def _as_utf_8(pieces: Pieces, encoding: str) -> Pieces:
    """The pieces of a text in UTF-16 or UTF-32 in UTF-8; what ends within a character is damaged."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for piece in pieces:
            if not isinstance(piece, bytes):
                yield piece
                return
            yield decoder.decode(piece).encode()
        decoder.decode(b"", final=True)
    except UnicodeError:
        yield UnreadableLine.TORN


def _chain(start: bytes | UnreadableLine, rest: Pieces) -> Pieces:
    yield start
    yield from rest


def _is_of_lines(start: bytes) -> bool:
    """Whether the first line is a whole object, or nothing that a message begins with."""
    first, is_line, _ = start.lstrip().partition(b"\n")
    if not first.startswith((b"{", b"[")):
        return True
    if not is_line and not _TOUCHING.search(first) and first.startswith(b"{"):
        return True  # one message, or the beginning of a long one
    try:
        return isinstance(json.loads(first), dict)
    except ValueError:
        return False
    except RecursionError:
        return True


def _lines(pieces: Pieces) -> Iterator[Lines]:
    rest = b""
    is_too_long = False
    for piece in pieces:
        if not isinstance(piece, bytes):
            yield [piece]
            return
        first, *others = (rest + piece).split(b"\n")
        if not others:
            is_too_long |= len(first) > LONGEST_LINE_BYTES
            rest = b"" if is_too_long else first
            continue
        rest = others.pop()
        yield _apart([UnreadableLine.LINE_TOO_LONG if is_too_long else first, *others])
        is_too_long = False
    if rest or is_too_long:
        yield _apart([UnreadableLine.LINE_TOO_LONG if is_too_long else rest])


def _apart(lines: Lines) -> Lines:
    """The lines, and of a line with several objects each of them."""
    if not any(isinstance(line, bytes) and _TOUCHING.search(line) for line in lines):
        return lines
    return [each for line in lines for each in (_objects(line) if isinstance(line, bytes) else [line])]


def _objects(line: bytes) -> Lines:
    """The objects of which a line consists, or the line as it is: also a text within a message may have such brackets."""
    if not _TOUCHING.search(line):
        return [line]
    found: Lines = []
    try:
        text = line.decode()
        at = _skip(text, 0)
        while at < len(text):
            value, end = _decode(text, at)
            if not isinstance(value, dict):
                return [line]
            found.append(text[at:end].encode("utf-8", "surrogatepass"))
            at = _skip(text, end)
    except (ValueError, RecursionError):
        return [line]
    return found if len(found) > 1 else [line]


def _values(pieces: Pieces) -> Iterator[Lines]:
    """The objects of a text, however they are set; what is none goes to the end of its line as it is."""
    text = ""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    why: Lines = []
    for piece in pieces:
        if not isinstance(piece, bytes):
            why = [piece]
            break
        text += decoder.decode(piece)
        found, text = _take(text, is_end=False)
        yield found
    found, _ = _take(text, is_end=True)
    yield found + why


def _take(text: str, *, is_end: bool) -> tuple[Lines, str]:
    """The objects at the beginning of a text, and what may go on in the next piece."""
    found: Lines = []
    at = _skip(text, 0)
    while at < len(text):
        try:
            value, end = _decode(text, at) if text[at] == "{" else (None, at)
        except RecursionError:
            value, end = None, at
        except json.JSONDecodeError as error:
            if not is_end and _is_cut(error, len(text)):
                if len(text) - at <= LONGEST_LINE_BYTES:
                    break
                return [*found, UnreadableLine.LINE_TOO_LONG], ""
            value, end = None, at
        if not isinstance(value, dict):
            end = text.find("\n", at)
            if end < 0 and not is_end and len(text) - at <= LONGEST_LINE_BYTES:
                break
            end = len(text) if end < 0 else end
        found.append(text[at:end].encode("utf-8", "surrogateescape"))
        at = _skip(text, end)
    return found, text[at:]


def _is_cut(error: json.JSONDecodeError, length: int) -> bool:
    """Whether more text may mend it: it ends within a string, a number or a word, or between two of them."""
    return error.msg.startswith("Unterminated string") or error.pos >= length - 8


def _skip(text: str, at: int) -> int:
    found = _BETWEEN.match(text, at)
    return found.end() if found else at
