"""Scratch folders are private, say whose they are, and do not outlive their process by more than a command."""

import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.test_tables_and_words import call
from tests.support.world import World
from windsor_sync.errors import LeaseHeld
from windsor_sync.storage import scratch
from windsor_sync.storage.duckdb_engine import open_duckdb
from windsor_sync.storage.file_store import FileStore
from windsor_sync.storage.process import mark_of_this_process
from windsor_sync.storage.scratch import ABANDONED_S, scratch_folder, scratch_in, sweep
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.forget import forget, is_suppressed

ELSEWHERE = "another-machine boot pid:[1] time:[1] 42 7"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the test's own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def left(
    root: Path, mark: str | None, *, hours_ago: float = 0, name: str = "abcdefgh", stores: Sequence[str] = ()
) -> Path:
    """The folder of a process that is gone, with a user in it."""
    folder = root / f"{scratch.PREFIX}{name}"
    (folder / "files").mkdir(parents=True)
    (folder / "owner").write_text(json.dumps({"process": mark, "stores": list(stores)}))
    (folder / "files" / "draft").write_text("canary")
    moment = time.time() - hours_ago * 60 * 60
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (moment, moment))
    return folder


@contextmanager
def a_process() -> Iterator[str]:
    """The mark of another process of this machine, which lives as long as the block."""
    code = "from windsor_sync.storage.process import mark_of_this_process; print(mark_of_this_process(), flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.communicate("\n")


