"""Suppresses and forgets a person: nothing is sent about them any more, and what is stored about them is purged.

A person has every id that Windsor has merged with the given one. The files of merges name the person too: they are purged
last, so that a `forget` that was killed and is repeated finds the same ids.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from windsor_sync.domain.suppression import salted
from windsor_sync.errors import LeaseHeld, StoredFileError
from windsor_sync.persons.kin import with_kin
from windsor_sync.persons.purge import Ids, names_hashed, names_person, write_without
from windsor_sync.segment.trait_keys import TraitKey
from windsor_sync.snapshots.seal import content_checksum
from windsor_sync.state.audiences import audience_row, everything_registered
from windsor_sync.state.audit_log import trail
from windsor_sync.state.database import Database
from windsor_sync.state.leases import Lease
from windsor_sync.state.ledger import Ledger
from windsor_sync.state.snapshots import forget_protected, leave_out_user
from windsor_sync.state.stored_files import MERGES, Named, Placed, StoredFiles, is_of_merges, stamp_of, take_place_of
from windsor_sync.state.suppression_key import check_value
from windsor_sync.state.suppressions import forgotten_hashes, hash_in_use, suppress_for_good, suppressed_users
from windsor_sync.storage.file_store import FileStore
from windsor_sync.usecases.learn_merges import begin, learn_of_dead
from windsor_sync.usecases.workspace import Workspace

READERS_S = 10.0
"""How long `forget` waits for commands that hold no lease, such as a plan."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The result of forgetting a user."""

    is_new: bool
    """whether the user was not suppressed before"""
    snapshots: int
    """files from which the user was removed"""
    outboxes: int
    ids: tuple[str, ...]
    """of the person, the given one first; they may be shown to the person who asked, and never logged"""


def user_hash(workspace: Workspace, user_id: str) -> str:
    """Return how a suppressed user is kept: not as an id."""
    return hash_in_use(workspace.database).of(user_id)


def is_suppressed(database: Database, user_id: str) -> bool:
    """Whether nothing may be sent about the user."""
    return user_id in suppressed_users(database)


def forget(workspace: Workspace, user_id: str, *, who: str, why: str | None) -> Forgotten:
    """Suppress the user for good, under every id that Windsor has merged with the given one, and purge every stored file of them.

    Safe to repeat. A file with the user is written again without them, under a name of its own; the state names it before the
    old one goes. Windsor itself is not told: it takes no deletions from here, so a person has to delete the user there.
    Raises LeaseHeld while a run is writing, or another command has what it read in its scratch folder; then the user is
    suppressed, but not purged yet.
    """
    workspace.marks.require_own()
    damaged: list[StoredFileError] = []
    is_new = _suppress(workspace, (user_id,), who=who, why=why)
    begin(workspace)
    ids = _person(workspace, user_id, damaged)
    is_new |= _suppress(workspace, ids, who=who, why=why)
    with _everything_held(workspace, f"forget by {who}") as leases:
        _wait_for_readers(workspace.files)
        learn_of_dead(workspace)
        if more := set(_person(workspace, user_id, [])) - set(ids):  # merged while the leases were waited for
            ids = (*ids, *sorted(more))
            _suppress(workspace, ids, who=who, why=why)
        named = [file for file in workspace.stored.named() if not file.is_of_merges]
        needed = _stood_on(workspace.database, workspace.ledger)
        purged = [
            file
            for file in named
            if _purge_or_remove(workspace, file, ids, leases.get(file.audience_id), needed, damaged)
        ]
        _remove_unnamed(workspace, {file.path for file in named}, ids, list(leases.values()))
        _purge_findings(workspace.database, ids)
        _purge_merges(workspace, ids, leases, damaged)
    if damaged:
        raise StoredFileError(
            f"{damaged[0].finding} Whether it holds the user is not known. The user is suppressed, and purged from every other "
            f"file. {damaged[0].remedy} Then run the same command again."
        )
    snapshots_purged = {file.whole for file in purged if file.is_snapshot}
    outboxes_purged = {file.whole for file in purged if not file.is_snapshot}
    return Forgotten(is_new, len(snapshots_purged), len(outboxes_purged), ids)


