"""Rebuilds what the file store knows of a state that was restored from a backup, or lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from windsor_sync.errors import ConfigError, StoredFileError
from windsor_sync.state.audiences import EVENTS_CLASS, audience_row, bring_back, everything_registered, lose_ledger
from windsor_sync.state.audit_log import deeds_of, trail, user_of_this_process
from windsor_sync.state.copying import restart_audience_numbers
from windsor_sync.state.database import Database, StateRow, take_identity
from windsor_sync.state.leases import raise_token, resource_of, tokens
from windsor_sync.state.marks import ForgottenMark, Mark, MarkPlace, Marks
from windsor_sync.state.stored_files import stamp_of
from windsor_sync.state.suppression_key import check_value
from windsor_sync.state.suppressions import (
    FORGET,
    give_up_forgotten,
    hash_in_use,
    let_go_of_suppressions,
    note_key,
    require_key,
    suppress_again,
    wrong_key,
)
from windsor_sync.usecases.approvers import permission_of
from windsor_sync.usecases.learn_merges import rebuild
from windsor_sync.usecases.request import Request
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

    A new state takes over the identity of the one that was lost. Where an audience is brought back,
    its next sync tells every member again, so only `approval.approvers` may do that. Raises ConfigError for another user,
    and where the store holds several states to choose from.
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
    key = _key_of(workspace.database, kept) if kept else None
    gone = [row for row in _without_files(workspace) if row.id not in newest]
    if newest or gone:
        permission_of(workspace.settings, user_of_this_process())
    with workspace.database.write() as connection:
        if strangers:
            take_identity(connection, ours)
            let_go_of_suppressions(connection)  # hashed for another identity; nobody was forgotten under it
        if key is not None:
            note_key(connection, check_value(key))
        forgotten = sum(suppress_again(connection, each.kept_hash(lambda: key)) for each in kept)
        for mark in newest.values():
            bring_back(
                connection,
                mark.audience_id,
                mark.number,
                destination=mark.destination,
                trait_key=mark.audience,
                computation_class=mark.computation_class,
                name=mark.name,
                segment_id=mark.segment_id,
            )
        held = tokens(connection)
        for place in found:
            mark = newest[place.audience_id]
            resource = resource_of(mark.audience, mark.destination, place.shard)
            raise_token(connection, resource, max(place.token, held.get(resource, 0)) + BEYOND)
        restart_audience_numbers(connection)
        for row in gone:
            lose_ledger(connection, row.id)
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


def _key_of(database: Database, kept: Sequence[ForgottenMark]) -> bytes:
    """Return the key under which users were forgotten; raises StoredFileError where it is not here."""
    checks = {each.check for each in kept if each.check is not None}
    if not checks:
        return hash_in_use(database).key
    key = database.key.find()
    if key is None or checks != {check_value(key)}:
        raise wrong_key(database.key)
    return key


@dataclass(frozen=True, slots=True)
class LostKey:
    """The suppressions that were given up with a lost key."""

    forgotten: int
    """users who may be told again"""
    deeds: tuple[tuple[datetime, str, str | None], ...]
    """when, by whom and why they were forgotten"""


def recover_key(database: Database, marks: Marks, who: str, reason: str | None) -> LostKey | None:
    """Give up the suppressions of a key that is lost; returns None where the key is here, and nothing was done."""
    try:
        require_key(database)
        return None
    except StoredFileError:
        pass
    with database.write() as connection:
        gone = give_up_forgotten(connection)
        note_key(connection, None)
        found = [(row.at, row.who, row.why) for row in deeds_of(connection, FORGET)]
        trail(connection, who=who, what="recover key", subject="the suppressions", why=reason, forgotten=gone)
    marks.let_go_of_forgotten()
    return LostKey(gone, tuple(found))


def recover_before_resync(workspace: Workspace, request: Request) -> None:
    """Recover a state that is older than its files before a resync by hand, which needs no ledger that is known."""
    if request.limits.is_resync and workspace.marks.behind():
        recover_state(workspace, request.trigger, request.reason)


def _without_files(workspace: Workspace) -> list[StateRow]:
    """The audiences whose ledger stands on a file that is gone, as after a `forget` that the state does not know."""
    return [
        row
        for row in everything_registered(workspace.database)
        if row.computation_class != EVENTS_CLASS and row.ledger_lost_at is None
        if (head := workspace.ledger.head(row.id))
        for path in [head.snapshot_path, None if head.is_settled else head.outbox_path]
        if path and not workspace.files.exists(path)
    ]


def _mark_by_files(workspace: Workspace, place: MarkPlace) -> Mark:
    """Return the content of an unreadable mark, taken from the state or from a stored file of its audience."""
    row = audience_row(workspace.database, place.audience_id)
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
