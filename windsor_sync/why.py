"""Why a user is, or is not, in an audience: every change we planned for them, what became of it, and what stands now."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import takewhile
from typing import Any

import duckdb

from windsor_sync.diff.duckdb import define_ledger
from windsor_sync.embedded import open_duckdb, open_stored, parquet, quoted, stored_files
from windsor_sync.errors import StoredFileError
from windsor_sync.ledger import Head
from windsor_sync.privacy import is_suppressed
from windsor_sync.runs import Run, recent
from windsor_sync.spec.personas import ComputationClass
from windsor_sync.words import moment
from windsor_sync.workspace import Workspace

RUNS_LOOKED_AT = 1_000


@dataclass(frozen=True, slots=True)
class Step:
    """One change of one run about this user."""

    run_id: str
    started_at: datetime
    taken_at: datetime
    """of the snapshot"""
    change: str
    value: Any
    """what Windsor was to be told"""
    fate: str
    """delivered, rejected, withheld, owed, in doubt, not due or suppressed"""
    code: int | None
    message: str | None
    was_told_before: bool
    """whether Windsor had been told, and acknowledged, that the user is in it"""
    told_before: Any
    """and the value"""


@dataclass(frozen=True, slots=True)
class Account:
    """What there is to say about one user and one audience."""

    audience: str
    name: str
    is_in_snapshot: bool
    """whether the newest sealed snapshot has the user"""
    snapshot_taken_at: datetime | None
    is_suppressed: bool
    steps: tuple[Step, ...]
    """newest first"""
    last_run: str | None
    """the audience's newest run: of what older ones owed it has taken over what still holds"""
    told: Any
    """the trait's value as Windsor was told and acknowledged; None when it never was"""
    was_told: bool
    is_in_doubt: bool
    """whether Windsor may hold something else"""
    kept_since: datetime | None
    """the oldest run that could be asked about the user; None when every run could be"""

    @property
    def sentence(self) -> str:
        """How it stands, in words."""
        if self.is_suppressed:
            return "The user is suppressed: Windsor is not told anything about them."
        where = "is in the newest snapshot" if self.is_in_snapshot else "is not in the newest snapshot"
        told = f"Windsor was told {_shown(self.told)}{self._told_by}" if self.was_told else self._told_nothing
        if self.is_in_doubt:
            told += ", and may have received a later message without answering"
        return f"The user {where}; {told}."

    @property
    def _told_by(self) -> str:
        is_known = self.kept_since is None or any(step.fate == "delivered" for step in self.steps)
        return "" if is_known else f" before {moment(self.kept_since)}"

    @property
    def _told_nothing(self) -> str:
        if self.kept_since is None:
            return "Windsor was never told anything about them"
        return (
            f"Windsor was told nothing about them since {moment(self.kept_since)}, and what older runs told is not kept"
        )


def why(workspace: Workspace, user: str, audience_ids: Sequence[int] | None = None) -> list[Account]:
    """One account for each audience that was ever synced (or those given), oldest audience first."""
    return [
        _account(workspace, row, user)
        for row in workspace.registry.known()
        if audience_ids is None or row.id in audience_ids
    ]


def _account(workspace: Workspace, row: Any, user: str) -> Account:
    head = workspace.ledger.head(row.id)
    owing = head.run_id if head and not head.is_settled else None
    runs, about = _about(
        workspace, recent(workspace.database, audience_ids=[row.id], limit=RUNS_LOOKED_AT), user, owing
    )
    steps = tuple(step for run in about for step in _steps(workspace, run, row.computation_class, user))
    is_in_snapshot = bool(head and head.snapshot and _is_in(head.snapshot, user))
    was_told, told = _told(head, row.computation_class, user, steps, is_in_snapshot=is_in_snapshot)
    return Account(
        audience=row.trait_key,
        name=row.name,
        is_in_snapshot=is_in_snapshot,
        snapshot_taken_at=head.taken_at if head else None,
        is_suppressed=is_suppressed(workspace, user),
        steps=steps,
        last_run=head.run_id if head else None,
        told=told,
        was_told=was_told,
        is_in_doubt=bool(steps) and steps[0].fate == "in doubt",
        kept_since=_kept_since(runs),
    )


def _about(workspace: Workspace, runs: Sequence[Run], user: str, owing: str | None) -> tuple[list[Run], list[Run]]:
    """All runs, and those that had something to say of the user: one look at each outbox, on one engine.

    A lost or damaged outbox counts as one that is not kept, unless its run is `owing`: then StoredFileError is raised.
    """
    kept, about = [], []
    with open_duckdb() as connection:
        for run in runs:
            try:
                with stored_files():
                    is_named = run.outbox and _names(connection, workspace.files.location(run.outbox), user)
            except StoredFileError:
                if run.run_id == owing:
                    raise
                is_named, run = False, replace(run, outbox=None)
            kept.append(run)
            about += [run] if is_named else []
    return kept, about


