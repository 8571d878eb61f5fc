"""Sealed files that were damaged or lost: nothing is sent that they would make wrong, and what mends it is named."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.support.world import KEY, World
from windsor_sync.audit import audit
from windsor_sync.errors import StateUnavailable
from windsor_sync.outbox import Limits
from windsor_sync.runs import Run, RunState, UnbalancedBooksError, recent
from windsor_sync.sandbox import Faults
from windsor_sync.sync import Request

MEMBERS = [f"user-{number:03}" for number in range(40)]


def halve(file: Path) -> None:
    """Leave half of the rows of a Parquet file."""
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE rows AS SELECT * FROM read_parquet('{file}') WHERE seq % 2 = 0")
        connection.execute(f"COPY rows TO '{file}' (FORMAT parquet)")


@pytest.fixture
def failed(world: World) -> tuple[World, UnbalancedBooksError]:
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

    with pytest.raises(UnbalancedBooksError) as said:
        world.sync(on_progress=lose)
    world.windsor.set_faults(Faults())
    return world, said.value


def test_a_run_whose_outbox_lost_rows_fails_in_words_that_its_history_keeps(
    failed: tuple[World, UnbalancedBooksError],
) -> None:
    world, error = failed
    (run,) = recent(world.workspace.database)
    assert (run.state, run.sentence, error.exit_status) == (RunState.FAILED, str(error), 1)
    assert f"The books of run {run.run_id} do not balance: 40 changes were found, 20 are accounted for." in str(error)
    assert "What was delivered is recorded and stands" in str(error)
    assert "user-" not in str(error)


def test_after_an_outbox_lost_rows_audit_names_the_resync_that_makes_windsor_right(
    failed: tuple[World, UnbalancedBooksError],
) -> None:
    world, _ = failed
    books, outbox = audit(world.workspace, repair=False)
    assert "do not balance" in books.text
    assert f"backfill {KEY} --mode resync" in outbox.remedy
    assert world.sync(request=Request("backfill", limits=Limits(is_resync=True))).state is RunState.DONE
    assert world.members_shown() == set(MEMBERS)
    assert world.sync().books.changes == 0


def overwrite(file: Path) -> None:
    """Of the same length as before, but no Parquet any more."""
    file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.parametrize("folder", ["snapshots", "outboxes"])
@pytest.mark.parametrize(("lose", "words"), [(Path.unlink, "is missing"), (overwrite, "is damaged")])
def test_while_a_sealed_file_is_lost_a_sync_sends_nothing_and_says_so_until_it_is_restored(
    world: World, folder: str, lose: Callable[[Path], None], words: str
) -> None:
    world.snapshot(MEMBERS)
    world.windsor.set_faults(Faults(rejected_users=frozenset({"user-007"})))
    world.sync()
    world.windsor.set_faults(Faults())
    (file,) = (world.folder / ".windsor" / "files" / folder).rglob("*.parquet")
    content = file.read_bytes()
    lose(file)
    world.snapshot([*MEMBERS[2:], "newcomer"])
    with pytest.raises(
        StateUnavailable, match=f"a stored file {words}.*what is not sent stays owed.*windsor-sync audit"
    ):
        world.sync()
    (found,) = audit(world.workspace, repair=False)
    assert (found.audience, world.sent) == (KEY, 39)
    assert "restored from a backup of the file store" in found.remedy
    file.write_bytes(content)
    assert world.sync().state is RunState.DONE
    assert world.members_shown() == {*MEMBERS[2:], "newcomer"}
    assert audit(world.workspace, repair=False) == []


def test_without_a_backup_of_a_lost_file_a_new_name_of_the_destination_tells_every_member_again(world: World) -> None:
    world.snapshot(MEMBERS)
    world.sync()
    (file,) = (world.folder / ".windsor" / "files" / "snapshots").rglob("*.parquet")
    file.unlink()
    (found,) = audit(world.workspace, repair=False)
    assert "give `destination.name` a new value" in found.remedy
    world.reopen()
    world.destination["name"] = "windsor_2"
    world.snapshot([*MEMBERS[2:], "newcomer"])
    assert world.sync().books.delivered == 39
    assert {user for user, value in world.shown().items() if value is False} == set()
    assert audit(world.workspace, repair=False) == []
