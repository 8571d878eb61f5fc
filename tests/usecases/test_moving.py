"""An installation that moves: its state to another database, its files to another place, its Windsor to another address."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.archive import Archive
from tests.support.postgres import Postgres
from tests.support.world import KEY, World
from windsor_sync.cli import main
from windsor_sync.domain.run import RunState
from windsor_sync.sandbox import Faults
from windsor_sync.state.copying import copy_state
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.forget import forget
from windsor_sync.usecases.forward import ForwardRequest, forward
from windsor_sync.usecases.why import why


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A world whose Windsor is given up on at once."""
    return make_world(give_up_after_s=0.2)


@pytest.fixture(params=["sqlite to postgresql", "postgresql to sqlite"])
def move(request: pytest.FixtureRequest, world: World, tmp_path: Path, postgres: Postgres) -> Any:
    """Start the world on one database; what is yielded moves it to the other."""
    file = f"sqlite:///{tmp_path}/elsewhere/state.db"

    def moving(source: str, target: str) -> Callable[[], None]:
        world.document["state"] = source

        def go() -> None:
            world.reopen()
            copy_state(source, target, folder=world.folder)
            world.document["state"] = target

        return go

    if request.param == "sqlite to postgresql":
        with postgres.nothing() as url:
            yield moving(file, url)
            world.reopen()
    else:
        with postgres.state() as url:
            yield moving(url, file)


def message_ids(world: World) -> list[str]:
    return sorted(message["messageId"] for message in world.plan())


def test_a_sync_after_the_move_sends_what_has_changed_and_nothing_else(world: World, move: Callable[[], None]) -> None:
    world.snapshot(["ana", "ben", "cy"])
    world.sync()
    move()
    sent = world.sent
    world.sync()
    assert world.sent == sent
    world.snapshot(["ben", "cy", "dee"])
    assert world.sync().books.changes == 2
    assert world.shown() == {"ana": False, "ben": True, "cy": True, "dee": True}
    assert audit(world.workspace, repair=False) == []
    assert [step.value for step in why(world.workspace, "ana")[0].steps] == [False, True]


def test_the_messages_of_a_plan_keep_their_ids(world: World, move: Callable[[], None]) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    world.snapshot(["ben", "cy"])
    before = message_ids(world)
    move()
    assert message_ids(world) == before != []


def test_what_was_owed_stays_owed(world: World, move: Callable[[], None]) -> None:
    world.snapshot(["ana", "ben"])
    world.windsor.set_faults(Faults.parse({"outage": "unavailable"}))
    assert world.sync().state is RunState.UNAVAILABLE
    move()
    world.windsor.set_faults(Faults())
    assert world.sync().state is RunState.DONE
    assert world.members_shown() == {"ana", "ben"}


def test_a_forgotten_user_stays_forgotten(world: World, move: Callable[[], None]) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    forget(world.workspace, "ana", who="cy", why="asked")
    move()
    before = world.sent
    world.snapshot(["ana", "ben", "dee"])
    world.sync()
    world.snapshot(["ben"])
    world.sync()
    assert "ana" not in {one.user_id for one in world.windsor.store.accepted[before:]}


def test_events_are_not_forwarded_a_second_time(world: World, move: Callable[[], None]) -> None:
    archive = Archive(world)
    first = archive.message("track", "ana")
    archive.write([first])
    forward(world.workspace, ForwardRequest(), world.stop)
    move()
    archive.write([first, archive.message("track", "ben")])
    forward(world.workspace, ForwardRequest(), world.stop)
    assert [one.user_id for one in world.windsor.store.accepted] == ["ana", "ben"]


# -- the command -------------------------------------------------------------------------------------------------


class Said(NamedTuple):
    """What a command printed and how it ended."""

    status: object
    out: str
    err: str


@pytest.fixture
def cli(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """The command line in this process."""
    monkeypatch.setenv("WINDSOR_API_KEY", world.windsor.api_key)

    def call(*arguments: str) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(world.config), *arguments])
        return Said(ended.value.code, *capsys.readouterr())

    return call


def test_the_command_says_what_was_copied_and_what_to_do_next(
    world: World, postgres: Postgres, cli: Callable[..., Said]
) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    world.reopen()
    with postgres.nothing() as url:
        bare = url.replace("+psycopg", "").replace("windsor@", "windsor:hunter2@")
        said = [cli("state", "copy", "--to", bare)]
        assert said[0].status == 0
        assert "rows are there. Now write that URL as `state` into windsor.yaml" in said[0].out
        for command in ("sync --all", "audit", "runs", "plan --all", "why ana", "state prune", "check"):
            said.append(cli(*command.split()))
            assert said[-1].status == 2, command
            assert "was moved to postgresql://windsor:***@/" in said[-1].out + said[-1].err
        said.append(cli("state", "copy", "--to", bare, "--json"))
        copied = json.loads(said[-1].out)
        assert (copied["has_replaced"], copied["rows"]["runs"]) == (True, 1)
        world.document["state"] = url
        before = world.sent
        cli("sync", KEY)
        assert world.sent == before
    assert "hunter2" not in "".join(part for one in said for part in (one.out, one.err))


