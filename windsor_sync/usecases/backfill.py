"""Backfills that a person asked for and was shown: the plan, the permission to send so many changes, and the run.

The permission is in the audit trail, with who gave it and for what; nothing is sent without it, whoever starts the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.domain.change import Limits
from windsor_sync.domain.run import Run
from windsor_sync.errors import ChangesWithheld, ConfigError
from windsor_sync.settings import Computation, Settings
from windsor_sync.state.audiences import Registered
from windsor_sync.state.audit_log import trail, trailed
from windsor_sync.state.database import Database
from windsor_sync.state.leases import Lease
from windsor_sync.state.runs import newest_started_by
from windsor_sync.usecases.approvers import is_permitted
from windsor_sync.usecases.diff_and_guard import planned
from windsor_sync.usecases.plan import described, estimate
from windsor_sync.usecases.recover_state import recover_before_resync
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.run_lifecycle import Progress, open_newest, run_audience
from windsor_sync.usecases.seal import path_as_of
from windsor_sync.usecases.workspace import Workspace

KIND = "backfill"
PLANNED = "plan backfill"
PERMISSION = "permit backfill"


@dataclass(frozen=True, slots=True)
class Wish:
    """The changes that a person wants sent, beyond the schedule."""

    is_resync: bool = False
    only: str | None = None
    limit: int | None = None
    as_of: datetime | None = None
    """use the snapshot that was the newest at this moment"""
    snapshot_path: str | None = None
    """use this file"""
    reason: str | None = None

    def request(self, computation: Computation, trigger: str) -> Request:
        """The wish about one audience; raises SnapshotError or ConfigError when there is no snapshot of that time."""
        path = path_as_of(computation, self.as_of) if self.as_of else self.snapshot_path
        limits = Limits(is_resync=self.is_resync, only=self.only, count=self.limit)
        return Request(KIND, trigger, self.reason, path, limits)


def moment_meant(text: str) -> datetime:
    """A day or a moment as a person writes it, UTC unless it says otherwise; raises ConfigError."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(
            f"{text!r} is not a moment. Nothing was sent. Write it as 2026-11-01 or 2026-11-01T06:00:00Z."
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def plan(workspace: Workspace, computation: Computation, request: Request) -> dict[str, Any]:
    """Return the counts, an example and the duration of what the backfill would send now; nothing is recorded or sent."""
    with planned(workspace, computation, request) as prepared:
        tally = prepared.tally
        found = described(prepared)
    takes = estimate(workspace.settings, workspace.database, found["messages"])
    return {
        **found,
        "later": tally.later,
        "to_send": tally.changes - tally.deferred - tally.later,
        "requests": takes.requests,
        "seconds": round(takes.seconds, 1),
    }


def announce(database: Database, trigger: str, audiences: Sequence[str], *, who: str) -> dict[str, list[str]]:
    """Record that `trigger` plans backfills; return by audience the triggers that did before, newest first."""
    with database.write() as connection:
        for audience in audiences:
            trail(connection, who=who, what=PLANNED, subject=audience, why=None, trigger=trigger)
    earlier = {}
    for audience in audiences:
        triggers = [row.details["trigger"] for row in trailed(database, PLANNED, audience)]
        before = triggers[triggers.index(trigger) + 1 :]
        earlier[audience] = [each for each in dict.fromkeys(before) if each != trigger]
    return earlier


def permit(
    database: Database,
    trigger: str,
    plans: Sequence[Mapping[str, Any]],
    *,
    who: str,
    why: str | None,
    permitted_as: str | None = None,
) -> None:
    """Let the backfills of one start go out, each up to as many changes as its plan showed.

    `permitted_as` is the entry of `approval.approvers` that lets them.
    """
    with database.write() as connection:
        for one in plans:
            details = {"trigger": trigger, "changes": one["to_send"]}
            if permitted_as is not None:
                details["permitted_as"] = permitted_as
            trail(connection, who=who, what=PERMISSION, subject=one["audience"], why=why, **details)


def run_backfill(
    workspace: Workspace,
    computation: Computation,
    request: Request,
    stop: CancelToken,
    on_progress: Progress | None = None,
) -> Run:
    """Make the diff again and send at most what was permitted; raises ChangesWithheld without a permission.

    `request.trigger` names this very backfill: a second try goes on with the run that the first one opened. Permitted once
    more, as by a person who cleared it in Airflow and approved the new plan, it is a new run.
    """
    recover_before_resync(workspace, request)

    def opens(known: Registered, lease: Lease) -> Run:
        assert known.audience_id is not None
        permission = _permission(workspace.settings, workspace.database, str(known.key), request.trigger)
        run = newest_started_by(workspace.database, known.audience_id, request.trigger, KIND, permission.at)
        if run is not None:
            return run
        permitted = replace(request, limits=replace(request.limits, count=permission.changes))
        return open_newest(workspace, computation, known, permitted, lease)

    return run_audience(workspace, computation, request.trigger, opens, stop, on_progress)


@dataclass(frozen=True, slots=True)
class Permission:
    """A person's word on a backfill's plan."""

    at: datetime
    changes: int
    """how many they saw: the snapshot may have changed since then"""


def _permission(settings: Settings, database: Database, key: str, trigger: str) -> Permission:
    """The newest one for this start; raises ChangesWithheld when nobody gave one who may."""
    given = [row for row in trailed(database, PERMISSION, key) if row.details["trigger"] == trigger]
    found = [row for row in given if is_permitted(settings, row.details.get("permitted_as"))]
    if not found:
        raise ChangesWithheld(
            f"Nobody who may approve has "
            f"permitted this backfill of {key}. Nothing was sent. Start engage_audience_backfill again and answer "
            "its question, or use `windsor-sync backfill`."
        )
    return Permission(found[0].at, found[0].details["changes"])
