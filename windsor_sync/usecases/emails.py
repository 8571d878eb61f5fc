"""Finds the e-mails that an audience's own snapshot lacks, and counts the members who have none anywhere."""

from pathlib import Path

from windsor_sync.diff.emails import borrow_emails, count_without, lacks_emails
from windsor_sync.diff.task import DiffTask
from windsor_sync.settings import Computation
from windsor_sync.settings.choices import EmailsFrom
from windsor_sync.state.database import Database
from windsor_sync.state.runs import run_of
from windsor_sync.state.snapshots import told_paths
from windsor_sync.usecases.orphans import entries_by_id
from windsor_sync.usecases.workspace import Workspace


def lenders(workspace: Workspace, computation: Computation) -> tuple[str, ...]:
    """Return the locations of the snapshots whose e-mails the audience may use, the newest first.

    These are the snapshots that the newest runs of all enabled audiences and computed traits in windsor.yaml have. A file that
    is lost or damaged is left out: the sync of its own audience says so.
    """
    if (computation.emails_from or workspace.database.emails_from()) != EmailsFrom.ALL:
        return ()
    synced = entries_by_id(workspace.settings, workspace.registry.known())
    told = told_paths(workspace.database, workspace.settings.destination.name)
    paths = [path for audience_id, path in told if audience_id in synced]
    return tuple(workspace.files.location(path) for path in dict.fromkeys(paths) if workspace.stored.is_whole(path))


def add_emails(workspace: Workspace, computation: Computation, task: DiffTask, draft: Path) -> int:
    """Borrow e-mails for the changes in `draft`; returns how many members have no e-mail at all."""
    without = count_without(task.snapshot, (), task.merges)
    wants = lacks_emails(draft)
    found = lenders(workspace, computation) if without or wants else ()
    if found and wants:
        first = (task.snapshot,) if any(task.merges) else ()  # a person may have several rows in it
        borrow_emails(draft, (*first, *found), task.merges, emails=computation.emails, stamp=task.stamp)
    return count_without(task.snapshot, found, task.merges) if found and without else without


def last_count(database: Database, run_id: str) -> int:
    """Return how many members of an earlier run have no e-mail; 0 where an older version did not count them."""
    run = run_of(database, run_id)
    return int(run.options.get("without_email", 0)) if run else 0
