"""The file store: immutable Parquet files below one folder or object-store URL (fsspec).

A file appears whole or not at all: it is written beside its place and renamed, or put in one request.
"""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem


class FileStore:
    """Files by their path below the store's root, such as `snapshots/vip/7/ab12.parquet`."""

    def __init__(self, root: str) -> None:
        self._fs, self._root = fsspec.core.url_to_fs(root)
        self.is_local = isinstance(self._fs, LocalFileSystem)

    def location(self, path: str) -> str:
        """Where a reader such as DuckDB finds the file: a local path, or a URL."""
        full = f"{self._root}/{path}"
        return full if self.is_local else str(self._fs.unstrip_protocol(full))

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """A local path to write to, which nobody else sees; gone when the block ends, unless it was kept."""
        folder = Path(f"{self._root}/drafts") if self.is_local else Path(tempfile.gettempdir())
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f"{uuid.uuid4().hex}.parquet"
        try:
            yield draft
        finally:
            draft.unlink(missing_ok=True)

    def keep(self, draft: Path, path: str) -> None:
        """Give a finished draft its place in the store, whole or not at all; a file that stands there is replaced."""
        if self.is_local:
            final = Path(self.location(path))
            final.parent.mkdir(parents=True, exist_ok=True)
            _sync_to_disk(draft)
            draft.replace(final)
            _sync_to_disk(final.parent)
        else:
            self._fs.put_file(str(draft), f"{self._root}/{path}")

    def exists(self, path: str) -> bool:
        """Whether the file is there."""
        return bool(self._fs.exists(f"{self._root}/{path}"))

    def size_bytes(self, path: str) -> int:
        """Its size; raises FileNotFoundError."""
        return int(self._fs.size(f"{self._root}/{path}"))

    def delete(self, path: str) -> None:
        """Remove the file; already gone is fine."""
        if self.exists(path):
            self._fs.rm_file(f"{self._root}/{path}")


def _sync_to_disk(path: Path) -> None:
    """Make a write survive a power cut before the state that names it is committed."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
