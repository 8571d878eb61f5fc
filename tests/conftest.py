"""Fixtures for every room."""

import gc
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("make test", deadline=None, max_examples=25)
settings.register_profile("make chaos", deadline=None)
settings.load_profile("make chaos" if os.environ.get("WINDSOR_CHAOS") == "1" else "make test")

pytest_plugins = [
    "tests.support.windsor",
    "tests.support.world",
    "tests.support.postgres",
    "tests.support.segment_api",
    "tests.support.s3",
    "tests.support.receiver",
]

SLOW_ROOMS = ("deployment", "end_to_end", "packaging", "airflow", "chaos", "docs", "usecases", "sources", "report")
"""Side by side they come first: one that takes minutes and begins last would have all others wait for it."""

TOGETHER = {
    "tests/airflow/test_analysts_day.py": "a browser and an api-server",
    "tests/airflow/test_hostile_rejections.py": "a browser and an api-server",
    "tests/airflow/test_page.py": "a browser and an api-server",
    "tests/airflow/test_provider.py": "a browser and an api-server",
    "tests/deployment/test_two_workers.py": "all of Airflow",
    "tests/deployment/test_up.py": "all of Airflow",
    "tests/end_to_end/test_demo.py": "all of Airflow",
    "tests/report/test_document.py": "a company with a history",
    "tests/report/test_views.py": "a company with a history",
}
"""Files that share what takes long to start, or that would be in each other's way: one process runs all of a kind."""

IN_MEMORY = Path("/dev/shm")
ROOM_BYTES = 6 << 30

APART = ("tests/chaos/test_canary.py", "tests/chaos/test_model.py", "tests/docs/test_pages.py")
"""Long files whose tests share nothing: any process runs any test of them."""


CHOSEN = 500
"""So few tests were chosen by a person, who wants them all."""


def second_forms(names: Set[str]) -> set[str]:
    """Return the tests of two rooms that are there for both databases, each with the database that `make test` leaves out.

    Both rooms reach a database by gateways, whose tests (`contracts`) run on both. Half of the tests run on each database,
    and `make chaos` runs every form.
    """
    second = set()
    for name in names:
        twin = re.sub(r"\bsqlite(?=[]-])", "postgresql", name)
        if name.startswith(("tests/usecases/", "tests/report/")) and twin != name and twin in names:
            second.add(name if zlib.crc32(name.encode()) % 2 else twin)
    return second


def thorough_forms(items: Sequence[pytest.Item]) -> set[str]:
    """Return the tests marked `thorough`, and of a test marked `forms` those beyond its number; the rest speaks for them.

    Which forms are kept is by chance, and the same on every machine.
    """
    found = {item.nodeid for item in items if item.get_closest_marker("thorough")}
    forms: dict[tuple[str, int], list[str]] = {}
    for item in items:
        if mark := item.get_closest_marker("forms"):
            forms.setdefault((item.nodeid.partition("[")[0], mark.args[0]), []).append(item.nodeid)
    for (_, kept), names in forms.items():
        found.update(sorted(names, key=lambda name: zlib.crc32(name.encode()))[kept:])
    return found


def has_room(folder: Path) -> bool:
    """Whether temporary files may go there: a file system in memory, and memory enough beside it."""
    if not os.access(folder, os.W_OK) or not folder.is_mount():
        return False
    available = re.search(r"^MemAvailable: *(\d+) kB$", Path("/proc/meminfo").read_text(encoding="utf-8"), re.MULTILINE)
    return available is not None and min(shutil.disk_usage(folder).free, int(available[1]) << 10) > ROOM_BYTES


def pytest_collection(session: pytest.Session) -> None:
    """What is collected stays: to look through it for garbage again and again took a third of the collection's time."""
    gc.disable()
    session.config.add_cleanup(gc.unfreeze)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000)


def pytest_configure(config: pytest.Config) -> None:
    """Give each process a temporary folder of its own: `audit` reports what any process is doing in the one they share."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        if has_room(IN_MEMORY) and not {"TMPDIR", "PYTEST_DEBUG_TEMPROOT"} & set(os.environ):
            os.environ["TMPDIR"] = tempfile.tempdir = str(IN_MEMORY)  # no test cuts the power: no disk is needed
        return
    folder = Path(tempfile.mkdtemp(prefix="windsor-"))
    folder.chmod(0o1777)  # as the one that all share: PostgreSQL and some tests are another user
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the slow rooms; the order within a room stays. Leave out what `make chaos` alone runs."""
    tests = config.rootpath / "tests"
    if os.environ.get("WINDSOR_CHAOS") != "1" and len(items) > CHOSEN:
        left_out = second_forms({item.nodeid for item in items}) | thorough_forms(items)
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
        items[:] = [item for item in items if item.nodeid not in left_out]

    def place(item: pytest.Item) -> int:
        room = Path(item.path).relative_to(tests).parts[0]
        return SLOW_ROOMS.index(room) if room in SLOW_ROOMS else len(SLOW_ROOMS)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than processors: many tests wait for a server, a lease or a retry."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out files, in their order, to whichever process is free."""
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return nodeid if file in APART else TOGETHER.get(file, file)

    return Files(config, log)


@pytest.fixture(scope="session", autouse=True)
def engines_reach_the_files_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Many tests hand an engine files that are in no file store; the commands they start reach what a user's would.

    So each test can use the engines of the one before.
    """
    from windsor_sync.storage.duckdb_engine import reach_folder
    from windsor_sync.storage.kept_engines import engines_kept

    for folder in (tempfile.gettempdir(), str(tmp_path_factory.getbasetemp())):
        reach_folder(folder)
    with engines_kept():
        yield


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the test's own: a search for what is left there finds nothing of others."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder
