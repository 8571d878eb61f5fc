"""The sealed snapshots that the state knows: which file each is, when it was taken, and what it came to."""

from collections.abc import Collection, Mapping, Sequence, Set
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from windsor_sync.state.database import Database, StateRow, Transaction
from windsor_sync.state.stored_files import strike
from windsor_sync.state.tables import audiences, runs, snapshots

RECENT = 3
"""So many of an audience's newest sealed snapshots may be used again; `state prune` keeps as many."""

_TOLD = (
    select(snapshots)
    .join(runs, runs.c.snapshot_id == snapshots.c.id)
    .join(audiences, audiences.c.head_run == runs.c.id)
)
"""The snapshots that Windsor was told last."""


def enter_snapshot(connection: Transaction, values: Mapping[str, Any]) -> int:
    """Enter a sealed snapshot; returns its id."""
    created = connection.execute(insert(snapshots).values(**values))
    assert created.inserted_primary_key is not None
    return int(created.inserted_primary_key[0])


def snapshot_by_id(database: Database, snapshot_id: int) -> StateRow:
    """Return a snapshot that is known."""
    with database.read() as connection:
        return connection.execute(select(snapshots).where(snapshots.c.id == snapshot_id)).one()


def newest_sealed(database: Database, audience_id: int) -> StateRow | None:
    """Return the audience's newest snapshot."""
    query = select(snapshots).where(snapshots.c.audience_id == audience_id).order_by(snapshots.c.id.desc()).limit(1)
    with database.read() as connection:
        return connection.execute(query).one_or_none()


def told_snapshot(database: Database, audience_id: int) -> StateRow | None:
    """Return the snapshot that Windsor was told last of the audience."""
    with database.read() as connection:
        return connection.execute(_TOLD.where(audiences.c.id == audience_id)).one_or_none()


def told_taken_at(database: Database, destination: str) -> dict[int, datetime]:
    """Return when the snapshot was taken that Windsor was told last, by the audience's id."""
    with database.read() as connection:
        rows = connection.execute(_TOLD.where(audiences.c.destination == destination))
        return {row.audience_id: row.taken_at for row in rows}


def told_paths(database: Database, destination: str) -> list[tuple[int, str]]:
    """Return (audience, path) of the snapshots that Windsor was told last, the newest `taken_at` first."""
    here = _TOLD.where(audiences.c.destination == destination)
    with database.read() as connection:
        rows = connection.execute(here.order_by(snapshots.c.taken_at.desc(), audiences.c.id))
        return [(row.audience_id, row.path) for row in rows]


def twin_of(database: Database, audience_id: int, checksum: str) -> StateRow | None:
    """Return the audience's newest snapshot with the same members, among the recent ones and the one Windsor was told.

    Older ones may be gone before this run is open: `state prune` runs beside it.
    """
    here = snapshots.c.audience_id == audience_id
    recent = select(snapshots.c.id).where(here).order_by(snapshots.c.id.desc()).limit(RECENT)
    told = _TOLD.with_only_columns(snapshots.c.id).where(audiences.c.id == audience_id)
    same = select(snapshots).where(here, snapshots.c.checksum == checksum)
    with database.read() as connection:
        near = {*connection.execute(recent).scalars(), *connection.execute(told).scalars()}
        found = connection.execute(same.where(snapshots.c.id.in_(near)).order_by(snapshots.c.id.desc()).limit(1))
        return found.one_or_none()


def stand_on(connection: Transaction, audience_id: int, damaged: str, path: str, size_bytes: int) -> None:
    """Let every snapshot that stood on a damaged file stand on a whole one with the same members."""
    if damaged == path:
        return
    strike(connection, damaged)
    connection.execute(
        update(snapshots)
        .where(snapshots.c.audience_id == audience_id, snapshots.c.path == damaged)
        .values(path=path, size_bytes=size_bytes)
    )


def spare_paths(database: Database, audience_id: int, sealed_before: datetime, stored: Set[str]) -> list[str]:
    """Return the `stored` snapshots that are neither recent nor what Windsor was told, for any audience that names them.

    An older version let audiences of two destinations share a file.
    """
    query = select(snapshots.c.path).where(snapshots.c.audience_id == audience_id).order_by(snapshots.c.id.desc())
    with database.read() as connection:
        paths = list(dict.fromkeys(path for path in connection.execute(query).scalars() if path in stored))
        kept = {path for owner in _owners(connection, paths) for path in _kept(connection, owner, sealed_before)}
    return [path for path in paths if path not in kept]


def leave_out_user(connection: Transaction, path: str, rows: int, checksum: str, size_bytes: int) -> None:
    """Let the books of the snapshots that stand on a file count a user's rows as suppressed from now on."""
    for row in connection.execute(select(snapshots).where(snapshots.c.path == path)).all():
        left_out = {**row.left_out, "suppressed": row.left_out.get("suppressed", 0) + rows}
        connection.execute(
            update(snapshots)
            .where(snapshots.c.id == row.id)
            .values(members=row.members - rows, left_out=left_out, size_bytes=size_bytes, checksum=checksum)
        )
        if rows > 1:  # the rows of one person beyond the first were counted as merged
            counted = runs.c.snapshot_id == row.id, runs.c.merged >= rows - 1
            connection.execute(update(runs).where(*counted).values(merged=runs.c.merged - (rows - 1)))


def forget_protected(connection: Transaction, hashes: Collection[str]) -> None:
    """Take users out of the findings of every snapshot: their rows could not be read, and their hashes are kept."""
    for row in connection.execute(select(snapshots.c.id, snapshots.c.findings)).all():
        unreadable = (row.findings or {}).get("unreadable") or {}
        protected = unreadable.get("protected") or ()
        if not set(hashes).isdisjoint(protected):
            left = {**unreadable, "protected": [each for each in protected if each not in hashes]}
            found = {**row.findings, "unreadable": left}
            connection.execute(update(snapshots).where(snapshots.c.id == row.id).values(findings=found))


def _owners(connection: Transaction, paths: Sequence[str]) -> set[int]:
    """The audiences whose snapshots name one of the files."""
    return {
        audience_id
        for start in range(0, len(paths), 500)
        for audience_id in connection.execute(
            select(snapshots.c.audience_id).where(snapshots.c.path.in_(paths[start : start + 500])).distinct()
        ).scalars()
    }


def _kept(connection: Transaction, audience_id: int, sealed_before: datetime) -> set[str]:
    """The snapshots that an audience keeps: the newest, those sealed since, and what Windsor was told."""
    here = snapshots.c.audience_id == audience_id
    newest = select(snapshots.c.path).where(here).order_by(snapshots.c.id.desc()).limit(RECENT)
    recent = select(snapshots.c.path).where(here, snapshots.c.sealed_at > sealed_before)
    told = _TOLD.with_only_columns(snapshots.c.path).where(audiences.c.id == audience_id)
    return {path for query in (newest, recent, told) for path in connection.execute(query).scalars()}
