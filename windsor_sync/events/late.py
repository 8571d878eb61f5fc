"""Archive files that were rewritten after the messages they had were forgotten: how many of their lines are new.

Such a file is not read again: nobody knows any more which of its messages were sent. What is new in it is counted and named.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from windsor_sync.domain.labels import counted
from windsor_sync.errors import WindsorSyncError, harmless
from windsor_sync.events.archive import ArchiveFile, read_lines
from windsor_sync.state.archive_files import note_rewritten
from windsor_sync.state.database import Transaction

MAX_NAMED = 20
"""Files that a run names."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A file that is another one than when it was read, long ago."""

    file: ArchiveFile
    lines_before: int


@dataclass(frozen=True, slots=True)
class LateLines:
    """The new lines that were found in rewritten files."""

    looked_at: dict[ArchiveFile, int] = field(default_factory=dict)
    """the lines that each has now"""
    new: dict[str, int] = field(default_factory=dict)
    """by path: the lines it has more than when it was read; at least so many are new"""

    @property
    def as_json(self) -> dict[str, Any]:
        """Return the late lines as the runs table keeps them."""
        return {
            "lines": sum(self.new.values()),
            "files": sorted(self.new)[:MAX_NAMED],
            "number_of_files": len(self.new),
        }

    def record(self, connection: Transaction, audience_id: int) -> None:
        """Count each rewritten file once; when it was read stays as it is."""
        for file, lines in self.looked_at.items():
            facts = {"fingerprint": file.fingerprint, "size_bytes": file.size_bytes, "lines": lines}
            note_rewritten(connection, audience_id, file.path, **facts)


def late_lines(archive: str, rewritten: Sequence[Rewritten]) -> LateLines:
    """Count the lines of each file; one that cannot be read now is counted another time, and holds up nothing."""
    found = LateLines()
    for one in rewritten:
        try:
            lines = _lines(archive, one.file)
        except WindsorSyncError as error:
            _log.warning("%s was rewritten after its messages were forgotten. %s", harmless(one.file.path), error)
            continue
        found.looked_at[one.file] = lines
        if lines > one.lines_before:
            found.new[one.file.path] = lines - one.lines_before
    return found


def late_sentence(late: dict[str, Any], run_id: str) -> str:
    """Return a sentence about late lines with a remedy."""
    return (
        f" At least {counted(late['lines'], 'new line')} in {counted(late['number_of_files'], 'archive file')} were not sent: "
        "the file was rewritten after its messages were forgotten (`events.dedupe_days`). To send them, put these lines into a "
        f"file of a new name. `windsor-sync runs {run_id}` names the file."
    )


def _lines(archive: str, file: ArchiveFile) -> int:
    """Lines as an intake counts them: blank ones are none."""
    pieces = read_lines(archive, file)
    return sum(1 for piece in pieces for line in piece if not isinstance(line, bytes) or line.strip())
