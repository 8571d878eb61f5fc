"""`state prune`: what is old goes, what Windsor was told stays known."""

import os
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from tests.support.archive import Archive
from tests.support.world import KEY, World
from windsor_sync.domain.change import Limits
from windsor_sync.domain.run import RunState
from windsor_sync.state.runs import recent
from windsor_sync.state.snapshots import RECENT
from windsor_sync.state.stored_files import own_name
from windsor_sync.state.tables import runs, snapshots, verdicts
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.forward import ForwardRequest, forward
from windsor_sync.usecases.prune import prune
from windsor_sync.usecases.request import Request as SyncRequest
from windsor_sync.usecases.why import why

LONG_AGO = datetime.now(UTC) - timedelta(days=100)


def age(world: World) -> None:
    """Let a hundred days pass over everything that has happened."""
    with world.workspace.database.write() as connection:
        connection.execute(update(runs).values(started_at=LONG_AGO, finished_at=LONG_AGO))
        connection.execute(update(snapshots).values(sealed_at=LONG_AGO))
    for path in stored(world):
        os.utime(path, (LONG_AGO.timestamp(), LONG_AGO.timestamp()))


def stored(world: World) -> list[Path]:
    return sorted((world.folder / ".windsor" / "files").rglob("*.parquet"))


@pytest.fixture
def aged(world: World) -> World:
    """Six syncs of a growing audience, long ago."""
    for number in range(6):
        world.snapshot([f"user-{member}" for member in range(number + 1)])
        world.sync()
    age(world)
    return world


def test_old_outboxes_go_and_the_last_three_snapshots_stay(aged: World) -> None:
    pruned = prune(aged.workspace)
    assert (pruned.runs, pruned.snapshots, pruned.ownerless) == (5, 6 - RECENT, 0)
    assert len(stored(aged)) == 1 + RECENT
    assert prune(aged.workspace).files == 0


def test_a_dry_run_removes_nothing_and_says_the_same(aged: World) -> None:
    before = stored(aged)
    would = prune(aged.workspace, dry_run=True)
    assert stored(aged) == before
    assert prune(aged.workspace) == would


def test_after_pruning_the_next_sync_sends_only_changes_and_every_check_holds(aged: World) -> None:
    prune(aged.workspace)
    assert audit(aged.workspace, repair=False) == []
    assert aged.sync().books.changes == 0
    aged.snapshot(["user-1", "user-9"])
    aged.document["defaults"] = {"max_exited_percent": None}
    aged.reopen()
    run = aged.sync()
    assert (run.books.entered, run.books.exited) == (1, 5)
    assert aged.members_shown() == {"user-1", "user-9"}


def test_why_still_knows_what_a_member_was_told_by_a_pruned_run(aged: World) -> None:
    prune(aged.workspace)
    account = next(one for one in why(aged.workspace, "user-0") if one.audience == KEY)
    assert (account.steps, account.told, account.was_told) == ((), True, True)


def test_recent_runs_and_owed_changes_are_not_touched(world: World) -> None:
    world.snapshot(["ana"])
    world.sync()
    assert prune(world.workspace).files == 0
    age(world)
    assert prune(world.workspace).files == 0  # the newest run, however old


def test_a_file_that_a_killed_process_left_goes_after_a_day(aged: World) -> None:
    name = own_name(aged.workspace.database.installation(), 1)
    orphan = aged.folder / ".windsor" / "files" / "snapshots" / KEY / f"{name}.parquet"
    orphan.write_bytes(b"")
    assert prune(aged.workspace).ownerless == 0
    os.utime(orphan, (LONG_AGO.timestamp(), LONG_AGO.timestamp()))
    assert prune(aged.workspace).ownerless == 1
    assert not orphan.exists()


def test_a_file_of_another_installation_is_left_alone_however_old(aged: World) -> None:
    theirs = aged.folder / ".windsor" / "files" / "snapshots" / KEY / f"{own_name(str(uuid.uuid4()), 1)}.parquet"
    theirs.write_bytes(b"")
    os.utime(theirs, (LONG_AGO.timestamp(), LONG_AGO.timestamp()))
    assert prune(aged.workspace).ownerless == 0
    assert theirs.exists()


def test_a_destination_that_rests_keeps_what_it_stands_on_while_another_one_goes_on_and_prunes(world: World) -> None:
    members = [f"user-{number}" for number in range(20)]
    world.snapshot(members)
    world.sync()
    world.reopen()
    world.destination["name"] = "another"
    for number in range(5):
        world.snapshot(members[number:])
        world.sync()
    age(world)
    prune(world.workspace)
    world.reopen()
    world.destination["name"] = "windsor"
    assert audit(world.workspace, repair=False) == []
    run = world.sync()
    assert (run.state, run.books.exited) == (RunState.DONE, 4)


def test_an_audience_that_is_being_written_is_left_for_later(aged: World) -> None:
    with aged.workspace.hold(aged.workspace.registry.find(aged.computation()).key, "a run"):
        assert (prune(aged.workspace).busy, prune(aged.workspace).runs) == (1, 0)


def test_counts_of_pruned_runs_stay(aged: World) -> None:
    prune(aged.workspace)
    assert [run.books.delivered for run in recent(aged.workspace.database)] == [1] * 6
    with aged.workspace.database.read() as connection:
        assert connection.execute(select(verdicts)).all() == []
        assert len(connection.execute(select(snapshots)).all()) == 6


def test_a_resync_after_pruning_reaches_everyone_who_is_known(aged: World) -> None:
    prune(aged.workspace)
    run = aged.sync(request=SyncRequest("backfill", limits=Limits(is_resync=True)))
    assert (run.state, run.books.delivered) == (RunState.DONE, 6)


def test_message_ids_are_remembered_as_long_as_the_window_lasts(world: World) -> None:
    archive = Archive(world, dedupe_days=200)
    message = archive.message("track", "ana")
    archive.write([message, "torn"])
    forward(world.workspace, ForwardRequest(), world.stop)
    archive.write([archive.message("track", "ben")])
    forward(world.workspace, ForwardRequest(), world.stop)
    age(world)
    assert prune(world.workspace).files == 2  # the first run's outbox, and its list of refused lines
    archive.write([message])
    (run,) = forward(world.workspace, ForwardRequest(), world.stop)
    assert run.books.delivered == 0
