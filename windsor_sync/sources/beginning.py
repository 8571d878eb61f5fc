"""The first rows of a snapshot: enough to see whether it can be read as it is meant to be."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from windsor_sync.errors import SnapshotError
from windsor_sync.sources.encodings import LOOKED_AT_BYTES, utf16_of
from windsor_sync.sources.files import SourceFile, open_bytes
from windsor_sync.sources.looking import filesystem, is_local
from windsor_sync.sources.refusal import AGAIN, unusable
from windsor_sync.sources.unpacking import Stream, damage_named, unpacked
from windsor_sync.storage.duckdb_engine import open_duckdb, parquet, quoted

SAMPLE_BYTES = 1_000_000
FIRST_ROWS = 1_000
"""So many rows of a Parquet file in a store, or of the answer of a warehouse."""


@contextmanager
def first_rows(file: SourceFile, folder: Path, *, is_text: bool) -> Iterator[str]:
    """Yield the path of a file of the first rows, made in `folder`; of a Parquet file on this machine its own.

    A SnapshotError of the block names the file itself.
    """
    if not is_text and is_local(file):
        yield file.path
        return
    path = folder / f"{uuid.uuid4().hex}.beginning"
    if is_text:
        path.write_bytes(_first_text(file))
    else:
        _copy_first_rows(file, path)
    try:
        yield str(path)
    except SnapshotError as error:
        raise SnapshotError(str(error).replace(str(path), file.path)) from None
    finally:
        path.unlink()


def _first_text(file: SourceFile) -> bytes:
    with open_bytes(file) as raw, damage_named(file.path):
        return _beginning(unpacked(raw, file.size, file.path) or raw)


def _copy_first_rows(file: SourceFile, path: Path) -> None:
    """Copy the first rows of a Parquet file in a store; of the file itself only the parts that they need are read."""
    with open_duckdb(file.path, str(path.parent), store=filesystem(file.path)[0]) as connection:
        try:
            connection.execute(
                f"COPY (FROM {parquet(file.path)} LIMIT {FIRST_ROWS}) TO {quoted(str(path))} (FORMAT parquet)"
            )
        except duckdb.Error:
            raise unusable(f"{file.path} is no Parquet file, or it is cut short or damaged.", AGAIN) from None


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
