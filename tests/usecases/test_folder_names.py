"""Whatever a folder is called: it is a path, and what lies in a folder that it would match as a pattern stays unread."""

import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.archive import Archive
from tests.support.windsor import StartWindsor
from tests.support.world import World
from windsor_sync.errors import ConfigError
from windsor_sync.events.archive import list_files
from windsor_sync.report.users import show_user
from windsor_sync.settings.patterns import below, folder_and_text, shown_pattern
from windsor_sync.sources import newest
from windsor_sync.storage.duckdb_engine import open_duckdb, parquet
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.forget import forget
from windsor_sync.usecases.forward import ForwardRequest, forward
from windsor_sync.usecases.why import why

PACKAGE = Path(__file__).parents[2] / "windsor_sync"

NAMES = (
    ("client[1]", "client1"),
    ("client*?", "client-a"),
    ("{a,b} 50%20#1 'x' \"y\" $z;::`", "{a,b} 50 #1 'x' \"y\" $z;::`"),
    ("day=1\n😀 [!x] ü", "day=1\n😀 y ü"),
)
"""A folder, and one beside it which the first would match if it were a pattern (or would come to, read as a URL)."""


@pytest.fixture
def open_world(start_windsor: StartWindsor) -> Iterator[Callable[[Path], World]]:
    """A world in a folder of any name."""
    worlds: list[World] = []

    def make(folder: Path) -> World:
        folder.mkdir(parents=True)
        worlds.append(World(folder, start_windsor()))
        return worlds[-1]

    yield make
    for world in worlds:
        world.reopen()


@pytest.mark.forms(2)
@pytest.mark.parametrize(("name", "neighbour"), NAMES)
def test_a_workspace_in_a_folder_of_any_name_reads_and_writes_its_own_files_only(
    tmp_path: Path, open_world: Callable[[Path], World], name: str, neighbour: str
) -> None:
    theirs, ours = open_world(tmp_path / neighbour), open_world(tmp_path / name)
    # A folder of such a name as a setting of its own, too: none of these three is a pattern.
    setting = name.replace("\n", " ")
    ours.document["files"] = f"store {setting}"
    ours.document["state"] = f"sqlite:///state {setting.replace('?', '').replace('%', '%25')}/state.db"
    archive = Archive(ours)
    archive.root = archive.root.rename(ours.folder / f"logs {setting}")
    ours.document["events"]["archive"] = f"logs {setting}"
    theirs.snapshot([f"theirs-{number}" for number in range(5)])
    ours.snapshot(["ana", "ben", "cem"])
    theirs.sync()
    before = {path: path.read_bytes() for path in theirs.folder.rglob("*.parquet")}
    assert len(ours.plan()) == 3
    ours.sync()
    ours.reopen()
    ours.snapshot(["ben", "cem", "dan"])
    ours.sync()
    sent = ours.sent
    ours.sync()
    assert ours.sent == sent
    assert ours.shown() == {"ana": False, "ben": True, "cem": True, "dan": True}
    assert theirs.members_shown() == {f"theirs-{number}" for number in range(5)}

    archive.write([archive.message("track", "ana"), archive.message("alias", "ben", previousId="b")])
    [run] = forward(ours.workspace, ForwardRequest(), ours.stop)
    assert run.books.delivered == 2
    assert show_user(ours.workspace, run, 0, who="test").user == "ana"
    assert forward(ours.workspace, ForwardRequest(), ours.stop) == []

    [account] = why(ours.workspace, "ana")
    assert (account.told, len(account.steps)) == (False, 2)
    assert audit(ours.workspace, repair=False) == []
    assert forget(ours.workspace, "ben", who="test", why=None).outboxes == 2
    assert audit(ours.workspace, repair=False) == []
    assert {path: path.read_bytes() for path in theirs.folder.rglob("*.parquet")} == before
    assert {path.parts[len(tmp_path.parts)] for path in tmp_path.rglob("*") if path.is_file()} == {name, neighbour}


def test_a_plan_and_a_sync_read_no_snapshot_of_a_folder_that_the_workspace_matches(
    tmp_path: Path, open_world: Callable[[Path], World]
) -> None:
    theirs, ours = open_world(tmp_path / "client1"), open_world(tmp_path / "client[1]")
    for path in ("snapshots/audience/*.csv", "snapshots/audience/", "../client[1]/snapshots/audience/2*.csv"):
        ours.document["audiences"][0]["snapshot"] = {"path": path, "format": "engage_csv"}
        ours.reopen()
        for world, user in ((ours, "ana"), (theirs, "theirs")):
            shutil.rmtree(world.folder / "snapshots", ignore_errors=True)
            world.snapshot([user])
        if path.startswith(".."):  # there the setting itself says so
            [message] = ours.plan()
            assert message["userId"] == "theirs"
        else:
            assert [message["userId"] for message in ours.plan()] == ["ana"]


