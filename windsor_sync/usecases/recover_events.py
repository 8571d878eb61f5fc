"""Brings the forwarding of events back when a file that it stands on is lost or damaged."""

from dataclasses import dataclass
from datetime import UTC, datetime

from windsor_sync.domain.run import Run, RunState
from windsor_sync.persons.merges import Merges
from windsor_sync.state.archive_files import unread
from windsor_sync.state.audiences import EVENTS
from windsor_sync.state.audit_log import trail
from windsor_sync.state.database import Transaction
from windsor_sync.state.ledger import Head
from windsor_sync.state.runs import drop_outbox, history, keep_options
from windsor_sync.state.stored_files import StoredFiles, strike
from windsor_sync.usecases.learn_merges import rebuild
from windsor_sync.usecases.workspace import Workspace

KIND = "recover"


@dataclass(frozen=True, slots=True)
class Recovered:
    """The files that are read again, or forgotten."""

    files: int
    """of the archive: their messages are sent again, those that Windsor has had too, under the same messageIds"""
    windows: int
    """lists of messageIds that are lost: what they name is sent again, should its archive file be rewritten"""
    merges: int | None = None
    """ids whose merges were found again in outboxes, where a file of merges was lost; None where none was"""


def recover_events(workspace: Workspace, who: str, reason: str | None) -> Recovered:
    """Make the next forwarding read again the archive files whose messages a lost outbox owed, and find lost merges again.

    Safe to repeat. Merges are read from the files that are left, and from the outboxes that are kept.
    Raises LeaseHeld while a forwarding is going on.
    """
    known = workspace.registry.events()
    assert known.audience_id is not None
    with workspace.hold(EVENTS, f"recover by {who}") as lease:
        past = history(workspace.database, known.audience_id, limit=1_000_000)
        head = workspace.ledger.head(known.audience_id)
        lost = _owed_by(past) if head is not None and _is_lost(workspace.stored, head) else []
        windows = [run for run in past if run not in lost and _window_is_lost(workspace.stored, run)]
        with workspace.database.write() as connection:
            lease.fence(connection)
            files = sum(_read_again(connection, run) for run in lost)
            for run in windows:
                _without_window(connection, run)
            if files or windows:
                trail(
                    connection, who=who, what="recover", subject=EVENTS, why=reason, files=files, windows=len(windows)
                )
        merges = None if _merges_are_whole(workspace.stored, workspace.merges) else rebuild(workspace)
    return Recovered(files, len(windows), merges)


def _merges_are_whole(stored: StoredFiles, merges: Merges) -> bool:
    return all(stored.is_whole(path) for path in merges.known().paths)


def _is_lost(stored: StoredFiles, head: Head) -> bool:
    return head.outbox_path is not None and not head.is_settled and not stored.is_whole(head.outbox_path)


def _owed_by(past: list[Run]) -> list[Run]:
    """The newest run and, before it, those whose messages it may have carried over."""
    found = past[:1]
    for run in past[1:]:
        if run.finished_at is not None and not run.books.owed + run.books.withheld:
            break
        found.append(run)
    return found


def _window_is_lost(stored: StoredFiles, run: Run) -> bool:
    return bool(run.options.get("seen")) and not stored.is_whole(run.options["seen"])


def _read_again(connection: Transaction, run: Run) -> int:
    """Make the run's archive files unread, and let the run owe nothing."""
    files = unread(connection, run.run_id)
    _without_window(connection, run)
    if run.outbox is not None:
        strike(connection, run.outbox)
    closed = {} if run.finished_at else {"finished_at": datetime.now(UTC), "owed": run.books.changes}
    sentence = "Its outbox was lost; the archive files of its messages are read again."
    drop_outbox(connection, run.run_id, state=RunState.FAILED.value, sentence=sentence, **closed)
    return files


def _without_window(connection: Transaction, run: Run) -> None:
    seen = run.options.get("seen")
    if seen:
        strike(connection, seen)
        keep_options(connection, run.run_id, {name: value for name, value in run.options.items() if name != "seen"})
