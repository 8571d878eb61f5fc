"""What a recovery and `forget` meet beside the damage itself: orphans, pruned files, other destinations, older versions."""

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete

from tests.support.archive import Archive
from tests.support.world import KEY, TRAIT_KEY, World
from tests.usecases.test_damaged_files import MEMBERS, cut, flip, forget_the_source, overwrite, recovered, stored
from tests.usecases.test_state_restored_or_lost import backed_up, lose, restore
from windsor_sync.domain.run import RunState
from windsor_sync.errors import StoredFileError
from windsor_sync.events import sealing
from windsor_sync.sandbox import Faults
from windsor_sync.state.ledger import Ledger
from windsor_sync.state.tables import stored_files
from windsor_sync.storage.duckdb_engine import open_duckdb, open_stored, parquet
from windsor_sync.storage.duckdb_engine import stored_files as stored_rows
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.forget import forget
from windsor_sync.usecases.forward import ForwardRequest, forward
from windsor_sync.usecases.prune import prune
from windsor_sync.usecases.recover_state import recover_state
from windsor_sync.usecases.retire import retire
from windsor_sync.usecases.why import why


def forgotten(world: World, user: str) -> None:
    forget(world.workspace, user, who="a test", why=None)


def recovered_state(world: World) -> None:
    recover_state(world.workspace, "a test", None)


def let_age(world: World) -> None:
    """Everything stored is two days old, as in the morning after a weekend."""
    then = time.time() - 2 * 86_400
    for file in (world.folder / ".windsor" / "files").rglob("*.parquet"):
        os.utime(file, (then, then))


@pytest.fixture
def world(world: World) -> World:
    world.document["defaults"]["max_exited_percent"] = None
    return world


@pytest.fixture
def restored(world: World) -> World:
    """The state knows of ten members; thirty more were told true since, and ten of those are members still."""
    world.snapshot(MEMBERS[:10])
    world.sync()
    backup = backed_up(world)
    world.snapshot(MEMBERS)
    world.sync()
    world.snapshot(MEMBERS[:20])
    restore(world, backup)
    return world


def test_a_prune_between_a_restore_and_the_next_sync_removes_nothing_that_a_recovery_needs(restored: World) -> None:
    let_age(restored)
    prune(restored.workspace)
    recovered_state(restored)
    prune(restored.workspace)
    restored.sync()
    assert restored.members_shown() == set(MEMBERS[:20])


def test_a_user_who_is_forgotten_after_a_restore_takes_nobody_else_along(restored: World) -> None:
    with pytest.raises(StoredFileError, match="windsor-sync recover --state"):
        forgotten(restored, MEMBERS[25])
    recovered_state(restored)
    forgotten(restored, MEMBERS[25])
    restored.sync()
    assert restored.members_shown() == {*MEMBERS[:20], MEMBERS[25]}
    assert not [file for file in stored(restored, "outboxes") if MEMBERS[25].encode() in file.read_bytes()]


def test_what_a_killed_writer_has_left_is_told_to_nobody_by_a_recovery(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.snapshot(MEMBERS)
    world.sync()
    world.snapshot([*MEMBERS, "never-told"])

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "open_run", die)
        with pytest.raises(KeyboardInterrupt):
            world.sync()
    assert len(stored(world, "outboxes")) == 2
    world.snapshot(MEMBERS[1:])
    forget_the_source(world)
    stored(world, "snapshots")[0].unlink()
    recovered(world)
    assert world.members_shown() == set(MEMBERS[1:])
    assert "never-told" not in world.shown()


def test_the_guard_judges_exits_that_were_withheld_before_the_state_was_lost(world: World) -> None:
    del world.document["defaults"]["max_exited_percent"]
    crowd = [f"user-{number:03}" for number in range(200)]
    world.snapshot(crowd)
    world.sync()
    backup = backed_up(world)
    world.snapshot(crowd[:20])
    assert world.sync().state is RunState.WITHHELD
    restore(world, backup)
    recovered_state(world)
    assert world.sync().state is RunState.WITHHELD
    assert world.members_shown() == set(crowd)
    world.snapshot(crowd[:190])
    assert world.sync().state is RunState.DONE
    assert world.members_shown() == set(crowd[:190])