def test_a_date_is_looked_for_in_what_the_setting_says_and_not_in_the_folder_that_it_counts_from(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "2024-01-01 [1]"
    for path in ("s/vip.csv", "s/2026-02-03/vip.csv"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("user_id\nana\n")
    assert newest(below(folder, "s/**/*.csv"), "%Y-%m-%d").taken_at == datetime(2026, 2, 3, tzinfo=UTC)
    assert newest(below(folder, "s/*/"), "%Y-%m-%d").taken_at == datetime(2026, 2, 3, tzinfo=UTC)
    with pytest.raises(Exception, match=r"2024-01-01 \[1\]/s/\*\.csv has a date like"):
        newest(below(folder, "s/*.csv"), "%Y-%m-%d")


def test_a_pattern_counts_from_its_folder_wherever_it_leads() -> None:
    folder = Path("/data/client[1]")
    for text, counts_from, rest in (
        ("s/*.csv", "/data/client[1]", "s/*.csv"),
        ("./s/../t/", "/data/client[1]", "t/"),
        (".hidden/x.csv", "/data/client[1]", ".hidden/x.csv"),
        ("../x[12]/*.csv", "/data", "x[12]/*.csv"),
        ("../../x/*", "", "/x/*"),
        ("/exports/[ab]/*.csv", "", "/exports/[ab]/*.csv"),
        ("s3://acme/a/./[ab]/*.csv", "", "s3://acme/a/./[ab]/*.csv"),
    ):
        assert folder_and_text(below(folder, text)) == (counts_from, rest)
    assert shown_pattern(below(folder, "s/*.csv")) == "/data/client[1]/s/*.csv"


def test_a_state_in_a_folder_whose_name_means_something_in_a_url_stands_there(
    tmp_path: Path, open_world: Callable[[Path], World]
) -> None:
    world = open_world(tmp_path / "what%20next? [1]")
    world.document["state"] = "sqlite:///here/state.db?timeout=5"
    world.snapshot(["ana"])
    world.sync()
    assert (tmp_path / "what%20next? [1]" / "here" / "state.db").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["what%20next? [1]"]


def test_a_path_that_the_engine_would_take_for_another_one_is_refused_and_nothing_else_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a\\[b]" / "x.parquet"
    with pytest.raises(ConfigError, match="Rename the folder"):
        parquet(str(path))
    plain = tmp_path / "a\\b" / "x.parquet"
    plain.parent.mkdir()
    with open_duckdb() as connection:
        connection.execute(f"COPY (SELECT 7 AS x) TO '{plain}' (FORMAT parquet)")
        assert connection.execute(f"SELECT * FROM {parquet(str(plain))}").fetchall() == [(7,)]


@pytest.mark.parametrize("folder", ["client[1]", "client*", "what?", "50% #1 'x'", "day=1"])
def test_objects_below_a_prefix_of_any_name_are_read_and_those_that_it_matches_are_not(
    folder: str, s3: Any, tmp_path: Path
) -> None:
    for name in ("client1", "clientele", "whats", folder):
        s3.pipe_file(f"acme/{name}/vip/a.csv", f"user_id\n{name}\n".encode())
        s3.pipe_file(f"acme/{name}/logs/src/2026-01-01/a.gz", b"{}\n")
    found = newest(f"s3://acme/{folder}/vip/a.csv")
    assert found.path == f"s3://acme/{folder}/vip/a.csv"
    assert [file.path for file in list_files(f"s3://acme/{folder}/logs")] == ["src/2026-01-01/a.gz"]


@pytest.mark.thorough
def test_a_file_store_below_a_prefix_of_any_name_is_used_to_the_letter(
    s3: Any, tmp_path: Path, open_world: Callable[[Path], World]
) -> None:
    theirs, ours = open_world(tmp_path / "theirs"), open_world(tmp_path / "ours")
    for world, prefix in ((theirs, "client1 x-a"), (ours, "client[1] *-? {a,b} 50%20#'x'")):
        world.document["files"] = f"s3://acme/{prefix}"
        archive = Archive(world)
        archive.write([archive.message("track", "ana")])
        world.snapshot([f"{prefix}-1", "ana"])
        world.sync()
        world.snapshot(["ana", "ben"])
        world.sync()
        assert world.shown() == {f"{prefix}-1": False, "ana": True, "ben": True}
        [run] = forward(world.workspace, ForwardRequest(), world.stop)
        assert run.books.delivered == 1
        assert audit(world.workspace, repair=False) == []
    before = s3.find("acme/client1 x-a")
    assert forget(ours.workspace, "ana", who="test", why=None).outboxes == 2
    assert audit(ours.workspace, repair=False) == []
    assert s3.find("acme/client1 x-a") == before


READERS = re.compile(
    r"\b(read_(?:parquet|csv|json|ndjson|blob)|parquet_(?:scan|schema|\w*metadata)|[ir]?glob|url_to_fs)\("
)
ALLOWED = {
    "storage/duckdb_engine.py": {"read_parquet", "read_csv"},
    "storage/parquet_footer.py": {
        "parquet_file_metadata",
        "parquet_kv_metadata",
    },  # of a path that was quoted for one file
    "storage/errors.py": {"url_to_fs"},
    "diff/spark_files.py": {"url_to_fs"},  # in code of Spark's workers, which have none of this package; URLs alone
    "airflow/dag_files.py": {"glob"},  # pathlib's, of a folder that is no part of its pattern
    "demo/shop.py": {"read_csv"},  # of pandas, which knows no patterns
}


def test_one_place_stands_between_our_paths_and_every_reader() -> None:
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        names = set(READERS.findall(path.read_text(encoding="utf-8")))
        if names:
            found[path.relative_to(PACKAGE).as_posix()] = names
    assert found == ALLOWED