def mark_of_the_dead() -> str:
    with a_process() as mark:
        pass
    return mark


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o177])
def test_only_this_user_may_look_into_a_scratch_folder_whatever_the_umask(temporary: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with scratch_folder() as folder, open_duckdb():
            modes = [stat.S_IMODE(path.lstat().st_mode) for path in temporary.rglob("*") if path.is_dir()]
            assert set(modes) == {0o700}
            assert stat.S_IMODE((folder.parent / "owner").lstat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert list(temporary.iterdir()) == []


def test_a_scratch_folder_says_whose_it_is_and_which_file_stores_it_may_have_data_of(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "files"))
    with store.draft():
        [found] = scratch_in(tmp_path / "files" / "drafts")
        assert (found.mark, found.is_ours, found.is_left) == (mark_of_this_process(), True, False)
        assert found.stores >= {(tmp_path / "files").as_uri()}
        assert found in store.scratch()
        assert store.readers() == []
        assert found not in FileStore(str(tmp_path / "others")).scratch()


def test_what_a_dead_process_left_goes_at_once_and_what_a_living_one_has_stays(temporary: Path) -> None:
    dead = left(temporary, mark_of_the_dead(), name="deaddead")
    with a_process() as mark:
        living = left(temporary, mark, hours_ago=100, name="livingly")
        sweep()
        assert (dead.exists(), living.exists()) == (False, True)
    sweep()
    assert not living.exists()


@pytest.mark.parametrize("mark", [ELSEWHERE, None])
def test_a_folder_whose_process_cannot_be_judged_goes_a_day_after_it_was_last_written_to(
    temporary: Path, mark: str | None
) -> None:
    old = left(temporary, mark, hours_ago=25, name="oldoldol")
    young = left(temporary, mark, hours_ago=23, name="youngyou")
    written = left(temporary, mark, hours_ago=25, name="writtenw")
    (written / "files" / "draft").write_text("more")
    sweep()
    assert (old.exists(), young.exists(), written.exists()) == (False, True, True)


def test_a_link_another_name_and_another_users_folder_are_left_alone(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = left(tmp_path, mark_of_the_dead())
    link = temporary / f"{scratch.PREFIX}linklink"
    link.symlink_to(theirs)
    other = left(temporary, None, hours_ago=1000, name="a-project-of-somebody")
    monkeypatch.setattr(scratch, "ABANDONED_S", 0)
    sweep()
    assert (link.is_symlink(), other.exists(), (theirs / "files" / "draft").exists()) == (True, True, True)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    sweep(tmp_path)
    assert theirs.exists()


def test_an_owner_that_leads_elsewhere_or_says_nonsense_is_nobody(temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "owner").write_text(json.dumps({"process": mark_of_the_dead(), "stores": []}))
    linked = left(temporary, None)
    (linked / "owner").unlink()
    (linked / "owner").symlink_to(tmp_path / "owner")
    for text in ("", "[]", '{"process": 1}', "\x00"):
        left(temporary, None, name=f"nonsens{len(text) % 10}").joinpath("owner").write_text(text)
    found = scratch_in()
    assert len(found) == 5
    assert {one.mark for one in found} == {None}


def test_any_command_removes_what_a_killed_one_left(world: World, temporary: Path) -> None:
    world.snapshot(["ana"])
    world.sync()
    mark = mark_of_the_dead()
    for arguments in (["runs"], ["audiences"], ["plan", "--all"], ["why", "ana"], ["check", "--offline"], ["audit"]):
        killed = [left(temporary, mark), left(world.folder / ".windsor" / "files" / "drafts", mark)]
        call(world, *arguments)
        assert [folder.exists() for folder in killed] == [False, arguments[0] == "check"], arguments
        sweep(world.folder / ".windsor" / "files" / "drafts")


def test_forget_waits_for_a_plan_that_has_read_the_user_and_purges_nothing_beside_it(
    world: World, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windsor_sync.usecases.forget.READERS_S", 0.1)
    world.snapshot(["ana", "ben"])
    world.sync()
    with a_process() as mark:
        left(temporary, mark, stores=["file:///another/store", f"file://{world.folder}/.windsor/files"])
        with pytest.raises(LeaseHeld, match=rf"process {mark.split(' ')[-2]} on .* Run the same command again"):
            forget(world.workspace, "ana", who="test", why=None)
        assert is_suppressed(world.workspace.database, "ana")
    forgotten = forget(world.workspace, "ana", who="test", why=None)
    assert (forgotten.is_new, forgotten.snapshots, forgotten.outboxes) == (False, 1, 1)
    assert list(temporary.iterdir()) == []


def test_forget_does_not_wait_for_a_command_on_other_files(
    world: World, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windsor_sync.usecases.forget.READERS_S", 0)
    world.snapshot(["ana"])
    world.sync()
    with a_process() as mark:
        folders = [left(temporary, mark, stores=["file:///another/store"]), left(temporary, mark, name="nostores")]
        assert forget(world.workspace, "ana", who="test", why=None).snapshots == 1
        assert all(folder.exists() for folder in folders)


def test_audit_names_a_folder_that_nobody_here_can_judge_and_its_remedy_removes_it(
    world: World, temporary: Path
) -> None:
    world.snapshot(["ana"])
    world.sync()
    young = left(temporary, ELSEWHERE, hours_ago=0.5, name="youngyou")
    quiet = left(temporary, ELSEWHERE, hours_ago=2, name="quietqui")
    found = {one.text.split(" ")[0]: one for one in audit(world.workspace, repair=False)}
    assert (found[str(young)].is_going, found[str(quiet)].is_going) == (True, False)
    assert "audit --repair" in found[str(quiet)].remedy
    assert call(world, "audit", "--repair").status == 0
    assert (young.exists(), quiet.exists()) == (True, False)
    assert ABANDONED_S > 2 * 60 * 60


def test_whose_a_folder_is_can_be_read_for_as_long_as_anything_is_in_it(temporary: Path) -> None:
    """Read while another process makes and removes one after another."""
    code = """
from windsor_sync.storage.scratch import scratch_folder
for _ in range(150):
    with scratch_folder() as folder:
        for number in range(40):
            (folder / str(number)).touch()
"""
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(temporary)}) as process:
        nameless, seen = 0, 0
        while process.poll() is None:
            for found in scratch_in():
                seen += found.is_used
                nameless += found.is_used and found.mark is None and found.is_there
    assert (process.returncode, nameless) == (0, 0)
    assert seen > 100


def test_a_process_that_stood_still_while_it_made_its_folder_makes_another_one(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another command has taken the folder, in which no owner was named for a minute, for one that was left behind."""
    swept: list[Path] = []
    name_owner = scratch._name_owner

    def stand_still(folder: Path) -> None:
        if not swept:
            swept.append(folder)
            long_ago = time.time() - 2 * scratch.MAKING_S
            os.utime(folder, (long_ago, long_ago))
            sweep()
        name_owner(folder)

    monkeypatch.setattr(scratch, "_name_owner", stand_still)
    with scratch_folder() as folder:
        assert folder.is_dir()
        assert not swept[0].exists()
        assert [found.is_ours for found in scratch_in()] == [True]
    assert list(temporary.iterdir()) == []
