"""Suppresses and forgets a user: nothing is sent about them any more, and what is stored about them is purged."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
from sqlalchemy import Connection, delete, insert, select, update

from windsor_sync.approvals import trail
from windsor_sync.embedded import open_stored, parquet, quoted
from windsor_sync.errors import LeaseHeld
from windsor_sync.spec.routing import suppression_hash
from windsor_sync.spec.trait_keys import TraitKey
from windsor_sync.state.tables import audiences, runs, snapshots, suppressions
from windsor_sync.workspace import Workspace

OUTBOX_BLANKS = (
    "identity", "user_id", "anonymous_id", "email", "value", "told_anonymous_id", "told_email", "told_value",
)  # fmt: skip

READERS_S = 10.0
"""How long `forget` waits for commands that hold no lease, such as a plan."""

FORGET = "forget"
"""Origin of a suppression that a person asked for here: it is never taken back."""

_USER = "coalesce(user_id, anonymous_id)"
"""As in snapshots: a user goes by the anonymous id only where there is no other."""

EVENTS_BLANKS = ("user_id", "anonymous_id", "previous_id", "message")


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was done."""

    is_new: bool
    """whether the user was not suppressed before"""
    snapshots: int
    """files from which the user was removed"""
    outboxes: int


def user_hash(workspace: Workspace, user_id: str) -> str:
    """How a suppressed user is kept: not as an id."""
    return suppression_hash(workspace.database.installation(), user_id)


def is_suppressed(workspace: Workspace, user_id: str) -> bool:
    """Whether nothing may be sent about the user."""
    query = select(suppressions.c.user_hash).where(suppressions.c.user_hash == user_hash(workspace, user_id))
    with workspace.database.read() as connection:
        return connection.execute(query).one_or_none() is not None


def forget(workspace: Workspace, user_id: str, *, who: str, why: str | None) -> Forgotten:
    """Suppress the user for good and purge every stored file of them; safe to repeat.

    Windsor itself is not told: it takes no deletions from here, so a person has to delete the user there.
    Raises LeaseHeld while a run is writing, or another command has what it read in its scratch folder; then the user is
    suppressed, but not purged yet.
    """
    digest = user_hash(workspace, user_id)
    is_new = _suppress(workspace, digest, who=who, why=why)
    with _everything_held(workspace, f"forget by {who}"):
        _wait_for_readers(workspace)
        purged_snapshots = sum(_purge_snapshot(workspace, path, user_id) for path in _paths(workspace, "snapshots"))
        purged_outboxes = sum(_purge_outbox(workspace, path, user_id) for path in _paths(workspace, "outboxes"))
    return Forgotten(is_new, purged_snapshots, purged_outboxes)


def _suppress(workspace: Workspace, digest: str, *, who: str, why: str | None) -> bool:
    with workspace.database.write() as connection:
        row = connection.execute(select(suppressions).where(suppressions.c.user_hash == digest)).one_or_none()
        if row is not None and row.origin == FORGET:
            return False
        if row is not None:  # suppressed in Segment so far, where that can be taken back
            connection.execute(delete(suppressions).where(suppressions.c.user_hash == digest))
        connection.execute(insert(suppressions).values(user_hash=digest, origin=FORGET, at=datetime.now(UTC)))
        trail(connection, who=who, what="forget", subject="a user", why=why, user_hash=digest)
    return True


@contextmanager
def _everything_held(workspace: Workspace, holder: str) -> Iterator[None]:
    """The leases on all that has runs, for any destination, so that no run reads a file while it is rewritten."""
    with workspace.database.read() as connection:
        rows = connection.execute(select(audiences).order_by(audiences.c.id)).all()
    with ExitStack() as leases:
        for row in rows:
            leases.enter_context(workspace.hold(TraitKey(row.trait_key), holder, destination=row.destination))
        yield


