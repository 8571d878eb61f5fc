"""Findings without a failed run: orphaned keys, and stale snapshots."""

from collections.abc import Iterator
from dataclasses import dataclass

from windsor_sync.state.snapshots import told_taken_at
from windsor_sync.usecases.orphans import entries_by_id, orphans
from windsor_sync.usecases.staleness import stale
from windsor_sync.usecases.workspace import Workspace


@dataclass(frozen=True, slots=True)
class StandingWarning:
    """One audience that needs a look."""

    audience_id: int
    key: str
    finding: str
    remedy: str

    def __str__(self) -> str:
        """Return both sentences."""
        return f"{self.finding} {self.remedy}"


def warnings(workspace: Workspace) -> Iterator[StandingWarning]:
    """Yield the audiences of this destination that need a look; asks the state only."""
    yield from orphan_warnings(workspace)
    yield from stale_warnings(workspace)


def orphan_warnings(workspace: Workspace) -> Iterator[StandingWarning]:
    """Yield the keys that Windsor was told and that have no audience any more."""
    for orphan in orphans(workspace):
        yield StandingWarning(orphan.audience_id, orphan.key, orphan.finding, orphan.remedy)


def stale_warnings(workspace: Workspace) -> Iterator[StandingWarning]:
    """Yield the audiences whose snapshot is too old."""
    rows = workspace.registry.known()
    taken_at = told_taken_at(workspace.database, workspace.settings.destination.name)
    keys = {row.id: row.trait_key for row in rows}
    for audience_id, entry in entries_by_id(workspace.settings, rows).items():
        why = stale(entry, taken_at[audience_id]) if audience_id in taken_at else None
        if why is not None:
            yield StandingWarning(audience_id, keys[audience_id], why.finding, why.remedy)
