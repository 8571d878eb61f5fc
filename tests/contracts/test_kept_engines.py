"""An engine that is used again holds nothing of its use before, and none outlives the workspace that kept it."""

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import duckdb
import fsspec
import pytest

from tests.support.engines import new_engines
from tests.support.world import World
from windsor_sync.storage import duckdb_engine, kept_engines
from windsor_sync.storage.duckdb_engine import open_duckdb, parquet, quoted
from windsor_sync.storage.kept_engines import engines_kept


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Nobody else in this process keeps engines: all tests of a session share theirs."""
    with new_engines():
        yield


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[kept_engines.KeptEngine]:
    """The engines that were started since."""
    engines: list[kept_engines.KeptEngine] = []
    start = duckdb_engine._started

    def watched(*given: Any) -> kept_engines.KeptEngine:
        engines.append(start(*given))
        return engines[-1]

    monkeypatch.setattr(duckdb_engine, "_started", watched)
    return engines


@pytest.fixture
def kept() -> Iterator[None]:
    """Engines are kept while a test runs."""
    with engines_kept():
        yield


def is_closed(engine: kept_engines.KeptEngine) -> bool:
    try:
        engine.database.execute("SELECT 1")
    except duckdb.ConnectionException:
        return True
    return False


LEAVES_NOTHING = {
    "nothing": "SELECT 1",
    "a temporary table": "CREATE TEMP TABLE members AS SELECT 'canary' AS user_id",
    "a temporary view": "CREATE TEMP VIEW members AS SELECT 'canary' AS user_id",
    "a temporary macro": "CREATE TEMP MACRO members() AS 'canary'",
    "another order of rows": "SET preserve_insertion_order = false",
    "another time zone": "SET TimeZone = 'Europe/Paris'",
}
LEAVES_SOMETHING = {
    "a table": "CREATE TABLE members AS SELECT 'canary' AS user_id",
    "a view": "CREATE VIEW members AS SELECT 'canary' AS user_id",
    "another number of threads": "SET threads = 1",
    "much memory": "CREATE TEMP TABLE members AS SELECT 'user-' || range FROM range(6000000)",
    "a file beside the spilled ones": "COPY (SELECT 'canary' AS user_id) TO '{spill}/copy.csv'",
}


def everything(connection: duckdb.DuckDBPyConnection) -> list[Any]:
    """What one who works with an engine can find in it."""
    return [
        connection.execute(query).fetchall()
        for query in (
            "SELECT name, value FROM duckdb_settings() ORDER BY name",
            "SELECT table_name FROM duckdb_tables()",
            "SELECT view_name FROM duckdb_views() WHERE NOT internal",
            "SELECT function_name FROM duckdb_functions() WHERE NOT internal",
            "SELECT database_name FROM duckdb_databases() ORDER BY 1",
        )
    ]


@pytest.mark.parametrize("what", LEAVES_NOTHING)
def test_an_engine_that_is_used_again_is_as_a_new_one(
    what: str, kept: None, started: list[kept_engines.KeptEngine]
) -> None:
    with open_duckdb() as connection:
        new = everything(connection)
        connection.execute(LEAVES_NOTHING[what])
    with open_duckdb() as connection:
        assert everything(connection) == new
    assert len(started) == 1


@pytest.mark.parametrize("what", LEAVES_SOMETHING)
def test_an_engine_that_may_hold_something_is_not_used_again(
    what: str, kept: None, started: list[kept_engines.KeptEngine]
) -> None:
    with open_duckdb() as connection:
        connection.execute(LEAVES_SOMETHING[what].format(spill=kept_engines.inside(started[0].scratch)))
    assert is_closed(started[0])
    with open_duckdb() as connection:
        assert connection.execute("SELECT table_name FROM duckdb_tables()").fetchall() == []
    assert len(started) == 2


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_an_engine_whose_block_failed_is_not_used_again(
    error: type[BaseException], kept: None, started: list[kept_engines.KeptEngine]
) -> None:
    with pytest.raises(error), open_duckdb():
        raise error
    assert is_closed(started[0])


def test_an_engine_that_waits_has_no_folder_and_none_waits_after_the_last_keeper(
    started: list[kept_engines.KeptEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with engines_kept():
        with engines_kept(), open_duckdb():
            assert len(list(tmp_path.iterdir())) == 1
        assert list(tmp_path.iterdir()) == []
        assert not is_closed(started[0])
    assert is_closed(started[0])


def test_without_a_keeper_an_engine_ends_with_its_block(started: list[kept_engines.KeptEngine]) -> None:
    with open_duckdb():
        pass
    assert is_closed(started[0])


def test_a_place_that_somebody_took_meanwhile_is_not_used(kept: None, started: list[kept_engines.KeptEngine]) -> None:
    with open_duckdb():
        pass
    started[0].scratch.mkdir()
    try:
        with open_duckdb() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        started[0].scratch.rmdir()
    assert len(started) == 2


def test_engines_of_several_threads_are_several(kept: None) -> None:
    together = Barrier(4)

    def own(number: int) -> list[tuple[Any, ...]]:
        with open_duckdb() as connection:
            together.wait(30)
            connection.execute(f"CREATE TEMP TABLE own AS SELECT {number} AS n")
            together.wait(30)
            return connection.execute("SELECT n FROM own").fetchall()

    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(own, range(4))) == [[(number,)] for number in range(4)]
    assert len(kept_engines._idle) <= kept_engines.MOST_IDLE


def test_engines_that_nobody_needs_any_more_make_room_for_those_in_use(
    kept: None, started: list[kept_engines.KeptEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb_engine, "_folders", set())
    for name in ("one", "two", "three", "three"):
        duckdb_engine._folders.clear()
        duckdb_engine.reach_folder(str(tmp_path / name))
        with open_duckdb():
            pass
    assert [is_closed(engine) for engine in started] == [True, False, False]


def test_a_fork_has_an_engine_of_its_own(kept: None) -> None:
    def counts() -> bool:
        with open_duckdb() as connection:
            return connection.execute("SELECT sum(range) FROM range(1000000)").fetchone() == (499999500000,)

    assert counts()
    child = os.fork()
    if child == 0:
        os._exit(0 if counts() and not kept_engines._idle else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert counts()


def test_a_stored_file_is_read_anew_though_its_time_and_size_stayed(
    kept: None, started: list[kept_engines.KeptEngine]
) -> None:
    store = fsspec.filesystem("memory")
    duckdb_engine.reach(store)
    path = "memory://kept/members.parquet"
    for value in (7, 8):
        with open_duckdb() as connection:
            connection.execute(f"COPY (SELECT {value} AS n) TO {quoted(path)} (FORMAT parquet)")
            store.store["/kept/members.parquet"].modified = store.created("/kept/members.parquet").replace(year=2026)
        with open_duckdb() as connection:
            assert connection.execute(f"SELECT n FROM {parquet(path)}").fetchall() == [(value,)]
    assert len(started) == 1


def test_the_second_sync_of_a_workspace_starts_one_engine_which_reads_its_snapshot_and_nothing_else(
    world: World, started: list[kept_engines.KeptEngine]
) -> None:
    world.snapshot(["ann", "bob"])
    world.sync()
    first = len(started)
    world.snapshot(["ann"])
    world.sync()
    assert world.shown() == {"ann": True, "bob": False}
    assert len(started) == first + 1
