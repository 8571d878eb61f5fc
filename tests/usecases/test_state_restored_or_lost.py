"""A state that is older than its files, or lost: noticed before anything is sent, and one command brings it back."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.support import backups
from tests.support.archive import Archive
from tests.support.world import KEY, World
from windsor_sync.domain.change import Limits
from windsor_sync.domain.run import Run, RunState
from windsor_sync.errors import LeaseLost, StoredFileError
from windsor_sync.sandbox import Faults
from windsor_sync.state.database import upgrade_database
from windsor_sync.state.marks import Marks
from windsor_sync.state.tables import leases
from windsor_sync.storage.file_store import StoredFile
from windsor_sync.usecases import forward
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.backfill import permit, run_backfill
from windsor_sync.usecases.check import examine
from windsor_sync.usecases.forget import forget
from windsor_sync.usecases.recover_state import recover_state
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.run_lifecycle import deliver_run
from windsor_sync.usecases.sync import sync
from windsor_sync.usecases.workspace import Workspace

FIRST = [f"user-{number:03}" for number in range(200)]
SECOND = [*FIRST[50:], *(f"late-{number}" for number in range(20))]
THIRD = FIRST[10:]


@pytest.fixture
def world(make_world: Callable[..., World], state_url: str) -> World:
    """A world on each database the state can live in."""
    world = make_world()
    world.document["state"] = state_url
    return world


def backed_up(world: World) -> Path:
    """A copy of the state as it is now, while it is in use."""
    return backups.save(world.state_url, world.folder / "backup")


def restore(world: World, backup: Path) -> None:
    world.reopen()
    backups.restore(backup, world.state_url)
    with world.workspace.database.write() as state:
        state.execute(update(leases).values(holder=None))  # whoever had one then is gone by now


def lose(world: World, _backup: Path) -> None:
    """Leave an empty database in its place, upgraded as the sentence about it says where that is not done by itself."""
    world.reopen()
    backups.lose(world.state_url)
    upgrade_database(world.state_url)


@pytest.fixture
def gone_on(world: World) -> tuple[World, Path]:
    """A world after two syncs and a forgotten user, with the backup of the state from between the syncs."""
    world.document["defaults"] |= {"max_exited_percent": None}
    world.snapshot(FIRST)
    world.sync()
    backup = backed_up(world)
    world.snapshot(SECOND)
    world.sync()
    forget(world.workspace, "user-060", who="a test", why=None)
    world.snapshot(THIRD)
    return world, backup


@pytest.mark.parametrize("how", [restore, lose])
def test_nothing_is_sent_until_the_named_command_has_brought_the_state_back(
    gone_on: tuple[World, Path], how: Callable[[World, Path], None]
) -> None:
    world, backup = gone_on
    how(world, backup)
    sent = world.sent
    for command in (world.sync, world.plan, lambda: audit(world.workspace, repair=False)):
        with pytest.raises(StoredFileError, match=r"Nothing was sent.*`windsor-sync recover --state`"):
            command()
    assert world.sent == sent
    done = recover_state(world.workspace, "a test", "the disk was lost")
    assert (done.audiences, done.forgotten) == ((KEY,), 1)
    run = world.sync()
    assert run.state is RunState.DONE
    assert world.members_shown() - {"user-060"} == set(THIRD) - {"user-060"}
    told = {str(message.user_id) for message in world.windsor.store.accepted[sent:]}
    assert "user-060" not in told  # who was forgotten stays forgotten
    assert {user for user in told if user.startswith("late-")} == {f"late-{number}" for number in range(20)}
    assert world.sync().books.changes == 0
    assert audit(world.workspace, repair=False) == []
    assert recover_state(world.workspace, "a test", None).audiences == ()


def from_the_command_line(world: World, request: Request) -> Run:
    return world.sync(request=request)


def from_airflow(world: World, request: Request) -> Run:
    """After a person permitted as many changes as it takes."""
    permit(world.workspace.database, request.trigger, [{"audience": KEY, "to_send": 10_000}], who="ann", why=None)
    return run_backfill(world.workspace, world.computation(), request, world.stop)


@pytest.mark.parametrize("run_it", [from_the_command_line, from_airflow])
def test_a_resync_by_hand_recovers_a_restored_state_first(
    gone_on: tuple[World, Path], run_it: Callable[[World, Request], Run]
) -> None:
    world, backup = gone_on
    restore(world, backup)
    findings = [finding.text for finding in examine(world.workspace) if finding.subject == "state"]
    assert [("recover --state" in text) for text in findings] == [True]
    run = run_it(world, Request("backfill", limits=Limits(is_resync=True)))
    assert run.state is RunState.DONE
    assert world.members_shown() - {"user-060"} == set(THIRD) - {"user-060"}
    assert world.sync().books.changes == 0
    assert [finding for finding in examine(world.workspace) if finding.subject == "state"] == []


def test_message_ids_are_not_used_for_two_messages_after_a_restore(gone_on: tuple[World, Path]) -> None:
    world, backup = gone_on
    restore(world, backup)
    recover_state(world.workspace, "a test", None)
    world.sync()
    ids = [message.message_id for message in world.windsor.store.accepted]
    assert len(ids) == len(set(ids))


def test_a_state_that_was_restored_from_now_is_no_older_than_its_files(world: World) -> None:
    world.snapshot(FIRST)
    world.sync()
    restore(world, backed_up(world))
    world.snapshot(SECOND)
    assert world.sync().state is RunState.DONE
    assert world.members_shown() == set(SECOND)


@pytest.mark.parametrize("listing", [1, 2])
def test_a_first_run_of_another_process_that_begins_meanwhile_is_no_sign_of_a_lost_state(
    world: World, monkeypatch: pytest.MonkeyPatch, listing: int
) -> None:
    world.snapshot(FIRST)
    files, listings = world.workspace.files, count(1)
    stored = files.stored

    def after_another_run(folder: str) -> Iterator[StoredFile]:
        if next(listings) == listing:
            monkeypatch.undo()
            world.sync()
        return stored(folder)

    monkeypatch.setattr(files, "stored", after_another_run)
    world.workspace.marks.require_own()
    assert world.members_shown() == set(FIRST)


def test_a_second_installation_beside_the_first_may_tell_another_address(world: World) -> None:
    """Two installations share one file store: neither reads, removes or misses a file of the other."""
    world.snapshot(FIRST)
    world.windsor.set_faults(Faults.parse({"outage": "unavailable"}))
    world.destination["give_up_after_s"] = 0.2
    world.sync()
    world.windsor.set_faults(Faults())
    world.reopen()
    ours, world.document["state"] = world.document["state"], "sqlite:///other.db"
    world.destination["name"] = "another"
    world.snapshot(["stranger"])
    assert world.sync().books.entered == 1
    world.reopen()
    world.document["state"] = ours
    world.destination["name"] = "windsor"
    world.snapshot(FIRST)
    assert world.sync().state is RunState.DONE
    assert set(FIRST) <= world.members_shown()
    assert world.sync(request=Request("backfill", limits=Limits(is_resync=True))).state is RunState.DONE
    assert world.shown()["stranger"] is True
    assert audit(world.workspace, repair=False) == []


def brisk(world: World) -> Workspace:
    """A workspace whose deliveries have several checkpoints."""
    limits = replace(world.workspace.engine_limits, checkpoint_rows=20, max_in_flight=4)
    return replace(world.workspace, engine_limits=limits)


def half_delivered(world: World, members: list[str]) -> Path:
    """Deliver a run to its end; returns a copy of the state from the middle of it."""
    world.snapshot(members)
    taken: list[Path] = []

    def back_up(*_: object) -> None:
        if not taken:
            taken.append(backed_up(world))

    assert sync(brisk(world), world.computation(), Request(), world.stop, back_up).state is RunState.DONE
    return taken[0]


def is_refused_until_recovered(world: World, sentence: str) -> None:
    """Every command says the sentence, and sends nothing; the named command heals it."""
    sent = world.sent
    for command in (world.sync, world.plan, lambda: audit(world.workspace, repair=False)):
        with pytest.raises(StoredFileError, match=f"{sentence}.*Nothing was sent.*`windsor-sync recover --state`"):
            command()
    assert world.sent == sent
    recover_state(world.workspace, "a test", None)
    assert world.sync().state is RunState.DONE


@pytest.mark.parametrize("members", [FIRST[:100], FIRST])
def test_a_state_restored_to_the_middle_of_its_newest_delivery_is_noticed(world: World, members: list[str]) -> None:
    world.document["defaults"]["max_exited_percent"] = None
    restore(world, half_delivered(world, FIRST))
    world.snapshot(members)
    is_refused_until_recovered(world, "run 1 of .* was delivered further than the state knows")
    assert world.members_shown() == set(members)
    assert audit(world.workspace, repair=False) == []
    assert world.sync().books.changes == 0


def test_a_state_restored_to_before_a_run_was_taken_up_again_is_noticed(world: World) -> None:
    world.document["defaults"]["max_exited_percent"] = None
    world.snapshot(FIRST)
    run = sync(brisk(world), world.computation(), Request(), world.stop, lambda *_: world.stop.press())
    assert run.books.owed
    backup = backed_up(world)
    world.reopen()
    with world.workspace.hold(world.computation().key, "a task") as lease:
        again = deliver_run(world.workspace, world.computation(), run, lease, world.stop)
    assert again.state is RunState.DONE
    restore(world, backup)
    world.snapshot(FIRST[:1])
    is_refused_until_recovered(world, "was delivered further than the state knows")
    assert world.members_shown() == {FIRST[0]}


def test_a_state_restored_to_the_middle_of_a_delivery_that_was_killed_is_noticed_once_a_command_has_closed_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Path] = []

    def die(*_: object) -> None:
        if taken:
            raise KeyboardInterrupt
        taken.append(backed_up(world))

    world.snapshot(FIRST)
    with monkeypatch.context() as patched:
        patched.setattr(Marks, "end", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            sync(brisk(world), world.computation(), Request(), world.stop, die)
    assert [finding.is_mended for finding in audit(world.workspace, repair=True)] == [True]
    restore(world, taken[0])
    is_refused_until_recovered(world, "was delivered further than the state knows")
    assert world.members_shown() == set(FIRST)


def test_a_state_that_does_not_know_everyone_who_was_forgotten_is_noticed(world: World) -> None:
    world.snapshot(FIRST)
    world.sync()
    backup = backed_up(world)
    forget(world.workspace, FIRST[7], who="a test", why=None)
    restore(world, backup)
    world.snapshot(SECOND)
    sent = world.sent
    is_refused_until_recovered(world, "does not know of everyone who was forgotten")
    assert FIRST[7] not in {str(message.user_id) for message in world.windsor.store.accepted[sent:]}


def test_a_state_restored_to_the_middle_of_a_forwarding_is_noticed(world: World) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", f"user-{number}") for number in range(60)])
    taken: list[Path] = []

    def back_up(*_: object) -> None:
        if not taken:
            taken.append(backed_up(world))

    done = forward.forward(brisk(world), forward.ForwardRequest(), world.stop, on_progress=back_up)
    assert [run.state for run in done] == [RunState.DONE]
    restore(world, taken[0])
    with pytest.raises(StoredFileError, match="run 1 of the events was delivered further than the state knows"):
        forward.forward(world.workspace, forward.ForwardRequest(), world.stop)


def test_a_writer_that_stands_still_while_the_state_is_restored_and_recovered_can_record_nothing(world: World) -> None:
    world.snapshot(FIRST)
    world.sync()
    backup = backed_up(world)
    world.snapshot(SECOND)
    world.sync()
    with world.workspace.hold(world.computation().key, "one that stands still") as writer:
        restore(world, backup)
        recover_state(world.workspace, "a test", None)
        with world.workspace.hold(world.computation().key, "one that comes after") as successor:
            assert successor.token > writer.token
            writer._database = world.workspace.database
            with pytest.raises(LeaseLost):
                writer.renew()
            writer.release()
            successor.renew()