def test_a_copy_that_was_never_used_can_be_given_up(world: World, tmp_path: Path, cli: Callable[..., Said]) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    world.reopen()
    assert "Nothing was done" in cli("state", "reopen").out
    assert cli("state", "copy", "--to", "sqlite:///beside/windsor.yaml.db").status == 0
    assert (world.folder / "beside" / "windsor.yaml.db").exists()
    assert cli("runs").status == 2
    assert "The state is in use again" in cli("state", "reopen").out
    assert cli("runs").status == 0


@pytest.mark.parametrize("url", ["mysql://root:hunter2@db/windsor", "sqlite://", "hunter2"])
def test_a_url_that_no_state_can_have_is_a_usage_error_and_is_not_shown(cli: Callable[..., Said], url: str) -> None:
    refused = cli("state", "copy", "--to", url)
    assert refused.status == 2
    assert "--to takes sqlite:///FILE or postgresql" in refused.err
    assert "hunter2" not in refused.err


# -- files -------------------------------------------------------------------------------------------------------


def files_of(world: World) -> Path:
    return world.folder / ".windsor" / "files"


def live_a_little(world: World) -> None:
    """A few runs, one of them with something owed."""
    archive = Archive(world)
    archive.write([archive.message("track", "ana")])
    forward(world.workspace, ForwardRequest(), world.stop)
    for members in (["ana", "ben", "cy"], ["ana", "ben", "cy", "dee"]):
        world.snapshot(members)
        world.sync()
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ana"})))
    world.snapshot(["ben", "cy", "dee"])
    assert world.sync().books.rejected == 1
    world.windsor.set_faults(Faults())
    world.reopen()


def assert_all_goes_on(world: World) -> None:
    assert audit(world.workspace, repair=False) == []
    assert [step.value for step in why(world.workspace, "ana")[0].steps] == [False, True]
    before = world.sent
    world.snapshot(["cy", "dee", "eve"])
    world.sync()
    world.sync()
    assert world.shown() == {"ana": False, "ben": False, "cy": True, "dee": True, "eve": True}
    assert world.sent == before + 3  # ana's exit, which was owed, ben's and eve's entry
    assert forward(world.workspace, ForwardRequest(), world.stop) == []


def test_files_move_to_another_folder_byte_for_byte(world: World, tmp_path: Path) -> None:
    live_a_little(world)
    shutil.move(files_of(world), tmp_path / "a new place [1]")
    world.document["files"] = str(tmp_path / "a new place [1]")
    assert_all_goes_on(world)
    assert not files_of(world).exists()


def test_files_move_to_a_bucket_and_back_byte_for_byte(world: World, tmp_path: Path, s3: Any) -> None:
    live_a_little(world)
    s3.put(f"{files_of(world)}/", "acme/windsor/", recursive=True)
    shutil.rmtree(files_of(world))
    world.document["files"] = "s3://acme/windsor"
    assert_all_goes_on(world)
    world.reopen()
    s3.get("acme/windsor/", f"{files_of(world)}/", recursive=True)
    s3.rm("acme/windsor", recursive=True)
    world.document.pop("files")
    assert audit(world.workspace, repair=False) == []
    world.snapshot(["cy"])
    assert world.sync().books.exited == 2
    assert not s3.find("acme/windsor")


# -- the destination ---------------------------------------------------------------------------------------------


def test_a_windsor_at_a_new_address_is_told_the_changes_when_it_keeps_its_name(world: World) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    world.reopen()
    world.destination["url"] = world.windsor.url.replace("127.0.0.1", "localhost")
    world.snapshot(["ben", "cy"])
    assert world.sync().books.changes == 2
    assert world.shown() == {"ana": False, "ben": True, "cy": True}


def test_another_windsor_with_a_name_of_its_own_is_told_everyone_and_the_first_stays_known(
    world: World, start_windsor: Any
) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    world.reopen()
    first, address = world.windsor, world.destination["url"]
    world.windsor = start_windsor()
    world.destination |= {"url": world.windsor.url, "name": "the second"}
    assert world.sync().books.entered == 2
    assert world.members_shown() == {"ana", "ben"}
    world.reopen()
    world.windsor = first
    world.destination |= {"url": address, "name": "windsor"}
    world.snapshot(["ben"])
    assert world.sync(KEY).books.changes == 1
    assert world.shown() == {"ana": False, "ben": True}
