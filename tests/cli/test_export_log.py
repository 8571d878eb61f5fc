"""`export log`: what became of every change, where other programs can query it."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import duckdb
import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from sqlalchemy import create_engine, select, text

from tests.cli.test_tables_and_words import call
from tests.docs.pages import DOCS
from tests.support.history import configure, live
from tests.support.postgres import Postgres
from tests.support.world import KEY, World
from windsor_sync.cli import main
from windsor_sync.sandbox import Faults
from windsor_sync.state.suppressions import hash_in_use, suppress_for_good
from windsor_sync.state.tables import audit_trail
from windsor_sync.usecases import export_targets
from windsor_sync.usecases.export_log import COLUMNS, rows_of
from windsor_sync.usecases.export_targets import TableTarget


def rows(file: str, what: str = "*", rest: str = "") -> list[tuple[Any, ...]]:
    return duckdb.connect().execute(f"SELECT {what} FROM read_parquet('{file}') {rest}").fetchall()


def exported(world: World, *arguments: str) -> dict[str, Any]:
    ran = call(world, "export", "log", *arguments, "--json")
    assert ran.status == 0, ran.out
    found: dict[str, Any] = json.loads(ran.out)
    return found


def test_each_change_of_every_run_has_one_row_and_fates_add_up_to_the_books(world: World) -> None:
    configure(world)
    live(world)
    folder = world.folder / "log"
    done = exported(world, "--to", str(folder))
    fates: dict[str, dict[str, int]] = {}
    for run, fate, number in rows(f"{folder}/*/*.parquet", "run_id, fate, count(*)", "GROUP BY ALL"):
        fates.setdefault(run, {})[fate] = number
    runs = [one for one in json.loads(call(world, "runs", "--json").out)["runs"] if one.get("changes")]
    runs = [one for one in runs if one["kind"] != "forwarding" and "audience" in one]
    assert {one["run"] for one in runs} == set(fates)
    for one in runs:
        found = fates[one["run"]]
        assert found.get("delivered", 0) == one["delivered"]
        assert found.get("rejected", 0) + found.get("not due", 0) == one["rejected"]
        assert found.get("withheld", 0) == one["withheld"]
        assert sum(found.values()) == one["changes"]
    assert done["rows"] == sum(one["changes"] for one in runs)


def test_a_row_says_who_what_and_windsor_s_answer_and_no_e_mail(world: World) -> None:
    world.snapshot({"ana": "ana@example.com", "ben": None})
    world.values({"ana": 1.5})
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ben"})))
    world.sync()
    world.sync("total_revenue_180_days")
    file = world.folder / "log.parquet"
    exported(world, "--to", str(file))
    what = "audience, user_id, change, value, fate, code, run_started_at <= now()"
    assert rows(str(file), what, "ORDER BY ALL") == [
        (KEY, "ana", "entered", "true", "delivered", None, True),
        (KEY, "ben", "entered", "true", "rejected", 400, True),
        ("total_revenue_180_days", "ana", "entered", "1.5", "delivered", None, True),
    ]
    assert "example.com" not in str(rows(str(file)))
    assert file.stat().st_mode & 0o077 == 0
    with world.workspace.database.read() as connection:
        (asked,) = connection.execute(select(audit_trail).where(audit_trail.c.what == "export log")).all()
    assert asked.details["to"] == str(file)
    assert "ana" not in str(asked.details)


def test_an_export_again_adds_new_runs_only_and_changes_no_other_file(world: World) -> None:
    world.snapshot(["ana"])
    world.sync()
    folder = world.folder / "log"
    assert exported(world, "--to", str(folder))["runs"] == 1
    (first,) = folder.rglob("*.parquet")
    written = first.stat().st_mtime_ns
    world.snapshot(["ana", "ben"])
    world.sync()
    again = exported(world, "--to", str(folder))
    assert (again["runs"], again["rows"], again["already"], first.stat().st_mtime_ns) == (1, 1, 1, written)
    assert exported(world, "--to", str(folder))["runs"] == 0
    assert sorted(rows(f"{folder}/*/*.parquet", "user_id")) == [("ana",), ("ben",)]
    assert [path for path in folder.rglob("*") if path.name.startswith(".")] == []


def test_who_is_suppressed_and_not_purged_yet_is_not_named_by_the_log_and_by_rows(world: World) -> None:
    world.snapshot(["ana", "canary"])
    run = world.sync()
    database = world.workspace.database
    canary = hash_in_use(database).of("canary")
    with database.write() as connection:
        suppress_for_good(connection, {canary})
    exported(world, "--to", str(world.folder / "log.parquet"))
    assert rows(str(world.folder / "log.parquet"), "user_id, fate", "ORDER BY ALL") == [
        ("ana", "delivered"),
        (None, "delivered"),
    ]
    shown = call(world, "runs", run.run_id, "--rows").out
    assert ("canary" in shown, "(suppressed)" in shown) == (False, True)


def test_an_object_store_takes_the_log(world: World, s3: Any) -> None:
    world.snapshot(["ana"])
    world.sync()
    for place in ("s3://acme/log", "s3://acme/log.parquet"):
        assert exported(world, "--to", place)["rows"] == 1
    assert [path.endswith(".parquet") for path in s3.find("acme")] == [True, True]


def test_a_remote_file_system_that_shows_files_as_they_arrive_gets_whole_ones_only(world: World) -> None:
    place = world.folder / "remote"
    place.mkdir()
    cut = iter([True, False, False, False])

    class Remote(DirFileSystem):
        protocol = "remote"

        def __init__(self, **options: Any) -> None:
            super().__init__(path=str(place), fs=LocalFileSystem(), **options)

        def put_file(self, lpath: str, rpath: str, *_: Any, **__: Any) -> None:
            content, is_cut = Path(lpath).read_bytes(), next(cut)
            with self.open(rpath, "wb") as file:
                file.write(content[: len(content) // 2] if is_cut else content)
            if is_cut:
                raise OSError("connection lost")

    fsspec.register_implementation("remote", Remote, clobber=True)
    world.snapshot(["ana"])
    world.sync()
    assert call(world, "export", "log", "--to", "remote://log").status == 2
    for number in (1, 0):
        assert exported(world, "--to", "remote://log")["runs"] == number
    for _ in range(2):
        assert exported(world, "--to", "remote://all.parquet")["runs"] == 1
    for pattern in ("log/*/*.parquet", "*.parquet"):
        assert rows(f"{place}/{pattern}", "user_id") == [("ana",)]
    assert {path.suffix for path in place.rglob("*") if path.is_file()} == {".parquet"}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_table_takes_the_log_once_whatever_happens_in_between(
    world: World, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        opened = postgres.nothing()
        url = opened.__enter__()
        request.addfinalizer(lambda: opened.__exit__(None, None, None))
    else:
        url = f"sqlite:///{world.folder}/shop.db"
    monkeypatch.setenv("WINDSOR_CONNECTION_SHOP", url)
    monkeypatch.setattr(export_targets, "CHUNK_ROWS", 2)
    world.snapshot(["ana", "ben", "cy"])
    world.sync()
    into = ("--to", "shop", "--table", "windsor_log")
    assert exported(world, *into)["rows"] == 3
    engine = create_engine(url)
    with engine.begin() as connection:  # as a transaction that another program cut would leave it
        connection.execute(text("DELETE FROM windsor_log WHERE user_id = 'ben'"))
    assert exported(world, *into)["rows"] == 3
    again = exported(world, *into)
    assert (again["runs"], again["already"], again["to"]) == (0, 1, "table windsor_log at shop")
    with engine.connect() as connection:
        found = connection.execute(text("SELECT user_id, fate, code FROM windsor_log ORDER BY seq")).all()
    engine.dispose()
    assert sorted(map(tuple, found)) == [(name, "delivered", None) for name in ("ana", "ben", "cy")]


def test_two_exports_at_once_write_each_row_once(
    world: World, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowly = export_targets.rows_in

    def rows_in(file: Path, most: int) -> Iterator[list[tuple[Any, ...]]]:
        sleep(0.3)  # the other one has looked by then
        yield from slowly(file, most)

    monkeypatch.setattr(export_targets, "rows_in", rows_in)
    world.snapshot(["ana", "ben"])
    run = world.sync()
    with postgres.nothing() as url, rows_of(world.workspace, run, "audience") as (file, _):
        targets = [TableTarget(create_engine(url), "windsor_log", "shop") for _ in range(2)]
        writers = [Thread(target=target.take, args=(run, file)) for target in targets]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        engine = create_engine(url)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM windsor_log")).scalar_one() == 2
        for target in targets:
            target.finish()
        engine.dispose()


def test_a_table_that_cannot_be_written_is_named_without_a_row(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDSOR_CONNECTION_SHOP", f"sqlite:///{world.folder}/shop.db")
    with closing(sqlite3.connect(world.folder / "shop.db")) as connection:
        connection.execute("CREATE TABLE windsor_log (destination TEXT, run_id TEXT)")
    world.snapshot(["canary"])
    world.sync()
    into = ["export", "log", "--to", "shop", "--table", "windsor_log"]
    line = [sys.executable, "-m", "windsor_sync.cli", "--config", str(world.config), *into]
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (ended.returncode, "The table windsor_log at shop cannot be written (OperationalError)" in ended.stderr) == (
        2,
        True,
    )
    assert "canary" not in ended.stderr


def test_a_url_with_a_password_is_no_connection_and_is_not_repeated(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(world.config), "export", "log", "--to", "postgresql://me:canary@db/x", "--table", "log"])
    printed = capsys.readouterr()
    assert (ended.value.code, "canary" in printed.err + printed.out) == (2, False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--to", ""),
        ("--to", " "),
        ("--to", "warehouse", "--table", ""),
        ("--to", "", "--table", "t"),
        ("--to", "memory://x"),
    ],
)
def test_a_place_that_a_script_left_empty_or_that_does_not_stay_gets_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    world.snapshot(["ana"])
    world.sync()
    here = world.folder / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert call(world, "export", "log", *arguments).status == 2
    assert list(here.iterdir()) == []


def test_what_a_killed_export_left_is_removed_by_the_next_one_and_a_running_one_is_left_alone(world: World) -> None:
    world.snapshot(["ana"])
    world.sync()
    folder = world.folder / "log"
    exported(world, "--to", str(folder))
    (file,) = folder.rglob("*.parquet")
    old, new = (file.with_name(f".{file.name}.{end}") for end in ("0123abcd", "4567cdef"))
    old.write_bytes(file.read_bytes())
    os.utime(old, (0, 0))
    file.rename(new)
    exported(world, "--to", str(folder))
    assert sorted(path.name for path in file.parent.iterdir()) == sorted([new.name, file.name])


def test_a_stop_leaves_no_partial_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt  # what Ctrl-C becomes

    world.snapshot(["ana"])
    world.sync()
    folder, file = world.folder / "log", world.folder / "log.parquet"
    file.write_bytes(b"the one of before")
    monkeypatch.setattr(export_targets, "copyfileobj", stopped)
    for place in (folder, file):
        assert call(world, "export", "log", "--to", str(place)).status == 130
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    assert file.read_bytes() == b"the one of before"
    assert [path for path in world.folder.iterdir() if path.name.startswith(".log")] == []


def test_a_lost_outbox_costs_its_own_run_and_a_pruned_one_is_counted(world: World) -> None:
    for members in (["ana"], ["ana", "ben"], ["ana", "ben", "cy"]):
        world.snapshot(members)
        run = world.sync()
    lost = world.workspace.ledger.of_run(run.run_id)
    assert lost is not None
    assert lost.outbox is not None
    Path(lost.outbox).unlink()
    ran = call(world, "export", "log", "--to", str(world.folder / "log"), "--json")
    assert (ran.status, json.loads(ran.out)["rows"], json.loads(ran.out)["lost"]) == (9, 2, [run.run_id])


def test_the_documentation_lists_every_column_with_its_meaning() -> None:
    page = (DOCS / "delivery-log.md").read_text(encoding="utf-8")
    for name, (kind, meaning) in COLUMNS.items():
        words = {"TIMESTAMP WITH TIME ZONE": "timestamp", "VARCHAR": "text"}.get(kind, kind.lower())
        assert f"| `{name}` | {words} | {meaning} |" in page
