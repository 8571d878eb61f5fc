"""Engines that are used again: DuckDB takes longer to start than a small run takes to read its files.

While a workspace is open, an engine whose block has ended stays for the next one. It holds nothing: its spilled files, its
tables and what it remembers of files are gone, and one of which that is not certain is closed.
"""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import duckdb

from windsor_sync.storage.scratch import inside

MOST_IDLE = 2
"""Engines that wait for their next use, in one process: a run reads one stored file while it writes another."""

_BEFORE_USE = "SET TimeZone = 'UTC'; SET enable_progress_bar_print = false"
"""Settings of a connection; the engine draws a bar on standard output where it takes us for a notebook."""

_AFTER_USE = "RESET preserve_insertion_order; SET enable_external_file_cache = false; RESET enable_external_file_cache"
"""Sets the engine back, and takes away the parts of stored files that it remembers."""

_LEFT = """
    SELECT 1 FROM duckdb_tables() WHERE NOT internal UNION ALL
    SELECT 1 FROM duckdb_views() WHERE NOT internal UNION ALL
    SELECT 1 WHERE current_setting('threads') <> ?
    LIMIT 1
"""
"""Finds what a connection left in the engine: tables and views that are not temporary, and another number of threads."""

MOST_GROWN_BYTES = 64 * 1024 * 1024
"""By how much the process may grow while an engine is used. The engine keeps such memory; only its end gives it back."""

CHANGEABLE = (
    "threads",
    "preserve_insertion_order",
    "enable_external_file_cache",
    "TimeZone",
    "enable_progress_bar_print",
)
"""What our own statements change; nothing else can be changed in an engine."""


def _memory_bytes() -> int | None:
    """Return what this process has in memory; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * resource.getpagesize()


class Reaches(NamedTuple):
    """The places that an engine was made to use."""

    temporary: str
    """the folder"""
    stores: tuple[int, ...]
    """which file systems of object stores"""
    paths: tuple[str, ...]
    """local files and folders, and the schemes of those stores"""


@dataclass(frozen=True, slots=True)
class KeptEngine:
    """A running engine, and the scratch folder into which it spills: it is there only while the engine is used."""

    database: duckdb.DuckDBPyConnection
    scratch: Path
    reaches: Reaches
    threads: int
    """as it began"""

    memory_bytes: int | None = field(default_factory=_memory_bytes)
    """of the process, before it began; None where that cannot be told"""

    @contextmanager
    def connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Return a connection with temporary tables and views of its own."""
        with self.database.cursor() as connection:
            connection.execute(_BEFORE_USE)
            yield connection

    def holds_nothing(self) -> bool:
        """Let go of everything; tell whether that is certain."""
        if any(inside(self.scratch).iterdir()) or self._has_grown():
            return False
        with self.database.cursor() as connection:
            connection.execute(_AFTER_USE)
            return connection.execute(_LEFT, [self.threads]).fetchone() is None

    def _has_grown(self) -> bool:
        now = _memory_bytes()
        return now is None or self.memory_bytes is None or now - self.memory_bytes > MOST_GROWN_BYTES


_lock = Lock()
_idle: list[KeptEngine] = []
_keepers = 0


@contextmanager
def engines_kept() -> Iterator[None]:
    """Let engines be used again until this block ends, in every thread of the process."""
    global _keepers
    with _lock:
        _keepers += 1
    try:
        yield
    finally:
        with _lock:
            _keepers -= 1
            is_last = _keepers == 0
        if is_last:
            close_idle()


def take(reaches: Reaches) -> KeptEngine | None:
    """Return an engine that waits and reaches the same places; None when there is none."""
    with _lock:
        fitting = (engine for engine in _idle if engine.reaches == reaches and not engine.scratch.exists())
        found = next(fitting, None)
        if found is not None:
            _idle.remove(found)
    return found


def give_back(engine: KeptEngine) -> None:
    """Keep an engine that holds nothing, or close it; of too many, close the one that has waited longest.

    That one may reach places that nobody uses any more.
    """
    with _lock:
        _idle.append(engine)
        most = MOST_IDLE if _keepers else 0
        too_many = _idle[: max(len(_idle) - most, 0)]
        del _idle[: len(too_many)]
    for each in too_many:
        each.database.close()


def close_idle() -> None:
    """Close every engine that waits."""
    with _lock:
        closing = _idle[:]
        _idle.clear()
    for engine in closing:
        with suppress(duckdb.Error):
            engine.database.close()


def _forget_keepers() -> None:
    """Keep no engine in a forked process: it ends where it likes."""
    global _keepers, _lock
    _lock = Lock()
    _keepers = 0


if hasattr(os, "register_at_fork"):  # the threads of an engine do not live on in a fork
    os.register_at_fork(before=close_idle, after_in_child=_forget_keepers)
