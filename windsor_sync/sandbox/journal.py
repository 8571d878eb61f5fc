"""The accepted messages in a SQLite file, so that a restarted sandbox shows the same users.

The messages are what is stored, and a start applies them again: users, feed and counters can then not disagree.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from windsor_sync.errors import ConfigError, WindsorSyncError
from windsor_sync.private import open_new

_APPLICATION_ID = 0x57534258  # "WSBX": tells our files from any other SQLite file

_TABLE = """
CREATE TABLE IF NOT EXISTS messages (
    seq INTEGER PRIMARY KEY,
    received_at REAL NOT NULL,  -- seconds since 1970
    message TEXT NOT NULL
)
"""


class SandboxJournal:
    """Messages noted in memory and written in batches; what was not flushed is lost with the process."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; raises ConfigError when it is somebody else's, damaged or in use."""
        self._path = path
        self._pending: list[tuple[float, dict[str, Any]]] = []
        self._note_lock = threading.Lock()
        self._write_lock = threading.Lock()
        try:
            self._connection = _open(path)
        except sqlite3.Error as error:
            raise ConfigError(
                f"The sandbox cannot use {path} as its state file ({error}). The file was left as it is and the "
                "sandbox did not start. Name another file, or end the sandbox that is using this one."
            ) from None

    def messages(self) -> Iterator[tuple[dict[str, Any], float]]:
        """Yield every message written so far with its time of arrival, in order of arrival."""
        rows = self._connection.execute("SELECT message, received_at FROM messages ORDER BY seq")
        return ((json.loads(message), received_at) for message, received_at in rows)

    def note(self, message: dict[str, Any], received_at: float) -> None:
        """Remember a message for the next flush."""
        with self._note_lock:
            self._pending.append((received_at, message))

    def flush(self) -> None:
        """Write what was noted, in one transaction; raises WindsorSyncError and keeps it when the disk refuses."""
        with self._write_lock:
            with self._note_lock:
                batch, self._pending = self._pending, []
            if not batch:
                return
            try:
                with self._connection:
                    self._connection.executemany(
                        "INSERT INTO messages (received_at, message) VALUES (?, ?)",
                        ((received_at, json.dumps(message)) for received_at, message in batch),
                    )
            except sqlite3.Error as error:
                with self._note_lock:
                    self._pending = batch + self._pending
                raise WindsorSyncError(
                    f"The sandbox could not write {len(batch)} messages to {self._path} ({error}). It keeps them in "
                    "memory and tries again every second. Make room, or make the file writable."
                ) from None

    def clear(self) -> None:
        """Forget every message, written or only noted."""
        with self._write_lock:
            with self._note_lock:
                self._pending = []
            with self._connection:
                self._connection.execute("DELETE FROM messages")

    def close(self) -> None:
        """Flush and let go of the file."""
        try:
            self.flush()
        finally:
            self._connection.close()


def _open(path: Path) -> sqlite3.Connection:
    with suppress(OSError):  # it exists, or SQLite says why it cannot be made
        open_new(path).close()
    connection = sqlite3.connect(path, timeout=0, check_same_thread=False)
    try:
        _claim(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _claim(connection: sqlite3.Connection) -> None:
    # Exclusive: a second sandbox on the same file would show users that the first one does not know.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id != _APPLICATION_ID and tables:
        raise sqlite3.DatabaseError("it belongs to another program")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(_TABLE)
    connection.commit()
