"""Lets go of what is old: outboxes and verdicts of runs long past, sealed snapshots but the newest, files nobody owns.

Never touched are an audience's newest run with its files, which are what Windsor was told, and the counts of any run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from windsor_sync.errors import LeaseHeld
from windsor_sync.segment.trait_keys import TraitKey
from windsor_sync.state.audiences import EVENTS_CLASS
from windsor_sync.state.leases import Lease
from windsor_sync.state.stored_files import FOLDERS_OF_PEOPLE, installation_mark, strike
from windsor_sync.state.tables import audiences, merges, progress, runs, snapshots, stored_files, stretches, verdicts
from windsor_sync.usecases.seal import RECENT
from windsor_sync.usecases.workspace import Workspace

KEPT_DAYS = 90
"""How long outboxes, verdicts and lists of refused lines are kept, unless told otherwise."""

SNAPSHOTS_KEPT = RECENT
"""Of each audience."""

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
    for row in workspace.registry.everything():
        try:
            with workspace.hold(TraitKey(row.trait_key), "state prune") as lease:
                _prune_one(workspace, row, lease, now - timedelta(days=kept_days), done, dry_run=dry_run)
        except LeaseHeld:
            done.busy += 1
    _remove_ownerless(workspace, now - OWNERLESS_AFTER, done, dry_run=dry_run)
    return done


def _prune_one(
    workspace: Workspace, row: Row[tuple[object, ...]], lease: Lease, before: datetime, done: Pruned, *, dry_run: bool
) -> None:
    old = list(_old_runs(workspace, row, before))
    spare = [] if row.computation_class == EVENTS_CLASS else _spare_snapshots(workspace, row)
    gone = [path for run in old for path in run.paths] + spare
    parts = {path: workspace.stored.parts(path) for path in gone}
    if not dry_run:
        with workspace.database.write() as connection:
            lease.fence(connection)
            for path in gone:
                strike(connection, path)
            for run in old:
                connection.execute(delete(verdicts).where(verdicts.c.run_id == run.run_id))
                connection.execute(delete(stretches).where(stretches.c.run_id == run.run_id))
                connection.execute(delete(progress).where(progress.c.run_id == run.run_id))
                connection.execute(
                    update(runs).where(runs.c.id == run.run_id).values(outbox=None, options=run.options_left)
                )
    done.runs += len(old)
    done.snapshots += len(spare)
    for path in gone:
        _remove(workspace, path, parts[path], done, dry_run=dry_run)


@dataclass(frozen=True, slots=True)
class _OldRun:
    run_id: str
    paths: tuple[str, ...]
    options_left: dict[str, Any]


def _old_runs(workspace: Workspace, row: Row[tuple[object, ...]], before: datetime) -> Iterator[_OldRun]:
    """Finished runs that still have files, but for the newest run; messageIds stay as long as the window lasts."""
    events = workspace.settings.events
    window_from = datetime.now(UTC) - timedelta(days=events.dedupe_days) if events else before
    query = select(runs.c.id, runs.c.outbox, runs.c.options, runs.c.started_at).where(
        runs.c.audience_id == row.id, runs.c.finished_at < before, runs.c.id != row.head_run
    )
    with workspace.database.read() as connection:
        found = list(connection.execute(query))
    for run in found:
        gone = [name for name in ("aside", "seen") if name in run.options]
        if run.started_at >= window_from:
            gone = [name for name in gone if name != "seen"]
        paths = [run.outbox] if run.outbox else []
        paths += [run.options[name] for name in gone]
        if paths:
            left = {name: value for name, value in run.options.items() if name not in gone}
            yield _OldRun(run.id, tuple(paths), left)


def _spare_snapshots(workspace: Workspace, row: Row[tuple[object, ...]]) -> list[str]:
    """Sealed files that are neither recent nor what Windsor was told, for this audience and any other that names them.

    An older version let audiences of two destinations share a file.
    """
    query = select(snapshots.c.path).where(snapshots.c.audience_id == row.id).order_by(snapshots.c.id.desc())
    with workspace.database.read() as connection:
        paths = list(dict.fromkeys(connection.execute(query).scalars()))
        kept = {path for audience_id in _owners(connection, paths) for path in _kept(connection, audience_id)}
    return [path for path in paths if path not in kept and workspace.files.exists(path)]


def _owners(connection: Connection, paths: Sequence[str]) -> set[int]:
    """The audiences whose snapshots name one of the files."""
    return {
        audience_id
        for start in range(0, len(paths), 500)
        for audience_id in connection.execute(
            select(snapshots.c.audience_id).where(snapshots.c.path.in_(paths[start : start + 500])).distinct()
        ).scalars()
    }


def _kept(connection: Connection, audience_id: int) -> set[str]:
    """The snapshots that an audience keeps: the newest, those sealed within a day, and what Windsor was told."""
    here = snapshots.c.audience_id == audience_id
    newest = select(snapshots.c.path).where(here).order_by(snapshots.c.id.desc()).limit(SNAPSHOTS_KEPT)
    recent = select(snapshots.c.path).where(here, snapshots.c.sealed_at > datetime.now(UTC) - OWNERLESS_AFTER)
    told = (
        select(snapshots.c.path)
        .join(runs, runs.c.snapshot_id == snapshots.c.id)
        .join(audiences, audiences.c.head_run == runs.c.id)
        .where(audiences.c.id == audience_id)
    )
    return {path for query in (newest, recent, told) for path in connection.execute(query).scalars()}


def _remove_ownerless(workspace: Workspace, before: datetime, done: Pruned, *, dry_run: bool) -> None:
    """Of this installation only: what another one stored here is not named by this state either."""
    if _is_ledger_lost(workspace):  # a recovery reads who was told true from files that the state does not name
        return
    owned = set(_owned(workspace))
    mark = f"/{installation_mark(workspace.database.installation())}-"
    for kind in KINDS:
        for stored in list(workspace.files.stored(kind)):
            is_ours = mark in stored.path and stored.path not in owned
            if is_ours and stored.modified_at < before:
                done.ownerless += 1
                _remove(workspace, stored.path, [stored.path], done, dry_run=dry_run)


def _is_ledger_lost(workspace: Workspace) -> bool:
    """Whether the state is older than its files, or was, and an audience has not been recovered yet."""
    query = select(audiences.c.id).where(audiences.c.ledger_lost_at.is_not(None)).limit(1)
    with workspace.database.read() as connection:
        is_lost = connection.execute(query).first() is not None
    return is_lost or bool(workspace.marks.behind())


def _owned(workspace: Workspace) -> Iterator[str]:
    """Every path that the state names, whatever destination it belongs to."""
    with workspace.database.read() as connection:
        yield from connection.execute(select(stored_files.c.path)).scalars()
        yield from connection.execute(select(snapshots.c.path)).scalars()
        for row in connection.execute(select(merges.c.base, merges.c.recent)):
            yield from filter(None, row)
        for outbox, options in connection.execute(select(runs.c.outbox, runs.c.options).join(audiences)):
            yield from (path for path in (outbox, options.get("seen"), options.get("aside")) if path)


def _remove(workspace: Workspace, path: str, parts: Sequence[str], done: Pruned, *, dry_run: bool) -> None:
    found = [part for part in parts if workspace.files.exists(part)]
    done.files += len(found)
    done.bytes += sum(map(workspace.files.size_bytes, found))
    if not dry_run:
        workspace.files.delete(path)
