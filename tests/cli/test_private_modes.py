"""What holds people is this user's alone, whatever the umask and whichever command made it."""

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy import up
from tests.chaos import test_kill_leaves_no_users
from tests.chaos.processes import IS_CHAOS
from tests.cli.test_tables_and_words import call
from tests.support.archive import Archive
from tests.support.world import KEY, World
from windsor_sync.cli import COMMANDS, main
from windsor_sync.demo import play
from windsor_sync.sandbox import Faults, Sandbox
from windsor_sync.usecases.forget import forget

SOURCES = ("windsor.yaml", "snapshots", "segment-logs", "output-", "errors-", "dags")
"""The world's own: what windsor_sync reads, what it prints, and what is made for everybody."""

MEMBERS = [f"user-{number}" for number in range(20)]


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def open_to_others(*folders: Path) -> dict[str, str]:
    """Files and folders below the given ones that others may open, with their modes; not the world's own."""
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            name = str(path.relative_to(folder))
            mode = stat.S_IMODE(path.lstat().st_mode)
            if mode & 0o077 and not name.startswith(SOURCES):
                found[name] = oct(mode)
    return found


def everything(world: World) -> Iterator[tuple[str, ...]]:
    """Each command, in an order in which each has something to do."""
    folder = world.folder
    yield ("check",)
    yield ("audiences",)
    yield ("plan", "--all", "--messages", str(folder / "plan.jsonl"))
    yield ("sync", "--all")
    yield ("forward",)
    yield ("backfill", KEY, "--mode", "resync", "--dry-run", "--messages", str(folder / "backfill.jsonl"))
    yield ("retry", "--audience", KEY)
    yield ("recover", KEY)
    yield ("approve", world.workspace.ledger.head(1).run_id)  # type: ignore[union-attr]
    yield ("runs",)
    yield ("why", MEMBERS[0])
    yield ("forget", MEMBERS[1])
    yield ("audit",)
    yield ("export", "log", "--to", str(folder / "log"))
    yield ("report", "--out", str(folder / "report.html"))
    yield ("state", "prune")
    yield ("retire", KEY)
    yield ("state", "copy", "--to", f"sqlite:///{folder}/copied/state.db")


APART = {"init", "airflow-setup", "sandbox", "demo"}
"""Commands that make files for everybody, and two that another test runs."""


@pytest.mark.parametrize("mask", [0o000, 0o022] if IS_CHAOS else [0o000], ids=lambda mask: f"umask {mask:03o}")
def test_every_command_leaves_people_to_this_user_alone(world: World, temporary: Path, mask: int) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", MEMBERS[2]), archive.message("alias", "new", previousId=MEMBERS[3])])
    world.snapshot(MEMBERS)
    asked = set()
    with umask(mask):
        for words in everything(world):
            world.windsor.set_faults(Faults(rejected_users=frozenset({MEMBERS[4]})))
            call(world, *words)
            asked.add(words[0])
            assert open_to_others(world.folder, temporary) == {}, words
    assert asked | APART == set(COMMANDS)
    for made in (
        "plan.jsonl",
        "report.html",
        "copied/state.db",
        "copied/suppressions-state.db.key",
        ".windsor/state.db",
    ):
        assert (world.folder / made).stat().st_size > 0


def test_what_is_called_as_a_library_leaves_people_to_this_user_alone_too(world: World, temporary: Path) -> None:
    world.snapshot(MEMBERS)
    with umask(0o000):
        world.sync()
        forget(world.workspace, MEMBERS[0], who="a test", why=None)
        with world.workspace.database.write():  # SQLite's own files beside the state exist while it is open
            assert open_to_others(world.folder, temporary) == {}
        with Sandbox(state_file=world.folder / "windsor.db"):
            assert open_to_others(world.folder, temporary) == {}


def test_a_killed_command_leaves_nothing_that_others_may_open(
    world: World, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_kill_leaves_no_users, "DIES", f"import os; os.umask(0)\n{test_kill_leaves_no_users.DIES}")
    world.destination["url"] = "http://127.0.0.1:9/"
    world.snapshot(MEMBERS)
    for wanted in range(1, 6):
        test_kill_leaves_no_users.killed(world, temporary, wanted, "sync", KEY)
        assert open_to_others(world.folder, temporary) == {}, wanted


def test_what_an_older_version_or_a_restore_left_open_is_taken_from_others(world: World) -> None:
    world.snapshot(MEMBERS)
    world.sync()
    world.reopen()
    state = world.folder / ".windsor" / "state.db"
    stored = next((world.folder / ".windsor" / "files" / "snapshots").rglob("*.parquet"))
    for path, mode in ((state, 0o644), (stored, 0o640), (stored.parent, 0o755), (stored.parents[1], 0o755)):
        path.chmod(mode)
    assert call(world, "runs").status == 0
    assert open_to_others(world.folder) == {}


def test_a_group_that_shares_the_files_is_let_in_where_the_settings_say_so_and_nobody_else_is(world: World) -> None:
    world.document["readable_by"] = "group"
    (world.folder / ".windsor").mkdir(mode=0o2770)
    (world.folder / ".windsor").chmod(0o2770)
    world.snapshot(MEMBERS)
    with umask(0o077):
        world.sync()
    home = world.folder / ".windsor"
    stored = next((home / "files" / "snapshots").rglob("*.parquet"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home / "state.db", stored, stored.parent)}
    assert modes == {"state.db": 0o660, stored.name: 0o660, KEY: 0o2770}
    world.reopen()
    (home / "state.db").chmod(0o664)
    world.sync()
    assert stat.S_IMODE((home / "state.db").stat().st_mode) == 0o660


def test_files_without_people_are_made_for_everybody_as_the_umask_says(world: World) -> None:
    with umask(0o022):
        made = world.folder / "new.yaml"
        with pytest.raises(SystemExit):
            main(["--config", str(made), "init"])
    assert stat.S_IMODE(made.stat().st_mode) == 0o644


@pytest.mark.parametrize("make", [play._make_anew, up._make_anew], ids=["make demo", "make up"])
def test_the_folders_of_the_demo_and_of_make_up_are_closed_to_others(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    with umask(0o000):
        make(tmp_path / "folder")
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700
