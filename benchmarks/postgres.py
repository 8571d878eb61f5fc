"""A PostgreSQL server of a benchmark's own, with the settings that its package comes with."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.postgres import Postgres

OPTIONS = "-c listen_addresses='' -c max_wal_size=8GB"
"""All else is as installed: 128 MB of shared buffers, 4 MB to sort in, a random page costs four times a sequential one."""


@contextmanager
def postgres_server() -> Iterator[str]:
    """Yield the URL of an empty database. The server and its files go afterwards."""
    with tempfile.TemporaryDirectory(prefix="windsor-sync-pg-", ignore_cleanup_errors=True) as name:
        server = Postgres(Path(name), OPTIONS)
        server.start()
        try:
            with server.nothing() as url:
                yield url
        finally:
            server.stop()
