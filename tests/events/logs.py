"""A raw archive in a folder, and intakes of it."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import duckdb

from windsor_sync.domain.progress import ShardProgress
from windsor_sync.events.archive import ArchiveFile, list_files
from windsor_sync.events.intake import Intake, IntakeTask, take_in
from windsor_sync.segment.routing import Routing
from windsor_sync.state.ledger import Head, RowVerdict, Verdict

DAY = datetime(2025, 6, 1, tzinfo=UTC)
DAY_FOLDER = str(int(DAY.timestamp() * 1000))


def track(message_id: str, user: str = "u-1", second: int = 0, **fields: Any) -> dict[str, Any]:
    stamp = f"2025-06-01T00:{second // 60:02d}:{second % 60:02d}.000Z"
    return {
        "type": "track", "event": "E", "userId": user, "messageId": message_id, "timestamp": stamp, **fields
    }  # fmt: skip


@dataclass
class Done:
    """An intake and where its files are."""

    intake: Intake
    outbox: Path
    seen: Path
    aside: Path

    @property
    def files(self) -> list[str]:
        """What a reader of the outbox is given."""
        return sorted(map(str, self.outbox.iterdir()))

    def rows(self, columns: str = "message_id") -> list[Any]:
        found = (
            select(f"{self.outbox}/*.parquet", f"SELECT {columns} FROM file ORDER BY seq") if self.intake.rows else []
        )
        return [row[0] if len(row) == 1 else row for row in found]

    def lines_aside(self) -> list[Any]:
        return select(self.aside, "SELECT file, line, code FROM file")


def select(path: Path | str, query: str) -> list[Any]:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW file AS SELECT * FROM read_parquet('{path}')")
        return connection.execute(query).fetchall()


@dataclass
class Logs:
    """Writes files, and takes in those that are new."""

    folder: Path
    read: list[ArchiveFile] = field(default_factory=list)
    runs: list[Done] = field(default_factory=list)
    _numbers: Any = field(default_factory=count)

    @property
    def root(self) -> Path:
        path = self.folder / "segment-logs"
        path.mkdir(exist_ok=True)
        return path

    def write(self, *lines: Any, day: str = DAY_FOLDER, name: str | None = None) -> str:
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        return self.put(gzip.compress(text.encode("utf-8", "surrogateescape")), day, name)

    def put(self, content: bytes, day: str = DAY_FOLDER, name: str | None = None) -> str:
        path = self.root / "src" / day / (name or f"{next(self._numbers):06d}.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path.relative_to(self.root))

    def take_in(self, previous: Head | None = None, seen: Sequence[Done] | None = None, **task: Any) -> Done:
        """Take in what is new; earlier runs are in the window unless `seen` says which are."""
        files = [file for file in list_files(str(self.root), None) if file not in self.read]
        number = len(self.runs) + 1
        done = Done(None, *(self.folder / f"{kind}-{number}" for kind in ("outbox", "seen", "aside")))  # type: ignore[arg-type]
        done.outbox.mkdir()
        setting = IntakeTask(
            archive=str(self.root),
            files=files,
            routing=task.pop("routing", Routing()),
            holds_alias=task.pop("holds_alias", False),
            releases_alias=task.pop("releases_alias", False),
            seen=[str(run.seen) for run in (self.runs if seen is None else seen)],
            previous=previous,
            number=number,
        )
        done.intake = take_in(setting, outbox=done.outbox, seen=done.seen, aside=done.aside, **task)
        done.intake.check()
        self.read += files
        self.runs.append(done)
        return done


def head(done: Done, position: int = 0, reach: int | None = None, **verdicts: Verdict) -> Head:
    """The ledger after a delivery of the run that got as far as `position`; verdicts by row, as row_3=…"""
    rows = done.intake.rows
    return Head(
        run_id="r",
        number=1,
        snapshot_id=None,
        snapshot=None,
        checksum=None,
        taken_at=None,
        members=0,
        outbox=str(done.outbox) if rows else None,
        held=(),
        is_settled=False,
        parts=tuple(done.files),
        shards=(ShardProgress(0, 0, rows, position, position if reach is None else reach),),
        verdicts=tuple(
            RowVerdict(int(name.removeprefix("row_")), verdict, in_doubt=False, answered_at=DAY)
            for name, verdict in verdicts.items()
        ),
    )
