"""The files of the raw archive that were read, and the run that has their messages."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from windsor_sync.state.database import Database, StateRow, Transaction
from windsor_sync.state.tables import archive_files


def files_read(database: Database, audience_id: int) -> dict[str, StateRow]:
    """Return the files that were read for a destination's events, by path."""
    with database.read() as connection:
        rows = connection.execute(select(archive_files).where(archive_files.c.audience_id == audience_id))
        return {row.path: row for row in rows}


def enter_files_read(
    connection: Transaction, audience_id: int, run_id: str, files: Sequence[Mapping[str, Any]], at: datetime
) -> None:
    """Make files count as read from this commit on; each has path, fingerprint, size_bytes and lines."""
    paths = [file["path"] for file in files]
    for start in range(0, len(paths), 500):
        here = archive_files.c.audience_id == audience_id, archive_files.c.path.in_(paths[start : start + 500])
        connection.execute(delete(archive_files).where(*here))
    if files:
        owner = {"audience_id": audience_id, "run_id": run_id, "read_at": at}
        connection.execute(insert(archive_files), [{**file, **owner} for file in files])


def note_rewritten(connection: Transaction, audience_id: int, path: str, **facts: Any) -> None:
    """Record what a file is now; when it was read stays as it is."""
    here = archive_files.c.audience_id == audience_id, archive_files.c.path == path
    connection.execute(update(archive_files).where(*here).values(**facts))


def unread(connection: Transaction, run_id: str) -> int:
    """Make the files of a run unread; returns how many there were."""
    here = archive_files.c.run_id == run_id
    files = connection.execute(select(func.count()).select_from(archive_files).where(here)).scalar_one()
    connection.execute(delete(archive_files).where(here))
    return int(files)