def test_the_guard_judges_exits_that_were_withheld_before_the_snapshot_was_lost(world: World) -> None:
    del world.document["defaults"]["max_exited_percent"]
    crowd = [f"user-{number:03}" for number in range(200)]
    world.snapshot(crowd)
    world.sync()
    world.snapshot(crowd[:20])
    world.sync()
    world.snapshot(crowd[:21])
    forget_the_source(world)
    stored(world, "snapshots")[1].unlink()
    assert recovered(world).state is RunState.WITHHELD
    assert world.members_shown() == set(crowd)


def test_one_recovery_brings_back_a_lost_state_with_all_its_destinations(world: World) -> None:
    world.snapshot(MEMBERS)
    world.sync()
    world.reopen()
    world.destination["name"] = "second"
    world.snapshot(MEMBERS[1:])
    world.sync()
    world.reopen()
    world.destination["name"] = "windsor"
    lose(world, world.folder)
    recovered_state(world)
    world.snapshot(MEMBERS[3:])
    assert world.sync().state is RunState.DONE
    assert world.members_shown() == set(MEMBERS[3:])


@pytest.mark.parametrize("syncs_before", [0, 1])
def test_a_mark_that_cannot_be_read_is_no_obstacle_to_a_recovery(world: World, syncs_before: int) -> None:
    world.workspace.database.installation()
    for _ in range(syncs_before):
        world.snapshot(MEMBERS)
        world.sync()
    backup = backed_up(world)
    world.snapshot(MEMBERS[1:])
    world.sync()
    restore(world, backup)
    for mark in (world.folder / ".windsor" / "files" / "marks").rglob("*.json"):
        mark.write_bytes(b"\xff\x00")
    with pytest.raises(StoredFileError, match="recover --state"):
        world.sync()
    recovered_state(world)
    world.snapshot(MEMBERS[2:])
    world.sync()
    assert world.members_shown() == set(MEMBERS[2:])


def test_a_retired_audience_with_a_lost_outbox_is_retired_again_by_the_named_command(world: World) -> None:
    world.snapshot(MEMBERS)
    world.sync()
    world.windsor.set_faults(Faults(rejected_users=frozenset({MEMBERS[3]})))
    retire(world.workspace, KEY, "a test", None, world.stop)
    world.windsor.set_faults(Faults())
    world.document["audiences"] = []
    world.reopen()
    stored(world, "outboxes")[1].unlink()
    (found,) = audit(world.workspace, repair=False)
    assert f"`windsor-sync retire {KEY}`" in found.remedy
    retire(world.workspace, KEY, "a test", None, world.stop)
    assert world.members_shown() == set()
    assert audit(world.workspace, repair=False) == []


DAMAGES = [overwrite, flip, cut]


def test_a_file_with_any_bit_changed_is_read_or_said_to_be_damaged(tmp_path: Path) -> None:
    """Never a fault of ours, nor a store that is out of reach for a while."""
    rows = "SELECT i AS seq, 'user-' || i AS user_id, CASE WHEN i % 2 = 0 THEN 'x' || i END AS email, now() AS moment"
    whole, file = tmp_path / "whole.parquet", tmp_path / "file.parquet"
    with open_stored() as connection:
        connection.execute(f"COPY ({rows} FROM range(300) r(i)) TO '{whole}' (FORMAT parquet, COMPRESSION zstd)")
    content = whole.read_bytes()
    chance = random.Random(12)
    damaged = 0
    with open_duckdb() as connection:
        for _ in range(400):
            changed = bytearray(content)
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
            file.write_bytes(changed)
            try:
                with stored_rows():
                    connection.execute(f"SELECT * FROM {parquet(str(file))}").fetchall()
            except StoredFileError:
                damaged += 1
    assert damaged > 50


