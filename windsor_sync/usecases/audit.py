"""Checks what is recorded against what is there, and mends what can be mended without telling Windsor anything."""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from windsor_sync.domain.run import Books, Run, UnbalancedBooksError
from windsor_sync.errors import ConfigError, LeaseHeld, SegmentUnavailable, StoredFileError
from windsor_sync.segment.trait_keys import TraitKey
from windsor_sync.settings import Settings
from windsor_sync.state.audiences import EVENTS_CLASS, Registry
from windsor_sync.state.database import Database, StateRow
from windsor_sync.state.runs import newest_books, run_of
from windsor_sync.storage.file_store import FileStore
from windsor_sync.storage.scratch import QUIET_S
from windsor_sync.usecases.close_run import settle_dead
from windsor_sync.usecases.forward import windows
from windsor_sync.usecases.warnings import warnings
from windsor_sync.usecases.workspace import Workspace

RUNS_LOOKED_AT = 1_000

SCRATCH = "(scratch)"
"""Stands where the audience does."""

Looked = Callable[[int, int], None]
"""Called after each file: how many were read, of how many."""


@dataclass(frozen=True, slots=True)
class Irregularity:
    """Something that is not as it should be."""

    audience: str
    text: str
    remedy: str
    is_mended: bool = False
    is_going: bool = False
    """somebody is at it right now, and nothing is wrong"""
    is_warning: bool = False
    """what is recorded is right; a person should look at it all the same"""


def audit(
    workspace: Workspace, *, repair: bool, is_quick: bool = False, looked_at: Looked | None = None
) -> list[Irregularity]:
    """Look at every audience and at the forwarded events; with `repair`, close the runs that died and let others be.

    Files are read and compared with their checksums; with `is_quick` only their sizes, row counts and stamps.
    """
    workspace.marks.require_own()
    rows = workspace.registry.everything()
    found = [one for row in rows for one in _audience(workspace, row, repair=repair)]
    stands_on = [(row, path) for row in rows for path in _stands_on(workspace, row)]
    for number, (row, path) in enumerate(stands_on, start=1):
        found.extend(_file(workspace, row, path, is_quick=is_quick))
        if looked_at is not None:
            looked_at(number, len(stands_on))
    return [*found, *_left_behind(workspace.files, repair=repair), *_warnings(workspace)]


def _warnings(workspace: Workspace) -> Iterator[Irregularity]:
    for one in warnings(workspace):
        yield Irregularity(one.key, one.finding, one.remedy, is_warning=True)


def _left_behind(files: FileStore, *, repair: bool) -> Iterator[Irregularity]:
    """Scratch folders in which nobody works, as far as can be told; those of dead processes are gone by now."""
    for left in files.scratch():
        if not left.is_there or (left.is_judged and not left.is_left):
            continue
        text = f"{left.path} may hold users: it is the scratch folder of {left.process}."
        if left.quiet_s < QUIET_S and not left.is_left:
            yield Irregularity(SCRATCH, text, "It was written to within the hour.", is_going=True)
            continue
        if repair:
            left.remove()
        if left.is_there:
            yield Irregularity(
                SCRATCH, text, "If no command runs there any more: windsor-sync audit --repair removes it."
            )
        else:
            yield Irregularity(SCRATCH, text, "It is removed.", is_mended=True)


def _audience(workspace: Workspace, row: StateRow, *, repair: bool) -> Iterator[Irregularity]:
    audience_id, key = row.id, row.trait_key
    for run_id, books in newest_books(workspace.database, audience_id, RUNS_LOOKED_AT):
        if books is not None:
            yield from _books(key, run_id, books)
        elif run := run_of(workspace.database, run_id):
            yield _died(workspace, key, run, repair=repair)
    if row.ledger_lost_at is not None:
        text = f"What Windsor was told of {key} is not known since {row.ledger_lost_at:%Y-%m-%d %H:%M:%S} UTC."
        yield Irregularity(
            key,
            text,
            _retire(workspace.settings, workspace.registry, row) or f"Run `windsor-sync recover {shlex.quote(key)}`.",
        )


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


def _books(key: str, run_id: str, books: Books) -> Iterator[Irregularity]:
    try:
        books.check(run_id)
    except UnbalancedBooksError as error:
        yield Irregularity(key, str(error), "Report it; a resync makes Windsor right whatever happened.")


def _stands_on(workspace: Workspace, row: StateRow) -> list[str]:
    """The stored files that the ledger stands on; an outbox of which nothing is owed is none of them."""
    merges = workspace.merges.known().paths if row.computation_class == EVENTS_CLASS else ()
    head = workspace.ledger.head(row.id)
    if head is None or row.ledger_lost_at is not None:
        return list(merges)
    seen = _windows(workspace.settings, workspace.database, row.id) if row.computation_class == EVENTS_CLASS else []
    paths = (head.snapshot_path, None if head.is_settled else head.outbox_path, *seen)
    return [*filter(None, paths), *merges]


def _windows(settings: Settings, database: Database, audience_id: int) -> list[str]:
    """The lists of messageIds by which the next forwarding knows what it has sent."""
    events = settings.events
    return windows(database, audience_id, events, datetime.now(UTC)) if events else []


def _file(workspace: Workspace, row: StateRow, path: str, *, is_quick: bool) -> Iterator[Irregularity]:
    try:
        workspace.stored.confirm(path, thoroughly=not is_quick)
    except StoredFileError as error:
        yield Irregularity(
            row.trait_key, error.finding, _retire(workspace.settings, workspace.registry, row) or error.remedy
        )


def _retire(settings: Settings, registry: Registry, row: StateRow) -> str | None:
    """Return the remedy for an audience that is retired or not configured; None for one that can be recovered by its name."""
    if row.computation_class == EVENTS_CLASS:
        return None
    try:
        configured = {registry.find(computation).audience_id for computation in settings.computations}
    except (ConfigError, SegmentUnavailable):
        return None
    if row.retired_at is None and row.id in configured:
        return None
    return (
        f"Run `windsor-sync retire {shlex.quote(row.trait_key)}`: it tells everyone who was ever told true false. To keep the "
        "audience, put it back into windsor.yaml and run `windsor-sync recover` with its name."
    )
