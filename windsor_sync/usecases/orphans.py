"""Orphaned keys: what Windsor was told under them stays for good, because no enabled entry of windsor.yaml has them any more."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from windsor_sync.errors import harmless
from windsor_sync.segment.identify import ComputationClass
from windsor_sync.settings import Computation, Settings
from windsor_sync.state.database import StateRow
from windsor_sync.state.runs import may_be_told
from windsor_sync.usecases.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Orphan:
    """A key that Windsor was told and that is not synced any more."""

    audience_id: int
    key: str
    name: str
    computation_class: str
    segment_id: str | None
    is_disabled: bool
    """windsor.yaml still has its entry"""

    @property
    def finding(self) -> str:
        """Return what is wrong, in one sentence."""
        entry = (
            "its entry in windsor.yaml is disabled" if self.is_disabled else "windsor.yaml has no entry with this key"
        )
        left = "false" if self.computation_class == ComputationClass.AUDIENCE.value else "of a change"
        return f"Windsor was told {self.key} of users, and {entry}: nobody is told {left} any more."

    @property
    def remedy(self) -> str:
        """Return the two things that may be done about it."""
        name = harmless(self.name)
        going_on = (
            f"If {name} is to go on, set `enabled: true`"
            if self.is_disabled
            else f"If {name} was renamed, set `trait: {self.key}` in its new entry"
        )
        return f"{going_on}; if it is over, run `windsor-sync retire {shlex.quote(self.key)}`."

    @property
    def text(self) -> str:
        """Return both sentences."""
        return f"{self.finding} {self.remedy}"


def orphans(workspace: Workspace, known: Sequence[StateRow] | None = None) -> list[Orphan]:
    """Return the orphaned keys of the destination, oldest first; asks the state only.

    `known`: what the registry knows, where the caller has read it.
    """
    rows = workspace.registry.known() if known is None else known
    synced = entries_by_id(workspace.settings, rows)
    disabled = entries_by_id(workspace.settings, rows, is_enabled=False)
    return [
        Orphan(row.id, row.trait_key, row.name, row.computation_class, row.segment_id, row.id in disabled)
        for row in rows
        if row.retired_at is None and row.id not in synced and may_be_told(workspace.database, row)
    ]


def entries_by_id(settings: Settings, rows: Sequence[StateRow], *, is_enabled: bool = True) -> dict[int, Computation]:
    """Return the entries of windsor.yaml by the ids of the registered audiences they mean: by Segment's id, else by the key."""
    by_segment = {row.segment_id: row.id for row in rows if row.segment_id is not None and row.retired_at is None}
    by_key = {row.trait_key: row.id for row in rows}
    entries = [each for each in settings.computations if each.enabled is is_enabled]
    found = ((by_segment.get(each.id) or by_key.get(str(each.key)), each) for each in entries)
    return {audience_id: entry for audience_id, entry in found if audience_id is not None}
