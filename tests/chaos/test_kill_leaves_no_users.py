"""Whoever is killed, at whatever moment: the next command of any kind leaves none of its users on the disk."""

import os
import tempfile
from pathlib import Path

import duckdb
import pytest

from tests.chaos.processes import IS_CHAOS, Command
from tests.cli.test_tables_and_words import call
from tests.support.archive import Archive
from tests.support.world import World
from windsor_sync.usecases.forget import forget

CANARY = "canary-wren-77ac"
KILLED = -9

DIES = """
import os, signal, sys, tempfile
folder, wanted = sys.argv[1], int(sys.argv[2])
tempfile.tempdir = folder

from windsor_sync.storage import scratch
from windsor_sync.cli import main

remove, done = scratch.shutil.rmtree, 0

def dies(path, **options):
    global done
    done += 1
    if done == wanted:
        os.kill(os.getpid(), signal.SIGKILL)
    remove(path, **options)

scratch.shutil.rmtree = dies
main(sys.argv[3:])
"""
"""The command line, killed when it would remove its `wanted`-th scratch folder: that is when the most is in it."""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def killed(world: World, temporary: Path, wanted: int, *arguments: str) -> int:
    """How the command ended."""
    with Command(
        world, ["-c", DIES, str(temporary), str(wanted), "--config", str(world.config), *arguments]
    ) as command:
        return command.end().status


def holds_canary(path: Path) -> bool:
    """Whether a file has the canary in it, packed or not."""
    content = path.read_bytes()
    if CANARY.encode() in content:
        return True
    if not content.startswith(b"PAR1") or not content.endswith(b"PAR1"):
        return False
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT count(*) FROM read_parquet(?) t WHERE t::VARCHAR LIKE ?", [str(path), f"%{CANARY}%"]
        )
        return bool(rows.fetchall()[0][0])


def where_canaries_are(*folders: Path) -> set[Path]:
    return {path for folder in folders for path in folder.rglob("*") if path.is_file() and holds_canary(path)}


@pytest.mark.parametrize("command", ["plan", "sync", "forward"])
def test_nothing_that_a_killed_command_had_in_scratch_survives_the_next_one_or_a_forget(
    world: World, temporary: Path, command: str
) -> None:
    world.destination["url"] = "http://127.0.0.1:9/"  # nothing leaves: every round has the same to do
    world.destination["give_up_after_s"] = 0.01
    arguments = [command] if command == "forward" else [command, "order_completed_last_30days"]
    archive = Archive(world)
    archive.write([archive.message("track", CANARY), archive.message("identify", CANARY)])
    world.snapshot([CANARY, CANARY, "ben"])
    store = world.folder / ".windsor" / "files"
    found = 0
    for wanted in range(1, 100):
        if killed(world, temporary, wanted, *arguments) != KILLED:
            break
        left = where_canaries_are(temporary, store / "drafts") if store.exists() else set()
        found += bool(left)
        call(world, "runs")
        assert list(temporary.iterdir()) == []
        assert not store.exists() or list((store / "drafts").iterdir()) == []
        if wanted >= 4 and not IS_CHAOS:
            break
    assert found >= 1, "no moment at which a scratch folder held a user was found"
    killed(world, temporary, 2, *arguments)
    forget(world.workspace, CANARY, who="test", why=None)
    assert where_canaries_are(temporary, store / "drafts") == set()


def test_a_command_that_stands_still_is_waited_for_by_forget_and_swept_once_it_is_killed(
    world: World, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windsor_sync.usecases.forget.READERS_S", 0.1)
    world.snapshot([CANARY, "ben"])
    script = DIES.replace("signal.SIGKILL", "signal.SIGSTOP")
    arguments = ["-c", script, str(temporary), "1", "--config", str(world.config), "plan", "--all"]
    with Command(world, arguments) as command:
        os.waitid(os.P_PID, command.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        with pytest.raises(Exception, match="Nothing was purged"):
            forget(world.workspace, CANARY, who="test", why=None)
        command.kill()
        forget(world.workspace, CANARY, who="test", why=None)
    assert where_canaries_are(temporary, world.folder / ".windsor" / "files" / "drafts") == set()
