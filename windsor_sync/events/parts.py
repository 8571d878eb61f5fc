"""Reads files of the archive and writes what is for Windsor, unordered, as Parquet parts of a few megabytes.

It keeps no more than one part in memory, and may run beside others of its kind: each writes parts of its own name.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import duckdb

from windsor_sync.events.archive import ArchiveFile, read_lines
from windsor_sync.events.reading import Event, Malformed, Outcome, read_event
from windsor_sync.segment.routing import Filtered, Routing
from windsor_sync.sources.archive_text import UnreadableLine
from windsor_sync.storage.duckdb_engine import LOCKED, lock, quoted, stored_files

PART_ROWS = 32_768
PART_CHARACTERS = 24 * 1024 * 1024
_ENGINE: dict[str, Any] = {
    "threads": 1,
    "memory_limit": "150MB",  # a few times a part
    "pandas_analyze_sample": 0,  # text is text, however many rows in front have none
}

LINES_PER_FILE = 1 << 40
"""A line's place in the archive is one number: the file's, times this, and the line's."""

KEPT = {"ordinal": "BIGINT", "moment_us": "BIGINT", **dict.fromkeys(Event._fields[:-1], "VARCHAR")}
ASIDE = {"ordinal": "BIGINT", "code": "VARCHAR"}


@dataclass(slots=True)
class EventTally:
    """Counts of some lines of a file by outcome."""

    file: int
    """which one, in the order of the archive"""
    lines: int = 0
    """that are not blank"""
    kept: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    malformed: int = 0
    """of those that failed: no message at all"""
    filtered: Counter[str] = field(default_factory=Counter)
    is_last: bool = False
    """the file is done"""


class Sorter:
    """Puts each line of the files it is given into its bucket; used in one thread, and closed when all are read."""

    def __init__(self, archive: str, routing: Routing, folder: Path, name: str) -> None:
        self._archive = archive
        self._routing = routing
        self._folder = folder
        self._name = name
        self._parts = 0
        self._kept: list[tuple[Any, ...]] = []
        self._aside: list[tuple[Any, ...]] = []
        self._characters = 0
        self._engine = duckdb.connect(config={**_ENGINE, **LOCKED})
        lock(self._engine, str(folder))

    def sort(self, index: int, file: ArchiveFile) -> Iterator[EventTally]:
        """Read a file to its end; yields what became of its lines, some at a time."""
        number = index * LINES_PER_FILE
        moment_us = _midnight_us(file)
        for lines in read_lines(self._archive, file):
            tally = EventTally(index)
            moment_us = self._take(lines, number, moment_us, tally)
            number += len(lines)
            if self._is_full():
                self._flush()
            yield tally
        yield EventTally(index, is_last=True)

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        self._engine.close()

    def _take(self, lines: Sequence[bytes | UnreadableLine], number: int, moment_us: int, tally: EventTally) -> int:
        """Put the lines after the `number`-th into their buckets; returns the time of the last one that has one."""
        routing, kept = self._routing, self._kept
        outcome: Outcome | UnreadableLine
        for ordinal, line in enumerate(lines, number + 1):
            if not isinstance(line, bytes):
                outcome = line
            elif text := line.strip():
                outcome = read_event(text, routing)
            else:
                continue
            tally.lines += 1
            if isinstance(outcome, Event):
                if outcome[-1] is not None:
                    moment_us = outcome[-1]
                kept.append((ordinal, moment_us, *outcome[:-1]))
                self._characters += len(outcome[0])
                tally.kept += 1
            elif isinstance(outcome, Filtered):
                tally.filtered[outcome.value] += 1
            else:
                tally.failed[outcome.value] += 1
                tally.malformed += isinstance(outcome, Malformed | UnreadableLine)
                self._aside.append((ordinal, outcome.value))
        return moment_us

    def _is_full(self) -> bool:
        return len(self._kept) + len(self._aside) >= PART_ROWS or self._characters >= PART_CHARACTERS

    def _flush(self) -> None:
        for kind, columns, rows in (("kept", KEPT, self._kept), ("aside", ASIDE, self._aside)):
            if rows:
                self._write(kind, columns, rows)
                rows.clear()
        self._parts += 1
        self._characters = 0

    def _write(self, kind: str, columns: dict[str, str], rows: Sequence[tuple[Any, ...]]) -> None:
        part = dict(zip(columns, map(_column, columns.values(), zip(*rows, strict=True)), strict=True))
        path = self._folder / f"{kind}-{self._name}-{self._parts}.parquet"
        self._engine.register("part", part)
        select = ", ".join(f"CAST({name} AS {sql_type}) AS {name}" for name, sql_type in columns.items())
        with stored_files():
            self._engine.execute(
                f"COPY (SELECT {select} FROM part) TO {quoted(str(path))} (FORMAT parquet, COMPRESSION lz4)"
            )
        self._engine.unregister("part")


def _column(sql_type: str, values: tuple[Any, ...]) -> Any:
    import numpy as np  # commands that read no archive need none

    if sql_type == "BIGINT":
        return np.array(values, dtype=np.int64)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _midnight_us(file: ArchiveFile) -> int:
    """Return the time for a message that has none, and has no message with a time before it in its file."""
    if file.day is None:
        return 0
    return int(datetime.combine(file.day, time(), UTC).timestamp()) * 1_000_000