def _person(workspace: Workspace, user_id: str, damaged: list[StoredFileError]) -> tuple[str, ...]:
    """Return the person's ids, the given one first; only that one where merges cannot be read, with the error in `damaged`."""
    try:
        return (
            user_id,
            *sorted(with_kin(workspace.database, workspace.files, workspace.stored, [user_id]) - {user_id}),
        )
    except StoredFileError as error:
        damaged.append(error)
        return (user_id,)


def _suppress(workspace: Workspace, ids: Ids, *, who: str, why: str | None) -> bool:
    """Suppress all ids in one commit, and record it in the file store; returns whether one was not suppressed for good before."""
    hashing = hash_in_use(workspace.database)
    digests = {hashing.of(name) for name in ids}
    with workspace.database.write() as connection:
        fresh = suppress_for_good(connection, digests)
        for digest in fresh:
            trail(connection, who=who, what="forget", subject="a user", why=why, user_hash=digest)
    workspace.marks.keep_forgotten(forgotten_hashes(workspace.database), check_value(hashing.key))
    return bool(fresh)


@contextmanager
def _everything_held(workspace: Workspace, holder: str) -> Iterator[dict[int, Lease]]:
    """Hold the leases on all that has runs, by audience id, so that no run reads a file while it is rewritten."""
    with ExitStack() as held:
        yield {
            row.id: held.enter_context(workspace.hold(TraitKey(row.trait_key), holder, destination=row.destination))
            for row in everything_registered(workspace.database)
        }


def _wait_for_readers(files: FileStore) -> None:
    """Wait until every command has ended its work that may have read the user before the suppression.

    A plan holds no lease, and would put back what is purged beside it; one that begins now leaves the user out.
    """
    give_up_at = time.monotonic() + READERS_S
    readers = files.readers()
    while left := [reader for reader in readers if reader.is_there and not reader.is_left]:
        if time.monotonic() > give_up_at:
            raise LeaseHeld(
                f"Nothing was purged: {', '.join(sorted({reader.process for reader in left}))} may have read the user before and "
                f"works in {left[0].path}. The user is suppressed: nothing is sent about them any more. Run the same command "
                "again when that command has ended; `windsor-sync audit` names folders that nobody works in."
            )
        time.sleep(0.05)
    files.readers()  # of a process that died meanwhile, what it left


def _stood_on(database: Database, ledger: Ledger) -> set[str]:
    """The files that say what Windsor was told, for any destination."""
    ids = [row.id for row in everything_registered(database) if row.ledger_lost_at is None]
    heads = [head for audience_id in ids if (head := ledger.head(audience_id))]
    paths = [path for head in heads for path in (head.snapshot_path, None if head.is_settled else head.outbox_path)]
    return {path for path in paths if path}


def _purge_or_remove(
    workspace: Workspace,
    file: Named,
    ids: Ids,
    lease: Lease | None,
    needed: set[str],
    damaged: list[StoredFileError],
) -> bool:
    """Purge a file; remove one that is damaged, or put its error to `damaged` where the ledger stands on it."""
    try:
        return _purge(workspace, file, ids, lease)
    except StoredFileError as error:
        if file.whole not in needed:
            if lease is not None:
                lease.require()
            workspace.files.delete(file.path)
            return True
        damaged.append(_named(workspace.stored, file, error))
        return False


def _named(stored: StoredFiles, file: Named, error: StoredFileError) -> StoredFileError:
    """The error that names the file and what heals it, where the state can tell."""
    try:
        stored.confirm(file.whole, thoroughly=True)
    except StoredFileError as named:
        return named
    return error


def _purge(workspace: Workspace, file: Named, ids: Ids, lease: Lease | None) -> bool:
    """Put a file without the user in the place of one with them; whether the user was in it.

    `lease` is None for an audience that is newer than the suppression.
    """
    neighbours = workspace.stored.neighbours(file)
    fresh = _written_without(workspace.files, workspace.stored, file, ids)
    if fresh is None:
        return False
    with workspace.database.write() as connection:
        if lease is not None:  # a run that took over may be reading the file
            lease.fence(connection)
        take_place_of(connection, file, fresh.placed, neighbours)
        if file.is_snapshot:
            leave_out_user(connection, fresh.placed.path, fresh.rows, fresh.checksum, fresh.placed.size_bytes)
    workspace.files.delete(file.path)
    return True


