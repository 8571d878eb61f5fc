"""Adds acknowledged merges to the known ones: aliases, and identifies by which Windsor made two ids one.

An alias that is on its way, held or rejected is no merge yet.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from windsor_sync.diff.duckdb import acknowledged_joins
from windsor_sync.domain.identity import Alias
from windsor_sync.domain.run import ForwardingRun, Run
from windsor_sync.errors import StoredFileError
from windsor_sync.outbox.events import acknowledged_aliases
from windsor_sync.state.audiences import EVENTS_CLASS
from windsor_sync.state.runs import outboxes_of, run_of, saw_merges
from windsor_sync.usecases.workspace import Workspace


def learn(workspace: Workspace, run: Run) -> int:
    """Take in the merges that one run of events or of an audience brought; returns how many ids have another survivor now.

    Safe to repeat. The first call for a destination also takes in what earlier versions forwarded.
    """
    begin(workspace)
    before = workspace.merges.known().number
    changed = workspace.merges.record(_of_run(workspace, run.run_id, is_of_events=isinstance(run, ForwardingRun)))
    if changed and not isinstance(run, ForwardingRun) and workspace.merges.known().number == before + 1:
        # The identifies that merged these people also told Windsor the truth about them.
        saw_merges(workspace.database, run.run_id, before, before + 1)
    return changed


def learn_of_dead(workspace: Workspace) -> None:
    """Take in the merges of runs that died. The caller holds all leases, so no process is delivering these runs."""
    for row in workspace.registry.everything():
        head = workspace.ledger.head(row.id)
        run = run_of(workspace.database, head.run_id) if head else None
        if run is not None and run.finished_at is None:
            with suppress(StoredFileError):  # a lost outbox tells nothing
                learn(workspace, run)


def begin(workspace: Workspace) -> None:
    """Take in the merges that earlier versions forwarded, once, from the outboxes that are kept."""
    if not workspace.merges.is_begun():
        workspace.merges.record(_of_all(workspace))


def rebuild(workspace: Workspace) -> int:
    """Make new files of merges where they are lost or damaged; returns how many ids were found again in outboxes."""
    return workspace.merges.rebuild(_of_all(workspace))


def _of_all(workspace: Workspace) -> Iterator[list[Alias]]:
    for row in workspace.registry.everything():
        is_of_events = row.computation_class == EVENTS_CLASS
        if is_of_events or workspace.settings.destination.identify_merges:
            for run_id, _, _ in outboxes_of(workspace.database, row.id):
                with suppress(StoredFileError):  # a lost outbox tells nothing
                    yield from list(_of_run(workspace, run_id, is_of_events=is_of_events))


def _of_run(workspace: Workspace, run_id: str, *, is_of_events: bool) -> Iterator[list[Alias]]:
    ledger = workspace.ledger.of_run(run_id)
    if ledger is None or ledger.outbox_path is None:
        return
    joins = workspace.settings.destination.identify_merges is True
    if is_of_events:
        parts = tuple(map(workspace.files.location, workspace.stored.parts(ledger.outbox_path)))
        yield from acknowledged_aliases(replace(ledger, parts=parts), joins=joins)
    elif joins:
        yield from acknowledged_joins(ledger)
