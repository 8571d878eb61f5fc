"""Sealed files that were damaged or lost: nothing is sent that they would make wrong, and what mends it is named."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.support.world import KEY, World
from windsor_sync.domain.change import Limits
from windsor_sync.domain.run import Run, RunState
from windsor_sync.errors import StoredFileError
from windsor_sync.sandbox import Faults
from windsor_sync.state.runs import recent
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.recover import recover
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.retire import retire

MEMBERS = [f"user-{number:03}" for number in range(40)]


def halve(file: Path) -> None:
    """Leave half of the rows of a Parquet file."""
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE rows AS SELECT * FROM read_parquet('{file}') WHERE seq % 2 = 0")
        connection.execute(f"COPY rows TO '{file}' (FORMAT parquet)")


@pytest.fixture
def world(make_world: Callable[..., World], state_url: str) -> World:
    """A world on each database the state can live in."""
    world = make_world()
    world.document["state"] = state_url
    return world


@pytest.fixture
def failed(world: World) -> tuple[World, StoredFileError]:
    """A world in which Windsor was down while half of an outbox got lost, and what the sync said."""
    world.destination["give_up_after_s"] = 0.3
    world.windsor.set_faults(Faults.parse({"outage": "unavailable"}))
    world.snapshot(MEMBERS)

    def lose(_run: Run, _delivery: object) -> None:
        (file,) = (world.folder / ".windsor" / "files" / "outboxes").rglob("*.parquet")
        with duckdb.connect() as connection:
            (rows,) = connection.execute(f"SELECT count(*) FROM read_parquet('{file}')").fetchone() or (0,)
        if rows == len(MEMBERS):
            halve(file)

    with pytest.raises(StoredFileError) as said:
        world.sync(on_progress=lose)
    world.windsor.set_faults(Faults())
    return world, said.value


def test_a_run_whose_outbox_lost_rows_fails_in_words_that_its_history_keeps(
    failed: tuple[World, StoredFileError],
) -> None:
    world, error = failed
    (run,) = recent(world.workspace.database)
    assert (run.state, run.sentence, error.exit_status) == (RunState.FAILED, str(error), 9)
    assert "bytes instead of" in str(error)
    assert f"Run `windsor-sync recover {KEY}`" in str(error)
    assert "user-" not in str(error)


def recovered(world: World) -> Run:
    """What `windsor-sync recover KEY` does."""
    return recover(world.workspace, world.computation(), "a test", "a file was lost", world.stop)


def test_after_an_outbox_lost_rows_the_recovery_that_audit_names_makes_windsor_right(
    failed: tuple[World, StoredFileError],
) -> None:
    world, _ = failed
    (outbox,) = audit(world.workspace, repair=False)
    assert f"windsor-sync recover {KEY}" in outbox.remedy
    assert recovered(world).state is RunState.DONE
    assert world.members_shown() == set(MEMBERS)
    assert world.sync().books.changes == 0
    assert audit(world.workspace, repair=False) == []


def overwrite(file: Path) -> None:
    """Of the same length as before, but no Parquet any more."""
    file.write_bytes(bytes(file.stat().st_size))


def flip(file: Path) -> None:
    """One bit in the middle, where the rows are."""
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    """Half of it."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


LOSSES = [Path.unlink, overwrite, flip, cut]


def stored(world: World, folder: str) -> list[Path]:
    """The stored files of a kind, oldest first."""
    return sorted(
        (world.folder / ".windsor" / "files" / folder).rglob("*.parquet"), key=lambda file: file.stat().st_mtime
    )


def forget_the_source(world: World) -> None:
    """Only the newest download is still there, as where they are removed after use."""
    for file in sorted((world.folder / "snapshots").rglob("*.csv"))[:-1]:
        file.unlink()


@pytest.fixture
def owing(world: World) -> World:
    """A world in which one change is owed, and the next snapshot has other members."""
    world.snapshot(MEMBERS)
    world.windsor.set_faults(Faults(rejected_users=frozenset({"user-007"})))
    world.sync()
    world.windsor.set_faults(Faults())
    world.snapshot([*MEMBERS[2:], "newcomer"])
    return world


@pytest.mark.parametrize("lose", LOSSES)
def test_while_an_outbox_is_lost_that_owes_something_nothing_is_sent_until_it_is_restored(
    owing: World, lose: Callable[[Path], None]
) -> None:
    (file,) = stored(owing, "outboxes")
    content = file.read_bytes()
    lose(file)
    with pytest.raises(StoredFileError, match=f"Nothing more was sent.*windsor-sync recover {KEY}") as said:
        owing.sync()
    (found,) = audit(owing.workspace, repair=False)
    assert (found.audience, owing.sent, said.value.exit_status) == (KEY, 39, 9)
    file.write_bytes(content)
    assert owing.sync().state is RunState.DONE
    assert owing.members_shown() == {*MEMBERS[2:], "newcomer"}
    assert audit(owing.workspace, repair=False) == []


