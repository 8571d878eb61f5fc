"""The first rows of a snapshot: enough to see whether it can be read as it is meant to be."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from windsor_sync.errors import SnapshotError
from windsor_sync.sources.encodings import LOOKED_AT_BYTES, utf16_of
from windsor_sync.sources.files import SourceFile, open_bytes
from windsor_sync.sources.unpacking import Stream, damage_named, unpacked

SAMPLE_BYTES = 1_000_000


@contextmanager
def first_rows(file: SourceFile, folder: Path, *, is_text: bool) -> Iterator[str]:
    """Yield the path of a file of the first rows, made in `folder`; a Parquet file's own, of which only the needed is read.

    A SnapshotError of the block names the file itself.
    """
    if not is_text:
        yield file.path
        return
    with open_bytes(file) as raw, damage_named(file.path):
        beginning = _beginning(unpacked(raw, file.size, file.path) or raw)
    path = folder / f"{uuid.uuid4().hex}.beginning"
    path.write_bytes(beginning)
    try:
        yield str(path)
    except SnapshotError as error:
        raise SnapshotError(str(error).replace(str(path), file.path)) from None
    finally:
        path.unlink()


def _beginning(stream: Stream) -> bytes:
    """The first rows, whole ones."""
    text = b""
    while len(text) <= SAMPLE_BYTES and (piece := stream.read(SAMPLE_BYTES)):
        text += piece
    if len(text) <= SAMPLE_BYTES:
        return text
    if (encoding := utf16_of(text[:LOOKED_AT_BYTES])) is not None:
        # A line break is two bytes there, and each of them may be half of another sign.
        text = text.decode(encoding, "ignore").encode()
    end = text.rfind(b"\n") + 1
    quotes = text.count(b'"', 0, end)
    while end and quotes % 2:  # inside a cell of several lines
        before, end = end, text.rfind(b"\n", 0, end - 1) + 1
        quotes -= text.count(b'"', end, before)
    return text[:end] or text
