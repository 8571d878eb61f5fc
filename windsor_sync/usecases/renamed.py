"""Recognizes a new audience that is mostly an orphaned one: it may be that audience under another name."""

from dataclasses import replace

from windsor_sync.domain.change import KINDS
from windsor_sync.domain.guard import Ceiling, Ruling
from windsor_sync.errors import harmless
from windsor_sync.segment.identify import ComputationClass
from windsor_sync.settings import Computation
from windsor_sync.snapshots.seal import common_members
from windsor_sync.state.snapshots import told_snapshot
from windsor_sync.usecases.orphans import Orphan, orphans
from windsor_sync.usecases.workspace import Workspace


def withhold_renamed(
    workspace: Workspace,
    computation: Computation,
    ruling: Ruling,
    *,
    snapshot: str,
    members: int,
    entered: int,
    ceiling: Ceiling | None,
) -> Ruling:
    """Withhold the entries of a new audience if most of its members are most of those of an orphaned key.

    `trait:` in its entry says which key is meant, and an approval says that it is another audience. `snapshot` is the
    location of its sealed members.
    """
    if not entered or computation.trait is not None or computation.computation_class is not ComputationClass.AUDIENCE:
        return ruling
    found = _most_alike(workspace, computation, snapshot, members)
    if found is None:
        return ruling
    approved = ceiling.max_entered if ceiling else None
    if approved is not None and entered <= approved:
        return replace(ruling, uses_approval=True)
    orphan, common = found
    text = f"{entered:,} users entered, {common:,} of them members of {orphan.key}, which windsor.yaml no longer has,"
    remedy = f"If {harmless(orphan.name)} was renamed, set `trait: {orphan.key}` in the entry of {harmless(computation.name)}."
    return replace(ruling, held=KINDS["entered"], reasons=(text,), remedy=remedy)


def _most_alike(
    workspace: Workspace, computation: Computation, snapshot: str, members: int
) -> tuple[Orphan, int] | None:
    """Return the orphan that shares most members with the audience, and how many; None when none shares most of both."""
    found: list[tuple[int, Orphan]] = []
    for orphan in orphans(workspace):
        told = _told(workspace, orphan) if _may_be(orphan, computation) else None
        if told is None or not (members < 2 * told[1] and told[1] < 2 * members):
            continue
        common = common_members(snapshot, told[0])
        if common * 2 > max(members, told[1]):
            found.append((common, orphan))
    if not found:
        return None
    common, orphan = max(found, key=lambda each: each[0])
    return orphan, common


def _may_be(orphan: Orphan, computation: Computation) -> bool:
    """Whether the two may be one audience: Segment's ids, where both have one, say that they are not."""
    has_ids = orphan.segment_id is not None and computation.id is not None
    return not (orphan.is_disabled or has_ids) and orphan.computation_class == computation.computation_class.value


def _told(workspace: Workspace, orphan: Orphan) -> tuple[str, int] | None:
    """Return the location and the members of the snapshot that Windsor was told last; None when its file is lost."""
    row = told_snapshot(workspace.database, orphan.audience_id)
    if row is None or not workspace.stored.is_whole(row.path, thoroughly=False):
        return None
    return workspace.files.location(row.path), row.members