def _wait_for_readers(workspace: Workspace) -> None:
    """Wait until every command has ended its work that may have read the user before the suppression.

    A plan holds no lease, and would put back what is purged beside it; one that begins now leaves the user out.
    """
    give_up_at = time.monotonic() + READERS_S
    readers = workspace.files.readers()
    while left := [reader for reader in readers if reader.is_there and not reader.is_left]:
        if time.monotonic() > give_up_at:
            raise LeaseHeld(
                f"Nothing was purged: {', '.join(sorted({reader.process for reader in left}))} may have read the user before and "
                f"works in {left[0].path}. The user is suppressed: nothing is sent about them any more. Run the same command "
                "again when that command has ended; `windsor-sync audit` names folders that nobody works in."
            )
        time.sleep(0.05)
    workspace.files.readers()  # of a process that died meanwhile, what it left


def _paths(workspace: Workspace, kind: str) -> list[str]:
    """The stored files, whatever destination they are for."""
    column = snapshots.c.path if kind == "snapshots" else runs.c.outbox
    query = select(column).where(column.is_not(None))
    with workspace.database.read() as connection:
        found = set(connection.execute(query).scalars())
    return sorted(path for path in found if workspace.files.parts(path))


def _purge_snapshot(workspace: Workspace, path: str, user_id: str) -> bool:
    """Remove the user's rows; the books of the snapshot count them as suppressed from now on."""
    location = workspace.files.location(path)
    with workspace.files.draft() as draft, open_stored() as connection:
        rows = _count(connection, location, f"{_USER} = {quoted(user_id)}")
        if not rows:
            return False
        connection.execute(
            f"COPY (SELECT * FROM {parquet(location)} WHERE {_USER} IS DISTINCT FROM {quoted(user_id)}) "
            f"TO {quoted(str(draft))} (FORMAT parquet, COMPRESSION zstd)"
        )
        workspace.files.keep(draft, path)
    size = workspace.files.size_bytes(path)
    with workspace.database.write() as connection_:
        _recount(connection_, path, rows, size)
    return True


def _recount(connection: Connection, path: str, rows: int, size: int) -> None:
    for row in connection.execute(select(snapshots).where(snapshots.c.path == path)).all():
        left_out = {**row.left_out, "suppressed": row.left_out.get("suppressed", 0) + rows}
        connection.execute(
            update(snapshots)
            .where(snapshots.c.id == row.id)
            .values(members=row.members - rows, left_out=left_out, size_bytes=size)
        )


def _purge_outbox(workspace: Workspace, path: str, user_id: str) -> bool:
    return sum(_purge_part(workspace, part, user_id) for part in workspace.files.parts(path)) > 0


def _purge_part(workspace: Workspace, path: str, user_id: str) -> bool:
    """Blank what names the user: the row keeps its place, so that positions and books still hold."""
    location = workspace.files.location(path)
    with workspace.files.draft() as draft, open_stored() as connection:
        is_theirs = f"{_USER} = {quoted(user_id)}"
        names: tuple[str, ...] = OUTBOX_BLANKS
        if "previous_id" in _columns(connection, location):  # forwarded events; an alias names two users
            is_theirs, names = f"({is_theirs} OR previous_id = {quoted(user_id)})", EVENTS_BLANKS
        if not _count(connection, location, is_theirs):
            return False
        blanks = ", ".join(f"CASE WHEN {is_theirs} THEN NULL ELSE {name} END AS {name}" for name in names)
        connection.execute(
            f"COPY (SELECT * REPLACE ({blanks}) FROM {parquet(location)} ORDER BY seq) "
            f"TO {quoted(str(draft))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20480)"
        )
        workspace.files.keep(draft, path)
    return True


def _count(connection: duckdb.DuckDBPyConnection, location: str, condition: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {parquet(location)} WHERE {condition}").fetchone()
    assert row is not None
    return int(row[0])


def _columns(connection: duckdb.DuckDBPyConnection, location: str) -> set[str]:
    rows = connection.execute(f"DESCRIBE SELECT * FROM {parquet(location)}").fetchall()
    return {str(name) for name, *_ in rows}
