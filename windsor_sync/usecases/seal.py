"""The newest snapshot of an audience, sealed: read from its source once, then known by its fingerprint and checksum."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from windsor_sync.domain.suppression import Suppressed
from windsor_sync.errors import ConfigError, SnapshotError
from windsor_sync.segment.identify import ComputationClass
from windsor_sync.settings import Computation
from windsor_sync.snapshots.seal import LeftOut, Sealed, Unreadable, seal, write_nobody
from windsor_sync.sources import Source, source_for
from windsor_sync.sources import newest as newest_file
from windsor_sync.state.audiences import Registered
from windsor_sync.state.database import Database, StateRow
from windsor_sync.state.ledger import Head
from windsor_sync.state.snapshots import enter_snapshot, newest_sealed, snapshot_by_id, stand_on, twin_of
from windsor_sync.state.stored_files import Stamp, StoredFiles, enter
from windsor_sync.state.suppressions import suppressed_users
from windsor_sync.storage.file_store import FileStore
from windsor_sync.usecases import segment_check as segment_view
from windsor_sync.usecases import suppression_list as segment_suppressions
from windsor_sync.usecases.workspace import Workspace

NOT_IN_RECIPE = {"path", "consists_of", "max_age", "max_age_action", "query_timeout", "size_tolerance_percent"}
"""Settings of a snapshot that say which file is read, whether and in what time, but not how."""

FOLDER = "snapshots"

NOBODY = "nobody"
"""Stands for a checksum where an audience was retired."""

READING = 4
"""Which rules make rows of a source; another number reads an unchanged source again."""


@dataclass(frozen=True, slots=True)
class SealedSnapshot:
    """A sealed snapshot: in the file store, or a draft that has no place there yet."""

    path: str | None
    """below the store; None of a draft"""
    location: str
    checksum: str
    taken_at: datetime
    rows_read: int
    members: int
    left_out: Mapping[str, int]
    size_bytes: int
    recipe: str
    fingerprint: str | None
    emails_left_out: int = 0
    """members in whose e-mail's place something stood without an @"""
    remarks: tuple[str, ...] = ()
    """sentences about columns whose values may not be what they seem"""
    unreadable: Unreadable | None = None
    """None where every row could be read"""
    snapshot_id: int | None = None
    """None until it is recorded"""
    stamp: Stamp | None = None
    """of a draft: whose it says it is, and under which path it may be stored"""


@contextmanager
def newest_snapshot(
    workspace: Workspace,
    computation: Computation,
    known: Registered,
    path: str | None = None,
) -> Iterator[SealedSnapshot]:
    """Seal the audience's newest snapshot, or take the one at `path`; an unchanged source file is not read again.

    What is sealed is a draft, gone when the block ends unless `record` has stored it. The newest one is held against what
    Segment says of the audience, where windsor.yaml has a `segment:` section; an older one named by a person is not.
    """
    segment_suppressions.refresh(workspace)
    described = segment_view.described_by_segment(workspace, computation) if path is None else None
    source = source_for(computation.model_copy(update={"trait": str(known.key)}), path, workspace.connections)
    suppressed = suppressed_users(workspace.database)
    recipe = _recipe(computation, suppressed)
    found = _by_fingerprint(workspace, known, source, recipe)
    with workspace.files.draft() as draft:
        snapshot = found or _sealed(
            workspace.database, workspace.stored, computation, known, source, suppressed, recipe, draft
        )
        if described is not None:
            nobodys = (LeftOut.DUPLICATE, LeftOut.NOT_MEMBERS)
            named = snapshot.rows_read - sum(snapshot.left_out.get(reason, 0) for reason in nobodys)
            segment_view.check_size(workspace, computation, described, named)
        yield snapshot


def path_as_of(computation: Computation, moment: datetime) -> str:
    """The file that was the newest snapshot at `moment`; raises SnapshotError when there was none."""
    settings = computation.snapshot
    if settings.path is None:
        raise ConfigError(f"{computation.name} is read by a query: it has no older snapshots. Nothing was sent.")
    return newest_file(settings.path, settings.taken_at, moment, consists_of=settings.consists_of).path


def record(workspace: Workspace, known: Registered, snapshot: SealedSnapshot) -> SealedSnapshot:
    """Store a snapshot and enter it into the state, unless it is there."""
    if snapshot.snapshot_id is not None:
        return snapshot
    assert known.audience_id is not None
    twin = twin_of(workspace.database, known.audience_id, snapshot.checksum)
    placed = None
    if twin is None or not workspace.stored.is_whole(twin.path):
        assert snapshot.stamp is not None
        placed = workspace.stored.put(Path(snapshot.location), snapshot.stamp.path, rows=snapshot.members)
    path = placed.path if placed else str(twin.path) if twin else ""
    size = placed.size_bytes if placed else int(twin.size_bytes) if twin else 0
    with workspace.database.write() as connection:
        if placed:
            enter(connection, known.audience_id, [placed])
        if placed and twin:
            stand_on(connection, known.audience_id, twin.path, placed.path, placed.size_bytes)
        facts = {
            "audience_id": known.audience_id,
            "path": path,
            "checksum": snapshot.checksum,
            "recipe": snapshot.recipe,
            "fingerprint": snapshot.fingerprint,
            "taken_at": snapshot.taken_at,
            "sealed_at": datetime.now(UTC),
            "size_bytes": size,
            "rows_read": snapshot.rows_read,
            "members": snapshot.members,
            "left_out": dict(snapshot.left_out),
            "findings": _findings(snapshot),
        }
        snapshot_id = enter_snapshot(connection, facts)
    return replace(
        snapshot, path=path, location=workspace.files.location(path), size_bytes=size, snapshot_id=snapshot_id
    )


