"""Removes old outboxes and verdicts, sealed snapshots but the newest, and files that nobody owns.

An audience's newest run with its files, which are what Windsor was told, and the counts of every run are never touched.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from windsor_sync.errors import LeaseHeld
from windsor_sync.segment.trait_keys import TraitKey
from windsor_sync.settings import Settings
from windsor_sync.state.audiences import EVENTS_CLASS, everything_registered
from windsor_sync.state.database import Database, StateRow
from windsor_sync.state.leases import Lease
from windsor_sync.state.marks import Marks
from windsor_sync.state.runs import drop_outbox, finished_before
from windsor_sync.state.snapshots import spare_paths
from windsor_sync.state.stored_files import FOLDERS_OF_PEOPLE, installation_mark, owned_paths, strike
from windsor_sync.storage.file_store import FileStore
from windsor_sync.usecases.workspace import Workspace

KEPT_DAYS = 90
"""How long outboxes, verdicts and lists of refused lines are kept, unless told otherwise."""

OWNERLESS_AFTER = timedelta(days=1)
"""A stored file that no run and no snapshot names is what a killed process left behind, once it is this old."""

KINDS = (*FOLDERS_OF_PEOPLE, "seen", "aside")
"""Folders of the file store that are looked through."""


@dataclass(slots=True)
class Pruned:
    """The files and rows that were removed, or would be."""

    runs: int = 0
    """whose outbox and verdicts are gone; their counts stay"""
    snapshots: int = 0
    files: int = 0
    """all of them, those without an owner too"""
    ownerless: int = 0
    bytes: int = 0
    busy: int = 0
    """audiences left alone because a run was writing"""


def prune(workspace: Workspace, *, kept_days: int = KEPT_DAYS, dry_run: bool = False) -> Pruned:
    """Remove what is older than `kept_days`; safe to repeat and to interrupt."""
    now = datetime.now(UTC)
    done = Pruned()
    sealed = {stored.path for stored in workspace.files.stored("snapshots")}
    for row in workspace.registry.everything():
        try:
            with workspace.hold(TraitKey(row.trait_key), "state prune") as lease:
                _prune_one(workspace, row, lease, now - timedelta(days=kept_days), sealed, done, dry_run=dry_run)
        except LeaseHeld:
            done.busy += 1
    _remove_ownerless(workspace, now - OWNERLESS_AFTER, done, dry_run=dry_run)
    return done


def _prune_one(
    workspace: Workspace,
    row: StateRow,
    lease: Lease,
    before: datetime,
    sealed: Set[str],
    done: Pruned,
    *,
    dry_run: bool,
) -> None:
    """Remove one audience's old files. `sealed`: the snapshots in the store, because most that the state names are gone."""
    old = list(_old_runs(workspace.settings, workspace.database, row, before))
    is_audience = row.computation_class != EVENTS_CLASS
    until = datetime.now(UTC) - OWNERLESS_AFTER
    spare = spare_paths(workspace.database, row.id, until, sealed) if is_audience else []
    gone = [path for run in old for path in run.paths] + spare
    parts = {path: workspace.stored.parts(path) for path in gone}
    if not dry_run:
        with workspace.database.write() as connection:
            lease.fence(connection)
            for path in gone:
                strike(connection, path)
            for run in old:
                drop_outbox(connection, run.run_id, options=run.options_left)
    done.runs += len(old)
    done.snapshots += len(spare)
    for path in gone:
        _remove(workspace.files, path, parts[path], done, dry_run=dry_run)


@dataclass(frozen=True, slots=True)
class _OldRun:
    run_id: str
    paths: tuple[str, ...]
    options_left: dict[str, Any]


def _old_runs(settings: Settings, database: Database, row: StateRow, before: datetime) -> Iterator[_OldRun]:
    """Finished runs that still have files, but for the newest run; messageIds stay as long as the window lasts."""
    events = settings.events
    window_from = datetime.now(UTC) - timedelta(days=events.dedupe_days) if events else before
    for run in finished_before(database, row.id, before, but=row.head_run):
        gone = [name for name in ("aside", "seen") if name in run.options]
        if run.started_at >= window_from:
            gone = [name for name in gone if name != "seen"]
        paths = [run.outbox] if run.outbox else []
        paths += [run.options[name] for name in gone]
        if paths:
            left = {name: value for name, value in run.options.items() if name not in gone}
            yield _OldRun(run.id, tuple(paths), left)


def _remove_ownerless(workspace: Workspace, before: datetime, done: Pruned, *, dry_run: bool) -> None:
    """Remove files that nothing names, of this installation only: this state does not name files of another one either."""
    if _is_ledger_lost(
        workspace.database, workspace.marks
    ):  # a recovery reads who was told true from files that the state does not name
        return
    owned = set(owned_paths(workspace.database))
    mark = f"/{installation_mark(workspace.database.installation())}-"
    for kind in KINDS:
        for stored in list(workspace.files.stored(kind)):
            is_ours = mark in stored.path and stored.path not in owned
            if is_ours and stored.modified_at < before:
                done.ownerless += 1
                _remove(workspace.files, stored.path, [stored.path], done, dry_run=dry_run)


def _is_ledger_lost(database: Database, marks: Marks) -> bool:
    """Whether the state is older than its files, or was, and an audience has not been recovered yet."""
    is_lost = any(row.ledger_lost_at is not None for row in everything_registered(database))
    return is_lost or bool(marks.behind())


def _remove(files: FileStore, path: str, parts: Sequence[str], done: Pruned, *, dry_run: bool) -> None:
    found = [part for part in parts if files.exists(part)]
    done.files += len(found)
    done.bytes += sum(map(files.size_bytes, found))
    if not dry_run:
        files.delete(path)
