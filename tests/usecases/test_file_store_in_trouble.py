"""A sync whose file store fails: how it ends, what it says, and that the next one makes all right."""

import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from tests.chaos.processes import Ended, clean_environment, windsor_sync
from tests.support.archive import Archive, arrived, sent
from tests.support.ports import nobody_at
from tests.support.world import World
from windsor_sync.delivery.bounds import Delivery
from windsor_sync.domain.run import Run, RunState
from windsor_sync.errors import StateUnavailable
from windsor_sync.usecases import deliver as dispatch
from windsor_sync.usecases.audit import audit

BEFORE = [f"user-{number}" for number in range(50)]
AFTER = [*BEFORE[5:], "newcomer"]
SAID = "The file store (`files` in windsor.yaml) cannot be read or written"
DENIED = "moto.settings.INITIAL_NO_AUTH_ACTION_COUNT"


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """One audience with files in a folder."""
    world = make_world()
    world.document["computed_traits"] = []
    return world


@pytest.fixture
def remote(world: World, s3: Any) -> World:
    """One audience that Windsor has been told, with files in an object store; its snapshot has changed since."""
    world.document["files"] = "s3://acme/windsor"
    world.snapshot(BEFORE)
    assert world.sync().books.delivered == 50
    world.snapshot(AFTER)
    return world


def ended(world: World, *arguments: str, **environment: str) -> Ended:
    """A command from start to end."""
    with windsor_sync(world, *arguments, **environment) as run:
        return run.end()


def sync(world: World, **environment: str) -> Ended:
    """A sync from the command line."""
    return ended(world, "sync", "--all", **environment)


def assert_said(said: Ended, words: str) -> None:
    """It ended with 6 and one sentence that says why and what to do."""
    assert said.status == 6
    assert f"{SAID}: {words}. " in said.errors
    assert "what is not sent stays owed. Run it again" in said.errors
    assert said.errors.count("\n") == 1
    assert "user-" not in said.errors


def assert_right(world: World, members: list[str]) -> None:
    """One sync is enough, what it stands on is whole, and the next sends nothing."""
    assert sync(world).status == 0
    assert world.members_shown() == set(members)
    assert audit(world.workspace, repair=False) == []
    assert world.sync().books.changes == 0


def test_with_the_object_store_out_of_reach_a_sync_ends_with_6_and_sends_nothing(remote: World) -> None:
    with nobody_at() as port:
        address = f"http://127.0.0.1:{port}"
        said = sync(remote, AWS_ENDPOINT_URL=address, AWS_MAX_ATTEMPTS="1")
    assert_said(said, "EndpointConnectionError")
    assert remote.sent == 50
    assert_right(remote, AFTER)


@pytest.mark.thorough
def test_with_credentials_that_the_object_store_refuses_a_sync_ends_with_6_and_sends_nothing(
    remote: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as refusing:
        refusing.setattr(DENIED, 0)
        said = sync(remote)
    assert_said(said, "Permission denied")
    assert remote.sent == 50
    assert_right(remote, AFTER)


def test_an_object_store_lost_after_the_diff_sends_nothing_twice(
    world: World, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.document["files"] = "s3://acme/windsor"
    monkeypatch.setattr(dispatch, "CHUNK_ROWS", 100)
    members = [f"user-{number}" for number in range(2_000)]
    world.snapshot(members)
    limits = replace(world.workspace.engine_limits, checkpoint_rows=200)
    world._workspace = replace(world.workspace, engine_limits=limits)

    def lose(_run: Run, delivery: Delivery) -> None:
        if delivery.delivered:
            monkeypatch.setattr(DENIED, 0)

    with pytest.raises(StateUnavailable, match="Permission denied"):
        world.sync(on_progress=lose)
    monkeypatch.setattr(DENIED, float("inf"))
    assert 0 < world.sent < 2_000
    assert world.sync().state is RunState.DONE
    assert world.members_shown() == set(members)
    assert (world.sent, world.windsor.store.stats()["duplicates"]) == (2_000, 0)


def test_a_file_where_the_stores_folder_should_be_ends_a_sync_with_6(world: World) -> None:
    world.snapshot(BEFORE)
    files = world.folder / ".windsor" / "files"
    files.mkdir(parents=True)
    (files / "outboxes").write_text("no folder")
    assert_said(sync(world), "Not a directory")
    assert world.sent == 0
    (files / "outboxes").unlink()
    assert_right(world, BEFORE)


def on_a_full_disk(world: World, command: str, kilobytes: int) -> Ended:
    """The command, by a system that takes no file larger than this."""
    program = [sys.executable, "-m", "windsor_sync.cli", "--config", str(world.config), *command.split()]
    done = subprocess.run(
        ["bash", "-c", f'ulimit -f {kilobytes}; exec "$@"', "bash", *program],
        env=clean_environment() | {"WINDSOR_API_KEY": world.windsor.api_key},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(("kilobytes", "sealed"), [(600, 1), (1_050, 2)], ids=["for the snapshot", "for the outbox"])
def test_a_disk_without_room_ends_a_sync_with_6_and_leaves_nothing_half_written(
    world: World, kilobytes: int, sealed: int
) -> None:
    world.snapshot(BEFORE)
    world.sync()
    world.snapshot({f"user-{uuid.uuid4().hex}": None for _ in range(60_000)})
    assert_said(on_a_full_disk(world, "sync --all", kilobytes), "File too large")
    assert (world.sent, audit(world.workspace, repair=False)) == (50, [])
    files = world.folder / ".windsor" / "files"
    found = Counter(path.relative_to(files).parts[0] for path in files.rglob("*") if path.is_file())
    assert found == {"snapshots": sealed, "outboxes": 1, "marks": 2}  # its beginning and its end
    world.snapshot(AFTER)
    assert_right(world, AFTER)


def test_a_disk_without_room_for_events_ends_a_forwarding_with_6_and_reads_them_again(world: World) -> None:
    world.document["audiences"] = []
    archive = Archive(world)
    archive.write([archive.message("track", f"user-{n % 9}", properties={"note": random(n)}) for n in range(3_000)])
    assert_said(on_a_full_disk(world, "forward", 600), "File too large")
    assert world.sent == 0
    assert not [path for path in (world.folder / ".windsor" / "files").rglob("*") if path.is_file()]
    assert ended(world, "forward").status == 0
    assert arrived(world) == sent(archive.written)
    assert audit(world.workspace, repair=False) == []


def random(seed: int) -> str:
    """Text that nothing compresses."""
    return Random(seed).randbytes(400).hex()
