"""Whoever is killed, at whatever moment: the next command of any kind leaves none of its users on the disk."""

import os
import shutil
from pathlib import Path

import duckdb
import pytest

from tests.chaos.processes import IS_CHAOS, Command
from tests.cli.test_tables_and_words import call
from tests.support.archive import Archive
from tests.support.world import KEY, World
from windsor_sync.sandbox import Faults
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
    """The files below these folders, or these files, that hold the canary; free pages of the state and its log too."""
    files = (path for folder in folders for path in (folder, *folder.rglob("*")) if path.is_file())
    return {path for path in files if holds_canary(path)}


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


DIES_FORGETTING = """
import os, signal, sys, tempfile
folder, wanted = sys.argv[1], int(sys.argv[2])
tempfile.tempdir = folder

from windsor_sync.cli import main
from windsor_sync.state import marks, suppression_key
from windsor_sync.storage import file_store, scratch
from windsor_sync.usecases import forget

done = 0

def mortal(step):
    def dies(*args, **options):
        global done
        done += 1
        if done == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*args, **options)
    return dies

for place, name in (
    (scratch.shutil, "rmtree"),
    (file_store.FileStore, "keep"),
    (file_store.FileStore, "delete"),
    (marks.Marks, "keep_forgotten"),
    (suppression_key.KeyPlace, "_write"),
    (forget, "take_place_of"),
    (forget, "_suppress"),
    (forget, "_purge_findings"),
    (forget, "_purge_merges"),
    (forget, "_remove_unnamed"),
):
    setattr(place, name, mortal(getattr(place, name)))
main(sys.argv[3:])
"""
"""The command line, killed before its `wanted`-th step that changes what is on the disk."""


def test_a_forget_that_is_killed_anywhere_and_repeated_leaves_the_user_in_no_stored_byte(
    world: World, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.chaos.test_kill_leaves_no_users.DIES", DIES_FORGETTING)
    archive = Archive(world)
    archive.write([archive.message("track", CANARY), archive.message("alias", CANARY, previousId=f"{CANARY}-old")])
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ben"})))
    world.snapshot([CANARY, f"{CANARY}-old", "ben"])
    for command in (["sync", KEY], ["forward"], ["report", "--out", str(world.folder / "report.html")]):
        call(world, *command)
    world.reopen()
    ours = [world.folder / ".windsor", world.folder / "report.html", temporary]
    home, copy = ours[0], world.folder / "as-it-was"
    shutil.copytree(home, copy)
    assert where_canaries_are(*ours)
    step, was_killed = 1, True
    while was_killed:
        shutil.rmtree(home)
        shutil.copytree(copy, home)
        was_killed = killed(world, temporary, step, "forget", CANARY) == KILLED
        if was_killed:
            call(world, "forget", CANARY)
        world.reopen()
        assert where_canaries_are(*ours) == set(), step
        step += 1 if IS_CHAOS else 13
    assert step > 15
    assert call(world, "audit").status == 0


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
