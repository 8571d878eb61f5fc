"""Little memory, few file handles, another character set: one sentence and an exit status, and books that are closed."""

import errno
import io
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.processes import clean_environment
from tests.support.archive import Archive
from tests.support.world import KEY, World
from windsor_sync.cli import main
from windsor_sync.domain.run import RunState
from windsor_sync.errors import ConfigError, OutOfResources
from windsor_sync.settings import load
from windsor_sync.state.runs import recent
from windsor_sync.storage.limits import HANDLES
from windsor_sync.usecases import deliver
from windsor_sync.usecases import forward as forwarding
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.forward import ForwardRequest, forward

ROOT = Path(__file__).parents[2]
MB = 2**20


def command(
    world: World, *arguments: str, limit: tuple[int, int, int] | None = None, **environment: str
) -> "subprocess.CompletedProcess[bytes]":
    """The command line in a process of its own, with a limit of the system: which, soft, hard."""
    kept = {
        name: value for name, value in clean_environment().items() if not name.startswith(("LC_", "LANG", "PYTHON"))
    }
    given = {"WINDSOR_API_KEY": world.windsor.api_key, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-m", "windsor_sync.cli", "--config", str(world.config), *arguments],
        cwd=world.folder,
        env=kept | given,
        capture_output=True,
        timeout=120,
        preexec_fn=(lambda: resource.setrlimit(limit[0], limit[1:])) if limit else None,
    )


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [
        ((resource.RLIMIT_NOFILE, 40, 40), b"This process may open 40 files, and needs"),
        ((resource.RLIMIT_AS, 800 * MB, 800 * MB), b"This process may have 800 MB of address space"),
    ],
)
def test_a_sync_with_too_little_room_says_so_and_begins_nothing(
    world: World, limit: tuple[int, int, int], sentence: bytes
) -> None:
    world.snapshot(["ana", "ben"])
    ended = command(world, "sync", KEY, limit=limit)
    assert (ended.returncode, ended.stderr.count(b"\n")) == (2, 1)
    assert sentence in ended.stderr
    assert recent(world.workspace.database) == []
    assert world.sync().state is RunState.DONE


@pytest.mark.parametrize("mb", [80, 140, 200])
@pytest.mark.parametrize("arguments", [("plan", KEY), ("runs",)], ids=str)
def test_where_the_libraries_cannot_be_loaded_a_sentence_says_so(
    world: World, mb: int, arguments: tuple[str, ...]
) -> None:
    ended = command(world, *arguments, limit=(resource.RLIMIT_AS, mb * MB, mb * MB))
    assert ended.returncode in (2, 6)
    assert ended.stderr.startswith(b"windsor-sync: ")
    assert ended.stderr.count(b"\n") == 1


def test_a_process_takes_the_file_handles_that_it_may_have(world: World) -> None:
    world.snapshot(["ana", "ben"])
    assert command(world, "sync", KEY, limit=(resource.RLIMIT_NOFILE, 40, 64 + HANDLES)).returncode == 0
    assert world.members_shown() == {"ana", "ben"}


def test_an_engine_is_not_begun_where_it_would_crash(world: World) -> None:
    world.snapshot(["ana", "ben"])
    ended = command(world, "plan", KEY, limit=(resource.RLIMIT_AS, 800 * MB, 800 * MB))
    assert ended.returncode == 2
    assert b"of address space" in ended.stderr
    assert b"Traceback" not in ended.stderr


SHORTAGES = [MemoryError(), OSError(errno.EMFILE, "Too many open files"), RuntimeError("can't start new thread")]


def running_out(rows: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """The same rows, but what comes after the first ones cannot be read any more."""

    def short(*arguments: Any) -> Iterator[Iterable[Any]]:
        for found in rows(*arguments):
            yield list(found)[:3]
            raise error

    return short


@pytest.mark.parametrize("error", SHORTAGES, ids=lambda error: type(error).__name__)
def test_a_sync_that_runs_out_of_room_half_way_closes_its_books(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    world.snapshot([f"u{number}" for number in range(10)])
    as_it_is = deliver.identify_rows
    with monkeypatch.context() as patch:
        patch.setattr(deliver, "identify_rows", lambda *all_of_it: running_out(as_it_is(*all_of_it), error))
        run = world.sync()
    assert (run.state, run.books.delivered + run.books.owed) == (RunState.FAILED, 10)
    assert run.books.delivered in range(4)  # the error may come before the first three are answered
    assert run.finished_at is not None
    assert f"{run.books.owed} stay owed and the next run sends them" in (run.sentence or "")
    assert audit(world.workspace, repair=False) == []
    assert world.sync().state is RunState.DONE
    assert world.sent == 10


def test_a_forwarding_that_runs_out_of_room_half_way_closes_its_books(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", f"u{number}") for number in range(10)])
    with monkeypatch.context() as patch:
        patch.setattr(forwarding, "pending_rows", running_out(forwarding.pending_rows, MemoryError()))
        (run,) = forward(world.workspace, ForwardRequest(), world.stop)
    assert (run.state, run.books.delivered + run.books.owed) == (RunState.FAILED, 10)
    forward(world.workspace, ForwardRequest(), world.stop)
    assert world.sent == 10


@pytest.mark.parametrize("error", SHORTAGES, ids=lambda error: type(error).__name__)
def test_any_command_without_room_ends_in_a_sentence(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def open_workspace(*_: object) -> None:
        raise error

    monkeypatch.setattr("windsor_sync.cli.opening.open_workspace", open_workspace)
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(world.config), "audit"])
    assert ended.value.code == OutOfResources.exit_status
    assert "what was recorded before stands" in capsys.readouterr().err


def test_a_terminal_of_another_character_set_loses_a_sign_and_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.snapshot({"żoë 🎉": None})
    world.sync()

    def printed(*arguments: str) -> bytes:
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1", write_through=True))
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(world.config), *arguments])
        assert ended.value.code == 0
        return written.getvalue()

    assert b"entered ? true" in printed("why", "żoë 🎉")
    said = json.loads(printed("plan", KEY, "--json"))
    assert said["plans"][0]["audience"] == KEY


def test_folders_are_called_what_people_call_them_also_without_a_locale(world: World) -> None:
    shutil.move(world.folder, world.folder.parent / "moved")
    folder = world.folder.parent / "Größe & Maß 🎉 'x'"
    shutil.move(world.folder.parent / "moved", folder)
    world.folder = folder
    world.document |= {"state": "sqlite:///zu stände 🎉/state.db", "files": "dätei 🎉/files"}
    world.document["audiences"] = [world.entry("VIP", "schnäpp schüsse 🎉")]
    world.snapshot(["ana", "ben"], folder="schnäpp schüsse 🎉")
    for arguments in (("sync", "vip"), ("forget", "ben"), ("audit",)):
        ended = command(world, *arguments, LC_ALL="C")
        assert (ended.returncode, ended.stderr) == (0, b""), ended
    assert world.members_shown("vip") == {"ana", "ben"}
    assert list((folder / "dätei 🎉" / "files" / "snapshots").rglob("*.parquet"))


def test_a_folder_whose_name_is_no_text_is_refused_with_what_to_set(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"gr\xf6sse")
    folder.mkdir()
    file = folder / "windsor.yaml"
    file.write_text("destination: {url: 'http://127.0.0.1:1/'}\n")
    with pytest.raises(ConfigError, match=r"gr\?sse.* cannot be read as UTF-8.*PYTHONUTF8=1") as refused:
        load(file, env={})
    str(refused.value).encode()