@pytest.mark.parametrize("damage", [Path.unlink, *DAMAGES])
def test_why_answers_although_an_outbox_that_owes_nothing_is_lost(world: World, damage: Callable[[Path], None]) -> None:
    world.snapshot(MEMBERS)
    world.sync()
    world.snapshot(MEMBERS[1:])
    world.sync()
    damage(stored(world, "outboxes")[0])
    (gone, *_), (stays, *_) = (why(world.workspace, user) for user in (MEMBERS[0], MEMBERS[3]))
    assert (gone.told, stays.told, stays.was_told) == (False, True, True)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_that_owes_nothing_stops_no_user_from_being_forgotten(
    world: World, damage: Callable[[Path], None]
) -> None:
    world.snapshot(MEMBERS)
    world.sync()
    world.snapshot(MEMBERS[1:])
    world.sync()
    first = stored(world, "outboxes")[0]
    leftover = first.with_name(f"{first.name[:-12]}0000.parquet")
    shutil.copy(first, leftover)
    damage(first)
    damage(leftover)
    forgotten(world, MEMBERS[4])
    assert not first.exists()
    assert not leftover.exists()
    assert audit(world.workspace, repair=False) == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_that_a_sync_needs_keeps_its_name_until_it_is_recovered(
    world: World, damage: Callable[[Path], None]
) -> None:
    """The flipped bit must not get a new checksum by being written again."""
    world.snapshot(MEMBERS)
    world.sync()
    forget_the_source(world)
    damage(stored(world, "snapshots")[0])
    world.snapshot(MEMBERS[1:])
    forget_the_source(world)
    with pytest.raises(StoredFileError, match=f"windsor-sync recover {KEY}.*run the same command again"):
        forgotten(world, MEMBERS[4])
    assert len(audit(world.workspace, repair=False)) == 1
    recovered(world)
    forgotten(world, MEMBERS[4])
    assert world.members_shown() == set(MEMBERS[1:])
    assert audit(world.workspace, repair=False) == []


def test_a_user_is_forgotten_in_one_part_of_an_outbox_of_an_older_version(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "STRETCH_WEIGHT", 4)
    archive = Archive(world)
    users = [f"user-{number}" for number in range(20)]
    archive.write([archive.message("track", user) for user in users])
    world.destination["give_up_after_s"] = 0.3
    world.windsor.set_faults(Faults.parse({"outage": "unavailable"}))
    forward(world.workspace, ForwardRequest(), world.stop)
    world.windsor.set_faults(Faults())
    assert len(stored(world, "outboxes")) == 5
    with world.workspace.database.write() as connection:
        connection.execute(delete(stored_files))  # as the version before it left the state
    forgotten(world, users[3])
    assert audit(world.workspace, repair=False) == []
    forward(world.workspace, ForwardRequest(), world.stop)
    assert {str(message.user_id) for message in world.windsor.store.accepted} == set(users) - {users[3]}


def test_the_names_of_stored_files_stay_short_however_many_users_are_forgotten(world: World) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", f"user-{number}") for number in range(3)])
    forward(world.workspace, ForwardRequest(), world.stop)
    lengths = set()
    for number in range(3):
        forgotten(world, f"user-{number}")
        lengths |= {len(file.name) for file in stored(world, "outboxes")}
    assert len(lengths) == 1


def test_a_state_restored_to_before_the_first_sync_is_brought_back_twice(world: World) -> None:
    world.workspace.database.installation()
    backup = backed_up(world)
    world.snapshot(MEMBERS)
    world.values({"ana": 1, "ben": 2})
    world.sync()
    world.sync(TRAIT_KEY)
    for first in (1, 2):
        world.snapshot(MEMBERS[first:])
        restore(world, backup)
        recovered_state(world)
        recovered_state(world)
        assert world.sync().state is RunState.DONE
        assert world.members_shown() == set(MEMBERS[first:])
        assert world.sync(TRAIT_KEY).state is RunState.DONE
    assert audit(world.workspace, repair=False) == []


def test_a_snapshot_of_which_nothing_was_sent_is_no_proof_that_anybody_was_told(world: World) -> None:
    """One run was stopped before its first message; a later one found other members. Nothing is told of those of the first."""
    world.stop.press()
    world.snapshot(MEMBERS[:20])
    assert world.sync().state is RunState.INTERRUPTED
    world.reopen()
    world.snapshot(MEMBERS[20:])
    world.sync()
    stored(world, "snapshots")[1].unlink()
    world.snapshot(MEMBERS[21:])
    forget_the_source(world)
    assert recovered(world).options["is_recovery"]
    assert world.shown() == dict.fromkeys(MEMBERS[21:], True) | {MEMBERS[20]: False}
