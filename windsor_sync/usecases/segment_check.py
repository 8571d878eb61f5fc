"""Holds a snapshot against Segment's own description of the audience before anything is sent."""

import logging
from typing import TYPE_CHECKING

from windsor_sync.errors import SegmentUnavailable, SnapshotError
from windsor_sync.settings import Computation, Segment
from windsor_sync.usecases.workspace import Workspace

if TYPE_CHECKING:  # it imports a library of HTTP
    from windsor_sync.sources.segment_api import Described, PublicApi

# Segment's statuses, in small letters without blanks, hyphens or underscores. A batch audience is Not Computing between its
# runs; an audience nobody connected in Segment awaits destinations, and its members are computed all the same.
_SETTLED = {"live", "notcomputing", "awaitingdestinations"}
_UNSETTLED = {"backfilling", "computing", "preparing", "locked"}
_ENDED = {"disabled", "failed", "error"}

_log = logging.getLogger("windsor_sync.segment")


def described_by_segment(workspace: Workspace, computation: Computation) -> "Described | None":
    """Return Segment's description of a computation whose members are settled; None when there is none.

    Segment out of reach is a warning: the guard still stands between a broken snapshot and Windsor. Raises SnapshotError
    while the members are being computed anew, and when Segment no longer computes them.
    """
    if workspace.segment is None:
        return None
    try:
        found = _found(workspace.segment(), workspace.settings.space or "", computation)
    except SegmentUnavailable as error:
        _log.warning("%s %s is synced without comparing it with Segment's own numbers.", error, computation.key)
        return None
    if found is not None:
        _refuse_unsettled(computation, found)
    return found


def check_size(workspace: Workspace, computation: Computation, found: "Described", users: int) -> None:
    """Raise SnapshotError when a snapshot names too few of the users Segment reports.

    `users` are all it names, those without a user id and suppressed ones too. As for the guard, an audience below
    `guard_floor` is not judged.
    """
    settings = workspace.settings
    assert settings.segment is not None
    tolerance = _tolerance(computation, settings.segment)
    reported = found.users
    if not reported or reported < settings.defaults.guard_floor or users >= reported * (1 - tolerance / 100):
        return
    raise SnapshotError(
        f"The newest snapshot of {computation.name} has {users / reported:.0%} of the {reported:,} users Segment reports "
        f"({users:,}). Nothing was sent, the last good snapshot stands. Download it again. If it is meant to have fewer, "
        f"because its query leaves some out, set snapshot.size_tolerance_percent of this audience (now {tolerance:g})."
    )


def _found(api: "PublicApi", space: str, computation: Computation) -> "Described | None":
    """By its id where windsor.yaml has it: one question. Else by its key in the space's list."""
    if computation.id is not None:
        return api.computation(space, computation.computation_class, computation.id)
    same = [one for one in api.computations(space) if one.computation_class is computation.computation_class]
    return next((one for one in same if one.key == computation.key), None)


def _refuse_unsettled(computation: Computation, found: "Described") -> None:
    status = "".join(filter(str.isalnum, (found.status or "").lower()))
    if status in _UNSETTLED:
        remedy = "The next run tries again; once it is Live, take a new snapshot."
    elif status in _ENDED:
        remedy = (
            "Mend or enable it in Segment. If it is meant to rest, set `enabled: false` in windsor.yaml; if it is over, "
            f"run: windsor-sync retire {computation.key}"
        )
    else:
        if status and status not in _SETTLED:
            _log.warning("%s: Segment reports a status that is not known here; it is synced.", computation.key)
        return
    raise SnapshotError(
        f"Segment reports {computation.name} as {found.status}: its members are not settled. Nothing was sent, the last good "
        f"snapshot stands. {remedy}"
    )


def _tolerance(computation: Computation, segment: Segment) -> float:
    own = computation.snapshot.size_tolerance_percent
    return segment.size_tolerance_percent if own is None else own
