"""Checks what is recorded against what is there, and mends what can be mended without telling Windsor anything."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
from sqlalchemy import Row, select

from windsor_sync.embedded import open_duckdb, parquet_files
from windsor_sync.errors import LeaseHeld
from windsor_sync.ledger import Head
from windsor_sync.registry import EVENTS
from windsor_sync.runs import Run, UnbalancedBooksError, recent
from windsor_sync.scratch import QUIET_S
from windsor_sync.settlement import settle_dead
from windsor_sync.spec.trait_keys import TraitKey
from windsor_sync.state.tables import snapshots
from windsor_sync.words import counted
from windsor_sync.workspace import Workspace

RUNS_LOOKED_AT = 1_000

SCRATCH = "(scratch)"
"""Stands where the audience does."""


@dataclass(frozen=True, slots=True)
class Irregularity:
    """Something that is not as it should be."""

    audience: str
    text: str
    remedy: str
    is_mended: bool = False
    is_going: bool = False
    """somebody is at it right now, and nothing is wrong"""


def audit(workspace: Workspace, *, repair: bool) -> list[Irregularity]:
    """Look at every audience and at the forwarded events; with `repair`, close the runs that died and let others be."""
    found = [found for row in workspace.registry.everything() for found in _audience(workspace, row, repair=repair)]
    return [*found, *_left_behind(workspace, repair=repair)]


def _left_behind(workspace: Workspace, *, repair: bool) -> Iterator[Irregularity]:
    """Scratch folders in which nobody works, as far as can be told; those of dead processes are gone by now."""
    for left in workspace.files.scratch():
        if left.is_judged and not left.is_left:
            continue
        text = f"{left.path} may hold users: it is the scratch folder of {left.process}."
        if left.quiet_s < QUIET_S and not left.is_left:
            yield Irregularity(SCRATCH, text, "It was written to within the hour.", is_going=True)
            continue
        if repair:
            left.remove()
        if left.is_used:
            yield Irregularity(
                SCRATCH, text, "If no command runs there any more: windsor-sync audit --repair removes it."
            )
        else:
            yield Irregularity(SCRATCH, text, "It is removed.", is_mended=True)


def _audience(workspace: Workspace, row: Row[Any], *, repair: bool) -> Iterator[Irregularity]:
    audience_id, key = row.id, row.trait_key
    for run in recent(workspace.database, audience_ids=[audience_id], limit=RUNS_LOOKED_AT):
        if run.finished_at is None:
            yield _died(workspace, key, run, repair=repair)
        else:
            yield from _books(key, run)
    head = workspace.ledger.head(audience_id)
    if head is not None:
        yield from _files(workspace, key, head)


def _died(workspace: Workspace, key: str, run: Run, *, repair: bool) -> Irregularity:
    """A run without an end: still going, or dead."""
    text = f"Run {run.run_id} was opened at {run.started_at:%Y-%m-%d %H:%M:%S} UTC and has not ended."
    if not repair:
        if workspace.is_held(TraitKey(key)):
            return Irregularity(key, text, "It is going on.", is_going=True)
        return Irregularity(key, text, "Its changes stay owed: the next sync sends them. --repair closes its books.")
    try:
        with workspace.hold(TraitKey(key), "audit") as lease:
            settle_dead(workspace, lease, run)
    except LeaseHeld as busy:
        return Irregularity(key, text, str(busy), is_going=True)
    return Irregularity(key, text, "Its books are closed; the next sync sends what is owed.", is_mended=True)


def _books(key: str, run: Run) -> Iterator[Irregularity]:
    try:
        run.books.check(run.run_id)
    except UnbalancedBooksError as error:
        yield Irregularity(key, str(error), "Report it; a resync makes Windsor right whatever happened.")


def _files(workspace: Workspace, key: str, head: Head) -> Iterator[Irregularity]:
    """The sealed files the ledger stands on: there, whole, and with the rows they had."""
    if head.snapshot_id is None:
        yield from _events_outbox(head)
        return
    query = select(snapshots.c.size_bytes, snapshots.c.members, snapshots.c.path).where(
        snapshots.c.id == head.snapshot_id
    )
    with workspace.database.read() as connection:
        size, members, path = connection.execute(query).one()
    if not workspace.files.exists(path) or workspace.files.size_bytes(path) != size:
        text = f"The sealed snapshot {path} is missing or not as long as it was."
        yield Irregularity(key, text, _remedy(key, head.snapshot or ""))
        return
    if _rows(head.snapshot or "") != members:
        text = f"The sealed snapshot {path} does not have its {counted(members, 'row')}."
        yield Irregularity(key, text, _remedy(key, head.snapshot or ""))
    last = max((shard.last for shard in head.shards), default=0)
    if head.outbox is not None and _rows(head.outbox) != last:
        text = f"The outbox of run {head.run_id} does not have its {counted(last, 'row')}."
        yield Irregularity(key, text, _remedy(key, head.outbox))


def _remedy(key: str, location: str) -> str:
    """What helps where a sealed file is not what it was; no run, of whatever kind, gets past one that cannot be read."""
    if _rows(location) < 0:
        return (
            f"Nothing can be sent about {key} until it is restored from a backup of the file store. Without one, give "
            "`destination.name` a new value: an initial sync then tells every member true again, and nobody false."
        )
    return (
        f"What Windsor was told is not known any more. Run `windsor-sync backfill {key} --mode resync`: it tells every "
        "member true and everyone told true once false."
    )


def _events_outbox(head: Head) -> Iterator[Irregularity]:
    last = max((shard.last for shard in head.shards), default=0)
    if head.outbox is not None and not head.is_settled and _rows(*head.parts) != last:
        rows = counted(last, "row")
        text = f"The outbox of run {head.run_id} does not have its {rows}; what it still owed is not known any more."
        yield Irregularity(EVENTS, text, "Restore the file store from a backup; the archive still has the messages.")


def _rows(*locations: str) -> int:
    """Rows of a Parquet file, or of several; −1 when one cannot be read, or there is none."""
    try:
        with open_duckdb() as connection:
            row = connection.execute(f"SELECT count(*) FROM {parquet_files(locations)}").fetchone()
    except duckdb.Error:
        return -1
    return int(row[0]) if row else -1