@pytest.mark.forms(4)
@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("folder", ["snapshots", "outboxes"])
def test_a_recovery_brings_an_audience_with_a_lost_file_to_the_truth_and_tells_no_stranger_false(
    owing: World, folder: str, lose: Callable[[Path], None]
) -> None:
    forget_the_source(owing)
    lose(stored(owing, folder)[0])
    assert recovered(owing).state is RunState.DONE
    assert owing.members_shown() == {*MEMBERS[2:], "newcomer"}
    assert {user for user, value in owing.shown().items() if value is False} <= {"user-000", "user-001"}
    assert owing.sync().books.changes == 0
    assert audit(owing.workspace, repair=False) == []


@pytest.mark.parametrize("lose", LOSSES)
def test_a_lost_snapshot_whose_source_is_still_there_is_sealed_again_by_the_next_sync(
    world: World, lose: Callable[[Path], None]
) -> None:
    world.snapshot(MEMBERS)
    world.sync()
    lose(stored(world, "snapshots")[0])
    assert len(audit(world.workspace, repair=False)) == 1
    world.snapshot([*MEMBERS[2:], "newcomer"])
    run = world.sync()
    assert (run.state, run.books.entered, run.books.exited) == (RunState.DONE, 1, 2)
    assert world.members_shown() == {*MEMBERS[2:], "newcomer"}
    assert audit(world.workspace, repair=False) == []


def test_a_snapshot_that_is_used_again_is_verified_first_and_replaced_when_it_is_damaged(world: World) -> None:
    world.snapshot(MEMBERS)
    world.sync()
    flip(stored(world, "snapshots")[0])
    world.snapshot(list(reversed(MEMBERS)))  # the same members
    assert world.sync().books.changes == 0
    world.snapshot(MEMBERS[1:])
    assert world.sync().books.exited == 1
    assert audit(world.workspace, repair=False) == []


def test_the_same_members_in_another_order_are_no_damage(world: World) -> None:
    world.snapshot(MEMBERS)
    world.sync()
    world.snapshot([*MEMBERS[20:], *MEMBERS[:20]])
    world.sync()
    assert audit(world.workspace, repair=False) == []
    assert len(stored(world, "snapshots")) == 1


@pytest.mark.parametrize("lose", LOSSES)
def test_the_outbox_of_a_run_that_owes_nothing_may_be_missing(world: World, lose: Callable[[Path], None]) -> None:
    world.snapshot(MEMBERS)
    world.sync()
    lose(stored(world, "outboxes")[0])
    assert audit(world.workspace, repair=False) == []
    world.snapshot([*MEMBERS[2:], "newcomer"])
    assert world.sync().books.changes == 3
    assert world.members_shown() == {*MEMBERS[2:], "newcomer"}


def test_a_lost_file_of_one_audience_holds_up_no_resync_and_no_retirement(owing: World) -> None:
    forget_the_source(owing)
    stored(owing, "snapshots")[0].unlink()
    run = owing.sync(request=Request("backfill", limits=Limits(is_resync=True)))
    assert run.state is RunState.DONE
    assert owing.members_shown() == {*MEMBERS[2:], "newcomer"}
    for file in (*stored(owing, "snapshots"), *stored(owing, "outboxes")[1:]):
        file.unlink()
    assert retire(owing.workspace, KEY, "a test", None, owing.stop).state is RunState.DONE
    assert owing.members_shown() == {"newcomer"}  # only the outbox that is gone knew of them


def test_a_recovery_after_which_everyone_would_leave_is_withheld_like_any_other_run(world: World) -> None:
    world.document["defaults"] = {"guard_floor": 10}
    world.reopen()
    world.snapshot(MEMBERS)
    world.sync()
    world.snapshot(MEMBERS[:4])  # a truncated download
    forget_the_source(world)
    stored(world, "snapshots")[0].unlink()
    run = recovered(world)
    assert (run.state, run.books.withheld) == (RunState.WITHHELD, 36)
    assert world.members_shown() == set(MEMBERS)


def test_where_nothing_is_lost_a_recovery_is_a_sync(world: World) -> None:
    world.snapshot(MEMBERS)
    world.sync()
    world.snapshot(MEMBERS[1:])
    run = recovered(world)
    assert (run.kind, run.books.exited, run.books.changes) == ("recover", 1, 1)


def test_a_file_of_another_run_in_the_place_of_one_is_never_read(owing: World) -> None:
    first = stored(owing, "outboxes")[0]
    owing.sync()
    second = stored(owing, "outboxes")[1]
    owing.windsor.set_faults(Faults(rejected_users=frozenset({"user-009"})))
    owing.sync(request=Request("backfill", limits=Limits(is_resync=True)))
    third = stored(owing, "outboxes")[2]
    third.write_bytes(second.read_bytes())
    owing.snapshot(MEMBERS[3:])
    with pytest.raises(StoredFileError):
        owing.sync()
    assert first.exists()
