"""What is known of merges is lost, damaged, restored, pruned and moved as every other stored file: noticed, and brought back."""

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.cli.test_tables_and_words import call
from tests.support.people import People
from tests.support.world import KEY, World
from tests.usecases.test_state_restored_or_lost import backed_up, lose, restore
from windsor_sync.domain.change import Limits
from windsor_sync.errors import StoredFileError
from windsor_sync.persons.kin import with_kin
from windsor_sync.state.copying import copy_state
from windsor_sync.state.database import open_database
from windsor_sync.state.tables import merges
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.prune import prune
from windsor_sync.usecases.recover_state import recover_state
from windsor_sync.usecases.retire import retire


def folder_of(people: People) -> Path:
    return people.world.folder / ".windsor" / "files"


@pytest.fixture
def people(world: World) -> People:
    """`a` became `b` and `b` became `c`; `base` has the one and `recent` the other."""
    people = People(world)
    people.snapshot("a", "x", *(f"user-{number}" for number in range(9)))
    people.sync()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("windsor_sync.persons.merges.LEAST_RECENT", 0)
        people.alias(("a", "b"))
    people.alias(("b", "c"))
    people.sync()
    return people


def paths(people: People) -> tuple[Path, Path]:
    known = people.world.workspace.merges.known()
    assert known.base
    assert known.recent
    return folder_of(people) / known.base, folder_of(people) / known.recent


def recent_lost(people: People) -> None:
    paths(people)[1].unlink()


def base_damaged(people: People) -> None:
    base, _ = paths(people)
    content = bytearray(base.read_bytes())
    content[len(content) // 3] ^= 1
    base.write_bytes(content)


def both_lost(people: People) -> None:
    for path in paths(people):
        path.unlink()


@pytest.mark.parametrize("harm", [recent_lost, base_damaged, both_lost])
def test_the_remedy_that_audit_prints_finds_lost_merges_again(people: People, harm: Callable[[People], None]) -> None:
    world = people.world
    assert audit(world.workspace, repair=False) == []
    harm(people)
    assert audit(world.workspace, repair=False)
    for found in audit(world.workspace, repair=False):
        assert "Run `windsor-sync recover --events`" in found.remedy
    people.snapshot("b", "x")
    with pytest.raises(StoredFileError, match="`windsor-sync recover --events`") as raised:
        people.sync()
    assert raised.value.exit_status == 9
    said = call(world, "recover", "--events").out
    assert "Run `windsor-sync sync --all`" in said
    assert audit(world.workspace, repair=False) == []
    assert with_kin(world.workspace.database, world.workspace.files, world.workspace.stored, ["a"]) == {"a", "b", "c"}
    people.snapshot("b", "x", *(f"user-{number}" for number in range(9)))
    run = people.sync()
    assert people.told_by(run) == [("c", True)]  # told again: what was found counts as new
    assert people.planned() == 0
    assert (
        call(world, "recover", "--events").out == "Nothing that the forwarding stands on is lost. Nothing was done.\n"
    )


@pytest.mark.parametrize("how", [restore, lose])
def test_merges_are_found_again_after_the_state_was_restored_or_lost(
    world: World, how: Callable[[World, Path], None]
) -> None:
    people = People(world)
    people.snapshot("a", "x")
    people.sync()
    people.alias(("x", "y"))
    backup = backed_up(world)
    people.alias(("a", "b"))
    people.snapshot("b", "y")
    people.sync()
    how(world, backup)
    recover_state(world.workspace, "a test", None)
    assert with_kin(world.workspace.database, world.workspace.files, world.workspace.stored, ["a", "y"]) == {
        "a",
        "b",
        "x",
        "y",
    }
    run = people.sync()
    assert {name for name, _ in people.told_by(run)} <= {"b", "y"}
    assert people.show(["a", "x"]) == {"a": True, "x": True}
    assert people.sync().books.changes == 0
    assert audit(world.workspace, repair=False) == []


def test_a_recovery_a_resync_and_a_retirement_speak_to_the_surviving_id_alone(people: People) -> None:
    world = people.world
    head = world.workspace.ledger.head(1)
    assert head is not None
    (folder_of(people) / str(head.snapshot_path)).unlink()
    people.snapshot("x", *(f"user-{number}" for number in range(9)))
    run = people.sync(limits=Limits(is_resync=True))  # without the ledger's snapshot: who was told is in outboxes
    told = dict(people.told_by(run))
    assert told["c"] is False
    assert not {"a", "b"} & set(told)
    assert set(people.show("abc").values()) == {False}
    people.snapshot("a", "x", *(f"user-{number}" for number in range(9)))
    people.sync()
    run = people.sync(limits=Limits(is_resync=True))
    assert dict(people.told_by(run)) == {"c": True, "x": True, **{f"user-{number}": True for number in range(9)}}
    run = retire(world.workspace, KEY, "a test", None, world.stop)
    told = dict(people.told_by(run))
    assert set(told.values()) == {False}
    assert "c" in told
    assert not {"a", "b"} & set(told)


def test_pruning_takes_files_of_merges_that_nobody_owns_and_never_one_that_is_known(people: People) -> None:
    known = [path.relative_to(folder_of(people)) for path in paths(people)]
    left = [path.with_name(path.name.replace(path.stem[-4:], "left")) for path in paths(people)]
    for path, copy in zip(paths(people), left, strict=True):
        shutil.copy(path, copy)
    assert prune(people.world.workspace).ownerless == 0
    long_ago = (datetime.now(UTC) - timedelta(days=100)).timestamp()
    for path in folder_of(people).rglob("*.parquet"):
        os.utime(path, (long_ago, long_ago))
    prune(people.world.workspace)
    assert not any(path.exists() for path in left)
    assert all((folder_of(people) / path).exists() for path in known)
    assert audit(people.world.workspace, repair=False) == []


def test_a_copied_state_knows_the_merges(people: People) -> None:
    world = people.world
    source = world.workspace.settings.state
    world.reopen()
    target = f"sqlite:///{world.folder / 'copy.db'}"
    assert copy_state(source, target).rows["merges"] == 1
    copied = open_database(target)
    with copied.read() as connection:
        assert connection.execute(select(merges.c.recent)).scalar_one() is not None
    copied.close()