def seal_again(
    workspace: Workspace, computation: Computation, known: Registered, head: Head, snapshot: SealedSnapshot
) -> None:
    """Seal the ledger's snapshot again where it is lost or damaged, if its source is the same.

    `snapshot` is the newest one, which may have the same members.
    """
    assert known.audience_id is not None
    if snapshot.checksum == head.checksum:
        stored = record(workspace, known, snapshot)
        with workspace.database.write() as connection:
            stand_on(connection, known.audience_id, str(head.snapshot_path), str(stored.path), stored.size_bytes)
    elif computation.snapshot.path is not None:
        with suppress(SnapshotError):
            path = path_as_of(computation, head.taken_at)
            with newest_snapshot(workspace, computation, known, path) as again:
                if again.checksum == head.checksum:
                    record(workspace, known, again)


def recorded(database: Database, files: FileStore, snapshot_id: int) -> SealedSnapshot:
    """A snapshot by its id, for a later task of the same run."""
    return _snapshot(files, snapshot_by_id(database, snapshot_id))


def snapshot_of_nobody(workspace: Workspace, known: Registered) -> SealedSnapshot:
    """A snapshot without members: what a retirement brings Windsor to."""
    assert known.audience_id is not None
    stamp = workspace.stored.stamp(known.audience_id, FOLDER)
    with workspace.files.draft() as draft:
        write_nobody(draft, stamp.options())
        snapshot = SealedSnapshot(
            path=None,
            location=str(draft),
            checksum=NOBODY,
            taken_at=datetime.now(UTC),
            rows_read=0,
            members=0,
            left_out={},
            size_bytes=draft.stat().st_size,
            recipe=NOBODY,
            fingerprint=None,
            stamp=stamp,
        )
        return record(workspace, known, snapshot)


def _sealed(
    database: Database,
    stored: StoredFiles,
    computation: Computation,
    known: Registered,
    source: Source,
    suppressed: Suppressed,
    recipe: str,
    draft: Path,
) -> SealedSnapshot:
    stamp = stored.stamp(known.audience_id, FOLDER) if known.audience_id is not None else None
    sealed: Sealed = seal(
        source,
        draft,
        identify_by=computation.identify_by,
        emails=computation.emails,
        wants_value=computation.computation_class is ComputationClass.TRAIT,
        max_malformed_percent=computation.snapshot.max_malformed_percent,
        suppressed=suppressed,
        salt=database.installation(),
        stamp=stamp.options() if stamp else "",
    )
    return SealedSnapshot(
        path=None,
        location=str(draft),
        checksum=sealed.checksum,
        taken_at=sealed.taken_at,
        rows_read=sealed.rows_read,
        members=sealed.members,
        left_out=sealed.left_out,
        size_bytes=sealed.size_bytes,
        recipe=recipe,
        fingerprint=sealed.fingerprint,
        emails_left_out=sealed.emails_left_out,
        remarks=sealed.remarks,
        unreadable=sealed.unreadable,
        stamp=stamp,
    )


def _by_fingerprint(workspace: Workspace, known: Registered, source: Source, recipe: str) -> SealedSnapshot | None:
    """The last snapshot, when its source file is unchanged and the sealed one is whole."""
    fingerprint = source.origin.trusted_fingerprint if source.origin else None
    if fingerprint is None or known.audience_id is None:
        return None
    row = newest_sealed(workspace.database, known.audience_id)
    if row is None or row.fingerprint != fingerprint or row.recipe != recipe:
        return None
    head = workspace.ledger.head(known.audience_id)
    is_told = head is not None and head.is_settled and head.checksum == row.checksum
    # An idle run, which reads neither file, takes no longer for a larger audience.
    return _snapshot(workspace.files, row) if workspace.stored.is_whole(row.path, thoroughly=not is_told) else None


def _snapshot(files: FileStore, row: StateRow) -> SealedSnapshot:
    return SealedSnapshot(
        path=row.path,
        location=files.location(row.path),
        checksum=row.checksum,
        taken_at=row.taken_at,
        rows_read=row.rows_read,
        members=row.members,
        left_out=row.left_out,
        size_bytes=row.size_bytes,
        recipe=row.recipe,
        fingerprint=row.fingerprint,
        snapshot_id=row.id,
        **_found(row.findings or {}),
    )


def _findings(snapshot: SealedSnapshot) -> dict[str, Any] | None:
    """Return the findings of a snapshot beside its counts."""
    found: dict[str, Any] = {"emails_left_out": snapshot.emails_left_out} if snapshot.emails_left_out else {}
    if snapshot.remarks:
        found["remarks"] = list(snapshot.remarks)
    if snapshot.unreadable:
        found["unreadable"] = asdict(snapshot.unreadable)
    return found or None


def _found(findings: Mapping[str, Any]) -> dict[str, Any]:
    kept = findings.get("unreadable")
    unreadable = Unreadable(**kept | {"protected": tuple(kept["protected"])}) if kept else None
    return {
        "unreadable": unreadable,
        "emails_left_out": findings.get("emails_left_out", 0),
        "remarks": tuple(findings.get("remarks", ())),
    }


def _recipe(computation: Computation, suppressed: Suppressed) -> str:
    """Return how a source becomes a snapshot: when any of this changes, an unchanged file is another snapshot."""
    parts = [
        READING,
        computation.snapshot.model_dump(mode="json", exclude=NOT_IN_RECIPE),
        computation.identify_by,
        computation.emails,
        computation.computation_class,
        sorted(suppressed.hashes),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