@dataclass(frozen=True, slots=True)
class _Fresh:
    """A file that was written again without a person."""

    placed: Placed
    rows: int
    """of the person, in the file of before"""
    checksum: str
    """of a snapshot's content; else empty"""


def _written_without(files: FileStore, stored: StoredFiles, file: Named, ids: Ids) -> _Fresh | None:
    """Write a file again without the person, under a name of its own; None when it does not name them."""
    stamp = stored.again(file)
    with files.draft() as draft:
        rows = write_without(
            file,
            files.location(file.path),
            ids,
            draft,
            options=stamp.options(),
            confirm=partial(stored.confirm_part, file.path),
        )
        if rows is None:
            return None
        checksum = content_checksum(draft) if file.is_snapshot else ""
        whole = None if file.path == file.whole else file.whole
        return _Fresh(stored.put(draft, stamp.path, whole), rows, checksum)


def _purge_findings(database: Database, ids: Ids) -> None:
    """Take the person out of the findings: of a row that could not be read, its user's hash is kept, without a key."""
    hashes = {salted(database.installation(), name) for name in ids}
    with database.write() as connection:
        forget_protected(connection, hashes)


def _remove_unnamed(workspace: Workspace, named: set[str], ids: Ids, leases: Sequence[Lease]) -> None:
    """Remove what killed processes left of the user: files of this installation that its state does not name.

    A damaged one is removed too: nobody can tell whether it holds the user. What a recovery will read, because the state
    was restored or lost, is written again without them.
    """
    for path in workspace.stored.unnamed(named):
        if is_of_merges(path):
            continue  # these tell which ids are the person's, so they go last
        location = workspace.files.location(path)
        stamp = stamp_of(location)
        for lease in leases:  # what a run that took over has stored is not among `named`
            lease.require()
        owner = audience_row(workspace.database, stamp.audience_id) if stamp and stamp.path == path else None
        try:
            if stamp is not None and owner is not None and owner.ledger_lost_at is not None:
                _purge_unnamed(
                    workspace.files,
                    workspace.stored,
                    Named(path, path, stamp.audience_id, stamp.number is None, stamp.number),
                    ids,
                )
            elif names_person(location, ids):
                workspace.files.delete(path)
        except StoredFileError:
            workspace.files.delete(path)


def _purge_unnamed(files: FileStore, stored: StoredFiles, file: Named, ids: Ids) -> None:
    """Put a file without the user beside one with them, and remove that one; the state names neither."""
    if _written_without(files, stored, file, ids):
        files.delete(file.path)


def _purge_merges(workspace: Workspace, ids: Ids, leases: Mapping[int, Lease], damaged: list[StoredFileError]) -> None:
    """Take the person out of all files of merges in one commit, since one file alone may have only half of the ids."""
    purged: list[tuple[Named, _Fresh]] = []
    try:
        for file in workspace.stored.named():
            if file.is_of_merges and (fresh := _written_without(workspace.files, workspace.stored, file, ids)):
                purged.append((file, fresh))
    except StoredFileError as error:
        damaged.append(error)
        return
    if purged:
        with workspace.database.write() as connection:
            for lease in leases.values():
                lease.fence(connection)
            for file, without in purged:
                take_place_of(connection, file, without.placed)
    _remove_older_merges(workspace, list(leases.values()))


def _remove_older_merges(workspace: Workspace, leases: Sequence[Lease]) -> None:
    """Remove files of merges that the state does not name and that have an id with the hash of a forgotten one.

    After a `forget` that was killed after its last commit, only these files still say which ids were one person.
    """
    hashes, hashing = forgotten_hashes(workspace.database), hash_in_use(workspace.database)
    for path in workspace.stored.unnamed({file.path for file in workspace.stored.named()}, MERGES):
        for lease in leases:
            lease.require()
        try:
            is_named = names_hashed(workspace.files.location(path), hashes, hashing)
        except StoredFileError:
            is_named = True  # an unreadable file may name the person
        if is_named:
            workspace.files.delete(path)
