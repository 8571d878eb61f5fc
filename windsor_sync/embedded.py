"""The embedded engine: DuckDB with bounded memory, spilling into a temporary folder."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb

MEMORY_LIMIT_MB = 500
"""What DuckDB may hold before it spills to disk; the process adds about 150 MB of its own."""

_stores: dict[str, Any] = {}


def reach(store: Any) -> None:
    """Let every engine that is opened from now on read this fsspec file system by its URLs.

    DuckDB reads object stores through extensions, which it downloads when they are needed; this needs no download.
    """
    _stores[str(store.protocol)] = store


@contextmanager
def open_duckdb() -> Iterator[duckdb.DuckDBPyConnection]:
    """An engine of its own, gone with its spilled files when the block ends."""
    with tempfile.TemporaryDirectory(prefix="windsor-sync-") as spill, duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{MEMORY_LIMIT_MB}MB'")
        connection.execute(f"SET temp_directory = {quoted(spill)}")
        connection.execute("SET TimeZone = 'UTC'")
        for store in _stores.values():
            connection.register_filesystem(store)
        yield connection


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