def _kept_since(runs: Sequence[Run]) -> datetime | None:
    """Runs newest first; of those from the first on that had changes and has lost its outbox nothing is known."""
    whole = list(takewhile(lambda run: run.outbox is not None or not run.books.changes, runs))
    if len(whole) == len(runs) < RUNS_LOOKED_AT:
        return None
    return whole[-1].started_at if whole else runs[0].started_at


def _told(
    head: Head | None, computation_class: str, user: str, steps: Sequence[Step], *, is_in_snapshot: bool
) -> tuple[bool, Any]:
    """Whether Windsor was told anything, and the last thing it acknowledged."""
    delivered = next((step for step in steps if step.fate == "delivered"), None)
    if delivered is not None:
        return True, delivered.value
    if steps:  # what runs whose outboxes are gone had told
        return steps[-1].was_told_before, steps[-1].told_before
    if is_in_snapshot:  # told by such a run too: else something would be owed
        return True, _value_in_snapshot(head, computation_class, user)
    return False, None


def _steps(workspace: Workspace, run: Run, computation_class: str, user: str) -> list[Step]:
    """The run's change about this user, if it has one: zero or one step."""
    found = workspace.ledger.of_run(run.run_id)
    if found is None or found.outbox is None:
        return []
    with open_stored() as connection:
        define_ledger(connection, found)
        rows = connection.execute(f"{FATE} WHERE {_is_user(user)}").fetchall()
    return [
        Step(
            run_id=run.run_id,
            started_at=run.started_at,
            taken_at=run.taken_at,
            change=change,
            value=_value(computation_class, change, value),
            fate=fate,
            code=code,
            message=_message(found, seq),
            was_told_before=was_told,
            told_before=_value(computation_class, "entered", told_value) if was_told else None,
        )
        for seq, change, value, was_told, told_value, fate, code in rows
    ]


FATE = """
    SELECT
        o.seq, o.change, o.value, o.was_told, o.told_value,
        CASE
            WHEN v.verdict = 'delivered' OR (v.verdict IS NULL AND o.status = 'send' AND o.seq < p.position) THEN 'delivered'
            WHEN v.verdict = 'suppressed' OR o.status = 'withheld' THEN coalesce(v.verdict, o.status)
            WHEN v.verdict = 'rejected' THEN 'rejected'
            WHEN o.status = 'deferred' THEN 'not due'
            WHEN o.in_doubt OR coalesce(v.in_doubt, o.status = 'send' AND o.seq < p.reach) THEN 'in doubt'
            ELSE 'owed'
        END AS fate,
        coalesce(v.code, o.tried_code) AS code
    FROM outbox_before o
    LEFT JOIN progress_before p ON o.seq >= p.first AND o.seq < p.last
    LEFT JOIN verdicts_before v ON o.seq = v.seq
"""


def _is_in(snapshot: str, user: str) -> bool:
    with open_stored() as connection:
        return _names(connection, snapshot, user)


def _names(connection: duckdb.DuckDBPyConnection, file: str, user: str) -> bool:
    """Whether a sealed snapshot or an outbox has a row about the user."""
    query = f"SELECT 1 FROM {parquet(file)} o WHERE {_is_user(user)} LIMIT 1"
    return connection.execute(query).fetchone() is not None


def _value_in_snapshot(head: Head | None, computation_class: str, user: str) -> Any:
    assert head is not None
    with open_stored() as connection:
        row = connection.execute(
            f"SELECT value FROM {parquet(head.snapshot or '')} o WHERE {_is_user(user)} LIMIT 1"
        ).fetchone()
    return _value(computation_class, "entered", row[0] if row else None)


def _is_user(user: str) -> str:
    """The user by user id, or by anonymous id where there is no user id."""
    return f"(o.user_id = {quoted(user)} OR (o.user_id IS NULL AND o.anonymous_id = {quoted(user)}))"


def _value(computation_class: str, change: str, value: str | None) -> Any:
    if computation_class == ComputationClass.AUDIENCE.value:
        return change != "exited"
    return json.loads(value) if value is not None and change != "exited" else None


def _message(head: Head, seq: int) -> str | None:
    return next((verdict.message for verdict in head.verdicts if verdict.seq == seq), None)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
