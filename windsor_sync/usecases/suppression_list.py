"""Segment's suppression list, kept beside ours: nothing is sent about a user whom Segment suppresses.

Users are kept as `forget` keeps them, by a keyed hash. All ids that Windsor has merged with a listed user are suppressed
too. A user who leaves Segment's list leaves ours, unless `forget` put them there too.
"""

import logging
from datetime import UTC, datetime, timedelta

from windsor_sync.errors import LeaseHeld, SegmentUnavailable
from windsor_sync.persons.kin import with_kin
from windsor_sync.state.leases import held
from windsor_sync.state.suppressions import SEGMENTS_LIST, adopt_list_of_segment, hash_in_use, list_of_segment_read_at
from windsor_sync.storage.process import name_of_this_process
from windsor_sync.usecases.workspace import Workspace

EVERY = timedelta(hours=1)
"""How old our copy may be when a run begins."""


_log = logging.getLogger("windsor_sync.segment")


def refresh(workspace: Workspace) -> None:
    """Bring our copy up to date, unless it was read within the last hour or windsor.yaml has no `segment:` section.

    Where Segment is out of reach the copy stays in force with a warning. Raises SegmentUnavailable, or LeaseHeld while
    another run reads it, when there is no copy yet.
    """
    if workspace.segment is None:
        return
    read_at = list_of_segment_read_at(workspace.database)
    if read_at is not None and _is_fresh(read_at):
        return
    try:
        _read(workspace)
    except LeaseHeld:
        if read_at is None:
            raise
    except SegmentUnavailable as error:
        if read_at is None:
            raise
        _log.warning("%s Until then the suppression list read at %s UTC holds.", error, f"{read_at:%Y-%m-%d %H:%M}")


def _read(workspace: Workspace) -> None:
    """Read the whole list, then replace ours in one commit: half a list takes nobody off."""
    assert workspace.segment is not None
    with held(workspace.database, SEGMENTS_LIST, name_of_this_process(), workspace.lease_ttl_s) as lease:
        read_at = list_of_segment_read_at(workspace.database)
        if read_at is not None and _is_fresh(read_at):
            return  # another run was faster
        hashing = hash_in_use(workspace.database)
        listed = set(workspace.segment().suppressed_users())
        found = {
            hashing.of(user_id) for user_id in with_kin(workspace.database, workspace.files, workspace.stored, listed)
        }
        moment = datetime.now(UTC)
        with workspace.database.write() as connection:
            lease.fence(connection)
            added, removed = adopt_list_of_segment(connection, found, moment, entries=len(listed))
    _log.info("Segment suppresses %s users: %s new, %s no longer", len(listed), added, removed)


def _is_fresh(read_at: datetime) -> bool:
    return abs(datetime.now(UTC) - read_at) < EVERY
