"""Every command and snippet of the documentation does what the page shows."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from docs.reference import pages as generated
from tests.docs.pages import HELD_ELSEWHERE, MOST_ILLUSTRATIONS, ROOT, Block, blocks_of, commands_of, pages
from tests.support.forked_program import forked_program
from tests.support.windsor import WindsorProcess
from windsor_sync.settings import load

RUN = ("console", "python", "yaml")
KNOWN = (*RUN, "text")
FRESH = ROOT / "docs" / "quickstart.md"
"""The page whose commands are the installed program; on the others they are forked, which prints the same."""


class Project:
    """A page's scratch project: a folder, an environment that `export` changes, and a Windsor once it was started."""

    def __init__(self, folder: Path, running: ExitStack, programs_first: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "WINDSOR"))}
        programs = os.pathsep.join([str(programs_first), str(Path(sys.executable).parent), kept["PATH"]])
        self.environment = kept | {"PATH": programs, "HOME": str(folder), "COLUMNS": "100"}
        self.status = 0
        self.stands_for: dict[str, str] = {}
        """what a page names, and what is there instead"""
        self._running = running

    def console(self, block: Block) -> None:
        """Run the commands, and compare what they print with what the page shows."""
        commands = commands_of(block)
        followers = [*(command for command, _ in commands[1:]), ""]
        for (command, shown), next_command in zip(commands, followers, strict=True):
            where = f"{block.place}: {command}"
            printed = f"{self.status}\n" if command == "echo $?" else self._run(command)
            assert_shown(shown, printed, where)
            is_told = "echo $?" in (command, next_command)
            assert self.status == 0 or is_told, f"{where} ended with {self.status}, which the page does not show"

    def server(self, block: Block) -> None:
        """Start the page's Windsor, on a port that is free."""
        ((command, shown),) = commands_of(block)
        assert command.split()[:2] == ["windsor-sync", "sandbox"]
        windsor = self._running.enter_context(WindsorProcess())
        assert shown[0].startswith("Windsor sandbox: http://127.0.0.1:8474/")
        self.environment["WINDSOR_SYNC_DESTINATION__URL"] = windsor.url

    def python(self, block: Block) -> None:
        """Run a program of the page."""
        done = subprocess.run(
            [sys.executable, "-c", block.text], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{block.place}: {done.stderr}"

    def put(self, block: Block) -> None:
        """Make the block a file of the project."""
        path = self.folder / block.argument
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")

    def _run(self, command: str) -> str:
        for name, real in self.stands_for.items():
            command = command.replace(name, real)
        exported = re.fullmatch(r"export (\w+)=(.*)", command)
        if exported:
            self.environment[exported[1]] = exported[2].strip("'\"").replace("$PWD", str(self.folder))
            self.status = 0
            return ""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        self.status = done.returncode
        return done.stdout


def assert_shown(shown: list[str], printed: str, where: str) -> None:
    """Each line that the page shows is a line that was printed, in that order; spaces and `…` may differ."""
    lines = iter([" ".join(line.split()) for line in printed.splitlines()])
    for line in shown:
        pattern = ".*".join(re.escape(part) for part in " ".join(line.split()).split("…"))
        assert any(re.fullmatch(pattern, found) for found in lines), f"{where}\n  shows: {line}\n  prints:\n{printed}"


def read_as_settings(block: Block, folder: Path) -> None:
    document = yaml.safe_load(block.text)
    document.setdefault("destination", {"url": "http://127.0.0.1:8474/"})
    path = folder / "snippet.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    load(path, env={})


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[Callable[[], Project]]:
    """A scratch project; what it started ends with the test."""
    with ExitStack() as running:
        folder = tmp_path / "project"
        folder.mkdir()
        forked = running.enter_context(forked_program())
        yield lambda page=None: Project(folder, running, folder if page == FRESH else forked)


@pytest.mark.parametrize(
    "page",
    [page for page in pages() if any(block.language in RUN for block in blocks_of(page))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_command_and_snippet_of_a_page_does_what_it_shows(
    page: Path, make_project: Callable[[Path], Project], tmp_path: Path
) -> None:
    run_blocks(page, make_project(page), tmp_path)


def run_blocks(page: Path, project: Project, tmp_path: Path) -> None:
    """Run every block of the page, in the order in which they stand there."""
    for block in blocks_of(page):
        if block.illustration is not None:
            continue
        if block.language == "console":
            (project.server if block.argument == "server" else project.console)(block)
        elif block.argument:
            project.put(block)
        elif block.language == "python":
            project.python(block)
        elif block.language == "yaml":
            read_as_settings(block, tmp_path)
        if block.argument == "windsor.yaml":
            read_as_settings(block, tmp_path)


def test_the_settings_in_the_readme_are_valid(tmp_path: Path) -> None:
    snippets = [block for block in blocks_of(ROOT / "README.md") if block.language == "yaml"]
    assert snippets
    for block in snippets:
        read_as_settings(block, tmp_path)


def test_every_block_says_what_it_is_and_few_are_not_run() -> None:
    blocks = [block for page in pages() for block in blocks_of(page)]
    assert [block.place for block in blocks if block.language not in KNOWN and block.illustration is None] == []
    illustrations = [block for block in blocks if block.illustration is not None]
    assert all(block.illustration for block in illustrations), "an illustration says why it is not run"
    assert len(illustrations) <= MOST_ILLUSTRATIONS


def test_pages_that_are_held_elsewhere_have_their_test() -> None:
    for page, test in HELD_ELSEWHERE.items():
        assert not (ROOT / page).exists() or (ROOT / test).exists(), test


@pytest.mark.parametrize("page", generated(), ids=lambda page: page.name)
def test_the_references_are_what_the_code_says(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == generated()[page], "run: make docs"


def test_every_page_can_be_reached_from_the_index() -> None:
    docs = ROOT / "docs"
    linked = set(re.findall(r"\]\(([\w/.-]+\.md)", (docs / "README.md").read_text(encoding="utf-8")))
    listed = linked | {f"decisions/{path.name}" for path in (docs / "decisions").glob("0*.md")}
    assert {str(path.relative_to(docs)) for path in docs.rglob("*.md")} - {"README.md"} <= listed
