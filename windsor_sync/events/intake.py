"""Takes files of the archive in: every line ends in exactly one bucket, and what is for Windsor in an ordered outbox."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from windsor_sync.errors import WindsorSyncError
from windsor_sync.events.archive import ArchiveFile
from windsor_sync.events.sealing import Seal, seal_events
from windsor_sync.events.workers import sort_files
from windsor_sync.segment.routing import Routing
from windsor_sync.state.ledger import Head
from windsor_sync.storage.scratch import scratch_folder


@dataclass(frozen=True, slots=True)
class IntakeTask:
    """The input of an intake, and the run it is for."""

    archive: str
    """folder or URL"""
    files: Sequence[ArchiveFile]
    """in the order of the archive: of a message that comes twice the first one is kept"""
    routing: Routing
    holds_alias: bool
    """new alias messages wait for a person"""
    releases_alias: bool
    """a person lets those go that waited so far"""
    seen: Sequence[str]
    """locations of the messageIds of earlier runs"""
    previous: Head | None
    """the last run: what it owes is carried over"""
    number: int
    """of this run"""
    stamp: Callable[[str], str] = lambda _: ""
    """see `sealing.Seal`"""


class UncountedLinesError(WindsorSyncError):
    """A line ended in no bucket, or in two."""


@dataclass(frozen=True, slots=True)
class Intake:
    """The outcome of every line of an intake."""

    received: int
    """lines read; blank ones are none"""
    carried: int
    """messages that earlier runs owe"""
    failed_on_ingest: dict[str, int]
    """by code: no message at all, or one that Segment would refuse"""
    filtered: dict[str, int]
    """by code: not for Windsor"""
    duplicates: int
    held: int
    """of the rows: what waits for a person"""
    rows: int
    """of the outbox"""
    lines: dict[str, int]
    """received, by the file's path"""
    malformed: dict[str, int]
    """of these: no message at all"""

    @property
    def unreadable(self) -> list[str]:
        """The files of which no line is a message."""
        return [path for path, lines in self.lines.items() if lines and self.malformed[path] == lines]

    def check(self) -> None:
        """Raise UncountedLinesError unless every line is in exactly one bucket."""
        failed, filtered = sum(self.failed_on_ingest.values()), sum(self.filtered.values())
        if self.received + self.carried != failed + filtered + self.duplicates + self.rows:
            raise UncountedLinesError(
                f"The intake does not add up: {self.received:,} lines read and {self.carried:,} messages carried over are not "
                f"{failed:,} failed, {filtered:,} filtered, {self.duplicates:,} duplicates and {self.rows:,} to be sent. "
                "Nothing was sent, and the files count as unread. Report it, and run it again."
            )


@dataclass(slots=True)
class _Count:
    """The counts of an intake so far."""

    files: int = 0
    kept: int = 0
    lines: Counter[int] = field(default_factory=Counter)
    malformed: Counter[int] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    filtered: Counter[str] = field(default_factory=Counter)


def take_in(
    task: IntakeTask,
    *,
    outbox: Path,
    seen: Path,
    aside: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> Intake:
    """Read the files and write what came of them to the three paths.

    `outbox`, an empty folder, gets the messages, those carried over included, in the order of their timestamps: Parquet
    files named in that order, none when there is no message. `seen` gets their messageIds, `aside` file, line and code of
    each line that failed. `on_progress` hears the lines and files done so far. Memory is bounded, whatever the files hold.
    Raises WindsorSyncError when a file is out of reach; then nothing counts as read.
    """
    with scratch_folder(outbox.parent) as folder:  # on the disk of the drafts, and within them
        count = _sort(task, folder, on_progress)
        sealed = seal_events(
            Seal(
                parts=folder,
                files=[file.path for file in task.files],
                holds_alias=task.holds_alias,
                releases_alias=task.releases_alias,
                seen=task.seen,
                previous=task.previous,
                number=task.number,
                stamp=task.stamp,
            ),
            outbox,
            seen,
            aside,
        )
    return Intake(
        received=count.lines.total(),
        carried=sealed.carried,
        failed_on_ingest=dict(count.failed),
        filtered=dict(count.filtered),
        duplicates=sealed.duplicates,
        held=sealed.held,
        rows=sealed.rows,
        lines={file.path: count.lines[index] for index, file in enumerate(task.files)},
        malformed={file.path: count.malformed[index] for index, file in enumerate(task.files)},
    )


def _sort(task: IntakeTask, folder: Path, on_progress: Callable[[int, int], None] | None) -> _Count:
    count = _Count()
    # Closed at once, so that its processes are gone when Ctrl-C ends us.
    with closing(sort_files(task.archive, task.files, task.routing, folder)) as tallies:
        for tally in tallies:
            count.files += tally.is_last
            count.lines[tally.file] += tally.lines
            count.malformed[tally.file] += tally.malformed
            count.failed.update(tally.failed)
            count.filtered.update(tally.filtered)
            if on_progress:
                on_progress(count.lines.total(), count.files)
    return count
