"""Rebuilds what the file store knows of a state that was restored from a backup, or lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from windsor_sync.errors import ConfigError, StoredFileError
from windsor_sync.state.approvals import trail
from windsor_sync.state.audiences import EVENTS_CLASS
from windsor_sync.state.copying import restart_numbers
from windsor_sync.state.leases import raise_token, resource_of, tokens
from windsor_sync.state.marks import ForgottenMark, Mark, MarkPlace
from windsor_sync.state.stored_files import stamp_of
from windsor_sync.state.suppression_key import check_value
from windsor_sync.state.suppressions import hash_in_use, require_key, wrong_key
from windsor_sync.state.tables import audiences, audit_trail, installation, readings, suppressions
from windsor_sync.usecases.forget import FORGET
from windsor_sync.usecases.learn_merges import rebuild
from windsor_sync.usecases.prepare import Request
from windsor_sync.usecases.suppression_list import LIST
from windsor_sync.usecases.workspace import Workspace

BEYOND = 1_000
"""How far a recovery raises tokens: a writer that was paused before the restore has a smaller token than every later one."""


@dataclass(frozen=True, slots=True)
class RecoveredState:
    """The runs and users that the store knew and the state did not."""

    audiences: tuple[str, ...]
    """trait keys whose ledger is lost: the next sync takes who was told true from outboxes and snapshots"""
    forgotten: int
    """users whose suppression was brought back"""
    has_events: bool
    """whether the forwarding goes back too: it reads archive files again, and sends their messages again"""


def recover_state(workspace: Workspace, who: str, reason: str | None) -> RecoveredState:
    """Bring the state up to what the file store knows; sends nothing, safe to repeat.

    A new state takes over the identity of the one that was lost. Raises ConfigError where the store holds several to choose
    from.
    """
    strangers = workspace.marks.strangers()
    identities = {mark.installation for mark in strangers}
    if len(identities) > 1:
        raise ConfigError(
            "The file store holds what several lost states have told this destination. Nothing was done. Copy the files of the "
            "right one to a folder of their own, and name that as `files`."
        )
    ours = identities.pop() if identities else workspace.database.installation()
    found = (
        [place for place in workspace.marks.places() if place.installation == ours]
        if strangers
        else workspace.marks.behind()
    )
    marks = [mark for place in found if (mark := workspace.marks.read(place) or _mark_by_files(workspace, place))]
    newest = {mark.audience_id: mark for mark in sorted(marks, key=lambda mark: mark.number)}
    kept = workspace.marks.forgotten(ours)
    key = _key_of(workspace, kept) if kept else None
    gone = [row for row in _without_files(workspace) if row.id not in newest]
    with workspace.database.write() as connection:
        if strangers:
            connection.execute(update(installation).values(id=ours))
            _read_segments_list_again(connection)
        if key is not None:
            connection.execute(update(installation).values(suppression_check=check_value(key)))
        forgotten = sum(_suppress(connection, each.kept_hash(lambda: key)) for each in kept)
        for mark in newest.values():
            _bring_back(connection, mark)
        held = tokens(connection)
        for place in found:
            mark = newest[place.audience_id]
            resource = resource_of(mark.audience, mark.destination, place.shard)
            raise_token(connection, resource, max(place.token, held.get(resource, 0)) + BEYOND)
        restart_numbers(connection, audiences)
        for row in gone:
            _lose_ledger(connection, row.id)
        lost = {*(mark.audience for mark in newest.values() if mark.computation_class != EVENTS_CLASS)}
        lost |= {row.trait_key for row in gone}
        if newest or gone or forgotten:
            keys = sorted({*lost, *(mark.audience for mark in newest.values())})
            trail(connection, who=who, what="recover state", subject=", ".join(keys), why=reason, forgotten=forgotten)
    if key is not None:
        workspace.marks.give_keys(ours, lambda: key)
    if newest or gone:
        rebuild(workspace)
    has_events = any(mark.computation_class == EVENTS_CLASS for mark in newest.values())
    return RecoveredState(tuple(sorted(lost)), forgotten, has_events)


def _key_of(workspace: Workspace, kept: Sequence[ForgottenMark]) -> bytes:
    """Return the key under which users were forgotten; raises StoredFileError where it is not here."""
    checks = {each.check for each in kept if each.check is not None}
    if not checks:
        return hash_in_use(workspace.database).key
    key = workspace.database.key.find()
    if key is None or checks != {check_value(key)}:
        raise wrong_key(workspace.database.key)
    return key


def _read_segments_list_again(connection: Connection) -> None:
    """Let go of what was hashed for another identity; nobody was forgotten under it."""
    connection.execute(delete(suppressions))
    connection.execute(delete(readings).where(readings.c.what == LIST))


@dataclass(frozen=True, slots=True)
class LostKey:
    """The suppressions that were given up with a lost key."""

    forgotten: int
    """users who may be told again"""
    deeds: tuple[tuple[datetime, str, str | None], ...]
    """when, by whom and why they were forgotten"""


def recover_key(workspace: Workspace, who: str, reason: str | None) -> LostKey | None:
    """Give up the suppressions of a key that is lost; returns None where the key is here, and nothing was done."""
    try:
        require_key(workspace.database)
        return None
    except StoredFileError:
        pass
    deeds = select(audit_trail.c.at, audit_trail.c.who, audit_trail.c.why).where(audit_trail.c.what == FORGET)
    with workspace.database.write() as connection:
        gone = connection.execute(delete(suppressions).where(suppressions.c.origin == FORGET)).rowcount
        _read_segments_list_again(connection)
        connection.execute(update(installation).values(suppression_check=None))
        found = [(row.at, row.who, row.why) for row in connection.execute(deeds.order_by(audit_trail.c.id))]
        trail(connection, who=who, what="recover key", subject="the suppressions", why=reason, forgotten=gone)
    workspace.marks.let_go_of_forgotten()
    return LostKey(gone, tuple(found))


def recover_before_resync(workspace: Workspace, request: Request) -> None:
    """Recover a state that is older than its files before a resync by hand, which needs no ledger that is known."""
    if request.limits.is_resync and workspace.marks.behind():
        recover_state(workspace, request.trigger, request.reason)


def _without_files(workspace: Workspace) -> list[Row[Any]]:
    """The audiences whose ledger stands on a file that is gone, as after a `forget` that the state does not know."""
    query = select(audiences).where(audiences.c.computation_class != EVENTS_CLASS, audiences.c.ledger_lost_at.is_(None))
    with workspace.database.read() as connection:
        rows = connection.execute(query).all()
    return [
        row
        for row in rows
        if (head := workspace.ledger.head(row.id))
        for path in [head.snapshot_path, None if head.is_settled else head.outbox_path]
        if path and not workspace.files.exists(path)
    ]


def _lose_ledger(connection: Connection, audience_id: int) -> None:
    connection.execute(update(audiences).where(audiences.c.id == audience_id).values(ledger_lost_at=datetime.now(UTC)))


def _mark_by_files(workspace: Workspace, place: MarkPlace) -> Mark:
    """Return the content of an unreadable mark, taken from the state or from a stored file of its audience."""
    with workspace.database.read() as connection:
        row = connection.execute(select(audiences).where(audiences.c.id == place.audience_id)).one_or_none()
    if row is not None:
        return workspace.marks.mark_of(row, place.installation, place.number, "")
    stamps = (stamp_of(workspace.files.location(path)) for path in workspace.stored.unnamed(()))
    stamp = next((stamp for stamp in stamps if stamp and stamp.audience_id == place.audience_id), None)
    if stamp is None:
        raise ConfigError(
            f"{place.path} in the file store cannot be read, and no stored file says which audience it belongs to. Nothing was "
            "done. Remove that file, then run again: what the audience was told before stays in Windsor."
        )
    named = (stamp.audience_id, stamp.audience, stamp.computation_class, stamp.name, stamp.segment_id)
    return Mark(place.installation, stamp.destination, "", *named, place.number, "", "")


def _bring_back(connection: Connection, mark: Mark) -> None:
    """Let the audience's next run follow the marked one, and know that what Windsor was told is not known."""
    moment = datetime.now(UTC)
    lost_at = None if mark.computation_class == EVENTS_CLASS else moment
    known = connection.execute(select(audiences.c.id).where(audiences.c.id == mark.audience_id)).one_or_none()
    if known is None:
        connection.execute(
            insert(audiences).values(
                id=mark.audience_id,
                destination=mark.destination,
                trait_key=mark.audience,
                computation_class=mark.computation_class,
                name=mark.name,
                segment_id=mark.segment_id,
                created_at=moment,
            )
        )
    connection.execute(
        update(audiences).where(audiences.c.id == mark.audience_id).values(runs=mark.number, ledger_lost_at=lost_at)
    )


def _suppress(connection: Connection, user_hash: str) -> bool:
    here = suppressions.c.user_hash == user_hash
    if connection.execute(select(func.count()).select_from(suppressions).where(here)).scalar_one():
        return False
    connection.execute(insert(suppressions).values(user_hash=user_hash, origin=FORGET, at=datetime.now(UTC)))
    return True
