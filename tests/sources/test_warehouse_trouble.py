"""A warehouse that refuses, breaks off or is not there: said in our words, with what to do, and never with its own."""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sealing import Bench
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from warehouses import PROFILES_SYNC, Warehouse

from tests.support.postgres import Postgres
from windsor_sync.errors import ConfigError, SnapshotError, SourceUnavailable, WindsorSyncError
from windsor_sync.sources import WarehouseSource
from windsor_sync.sources.warehouse import Query
from windsor_sync.sources.warehouse_session import engine_from_environment

SECRET = "hunter2canary"
VARIABLE = "WINDSOR_CONNECTION_WAREHOUSE"


def refusal(bench: Bench, source: WarehouseSource, kind: type[WindsorSyncError]) -> str:
    """How sealing is refused; no part of it, nor of its traceback, holds the secret."""
    with pytest.raises(kind) as caught:
        bench.seal(source)
    message = str(caught.value)
    before, stands, remedy = message.partition(" Nothing was sent")
    assert "connection warehouse" in message
    assert stands
    assert remedy.rstrip().endswith(".")
    assert SECRET not in message + "".join(traceback.format_exception(caught.value))
    assert not list((bench.folder / "sealed").iterdir())
    return before


@pytest.mark.parametrize(
    ("sql", "kind", "finding"),
    [
        (f"SELECT {SECRET} FROM t", ConfigError, "no such column"),
        (f'SELECT "{SECRET}" FROM nowhere', ConfigError, "no such table"),
        (f"SELECT 1 FROM nowhere.{SECRET}", ConfigError, "no such table"),
        (f"SELEC '{SECRET}'", ConfigError, "cannot make sense of the query"),
        (f"SELECT 1 FROM t WHERE ('{SECRET}'", ConfigError, "cannot make sense of the query"),
    ],
)
def test_a_query_that_the_database_refuses_is_said_in_our_words(
    bench: Bench, warehouse: Warehouse, sql: str, kind: type[WindsorSyncError], finding: str
) -> None:
    warehouse.run("CREATE TABLE t (i integer);")
    if "sqlite" in warehouse.url and f'"{SECRET}"' in sql:
        sql = sql.replace('"', "'")  # SQLite takes such a name for a text
    assert finding in refusal(bench, warehouse.query(sql), kind)


@pytest.mark.parametrize(
    ("sql", "finding"),
    [
        (
            f"SELECT coalesce(nullif(i, 45000)::text, '{SECRET}')::int AS user_id FROM generate_series(1, 99999) i",
            "22P02",
        ),
        ("SELECT 1 / (i - 50000) AS user_id FROM generate_series(1, 99999) i", "SQLSTATE 22012"),
        (
            "SELECT i AS user_id, CASE WHEN i = 45000 THEN pg_terminate_backend(pg_backend_pid()) END "
            "FROM generate_series(1, 99999) i",
            "was lost before the last row",
        ),
        (
            "SELECT i AS user_id, CASE WHEN i = 45000 THEN pg_cancel_backend(pg_backend_pid()) END "
            "FROM generate_series(1, 99999) i",
            "ended the query before its last row",
        ),
    ],
    ids=["a value that does not fit", "a division by zero", "a lost connection", "a cancelled query"],
)
def test_an_answer_that_breaks_off_half_way_is_no_snapshot(
    bench: Bench, on_postgres: Warehouse, sql: str, finding: str
) -> None:
    assert finding in refusal(bench, on_postgres.query(sql), SnapshotError)


def test_a_query_past_its_time_is_no_snapshot(bench: Bench, on_postgres: Warehouse) -> None:
    hurried = Warehouse(f"{on_postgres.url}&options=-cstatement_timeout%3D50", "public")
    found = refusal(bench, hurried.query("SELECT pg_sleep(20), 1 AS user_id"), SnapshotError)
    assert "by a time-out" in found


# -- query_timeout -------------------------------------------------------------------------------------------

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS user_id FROM n"
FIRST = "postgresql, before the first row"
SLEEPING = "FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
"""A query of a cursor shows the text of its FETCH, and not what it computes."""
SLOW = {
    FIRST: "SELECT pg_sleep(600), 1 AS user_id",
    "postgresql, half-way": "SELECT i AS user_id, CASE WHEN i = 45000 THEN pg_sleep(600) END FROM generate_series(1, 99999) i",
    "sqlite": ENDLESS,
}


@pytest.mark.parametrize("sql", SLOW.values(), ids=SLOW)
def test_a_query_that_takes_longer_than_query_timeout_is_cancelled_and_nothing_is_sealed(
    request: pytest.FixtureRequest, bench: Bench, tmp_path: Path, sql: str
) -> None:
    is_sqlite = sql is ENDLESS
    where = Warehouse(f"sqlite:///{tmp_path}/w.db", "main") if is_sqlite else request.getfixturevalue("on_postgres")
    source = WarehouseSource("warehouse", Query(sql, {}), where.connect, timedelta(seconds=0.2))
    found = refusal(bench, source, SnapshotError)
    assert "did not return the last row within" in found
    assert "The query was cancelled." in found
    if not is_sqlite:
        assert bench.user_ids(where.query(f"SELECT pid AS user_id {SLEEPING}")) == []


def test_a_server_that_does_not_react_to_a_cancel_is_hung_up_on(
    bench: Bench, on_postgres: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windsor_sync.sources.warehouse_deadline.HANG_UP_AFTER_S", 0.2)
    stopped: list[int] = []
    is_over = threading.Event()

    def stop_it() -> None:
        engine = create_engine(on_postgres.url)
        with engine.connect() as connection:
            while not stopped and not is_over.wait(0.02):
                stopped.extend(connection.execute(text(f"SELECT pid {SLEEPING}")).scalars())
                connection.rollback()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        engine.dispose()

    helper = threading.Thread(target=stop_it)
    helper.start()
    source = WarehouseSource("warehouse", Query(SLOW[FIRST], {}), on_postgres.connect, timedelta(seconds=3))
    try:
        assert "did not return the last row within 3s" in refusal(bench, source, SnapshotError)
        assert stopped
    finally:
        is_over.set()
        helper.join()
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def test_a_driver_that_cannot_cancel_is_left_at_the_next_rows(
    bench: Bench, on_postgres: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windsor_sync.sources.warehouse_deadline._CANCELS", ())
    slow = "SELECT i AS user_id, CASE WHEN i % 1000 = 0 THEN pg_sleep(0.02) END FROM generate_series(1, 99999) i"
    source = WarehouseSource("warehouse", Query(slow, {}), on_postgres.connect, timedelta(seconds=0.1))
    assert "may still run: its driver cannot cancel it" in refusal(bench, source, SnapshotError)


def test_an_answer_in_time_is_a_snapshot_and_no_thread_stays(bench: Bench, warehouse: Warehouse) -> None:
    source = WarehouseSource("warehouse", Query("SELECT 7 AS user_id", {}), warehouse.connect, timedelta(hours=1))
    assert bench.user_ids(source) == ["7"]
    assert not [thread for thread in threading.enumerate() if "query_timeout" in thread.name]


def test_a_table_that_this_account_may_not_read_is_said(bench: Bench, on_postgres: Warehouse) -> None:
    on_postgres.run(PROFILES_SYNC + "CREATE ROLE reader LOGIN;")
    reader = Warehouse(on_postgres.url.replace("windsor@", "reader@"), "public")
    try:
        assert "does not let this account read" in refusal(bench, reader.profiles(), ConfigError)
        assert "42501" in refusal(bench, reader.query("SELECT * FROM user_identifiers"), ConfigError)
    finally:
        on_postgres.run("DROP ROLE reader;")


def test_a_query_cannot_write(bench: Bench, on_postgres: Warehouse) -> None:
    on_postgres.run(
        "CREATE TABLE t (i integer); CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'INSERT INTO t VALUES (1) RETURNING i';"
    )
    assert "SQLSTATE 25006" in refusal(bench, on_postgres.query("SELECT f() AS user_id"), SnapshotError)


@pytest.fixture
def guarded(postgres: Postgres, on_postgres: Warehouse) -> Iterator[str]:
    """A database whose server asks the role `guarded` for a password; yields the URL without it."""
    rules = postgres.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all guarded scram-sha-256\n{before}")
    on_postgres.run(f"CREATE ROLE guarded LOGIN PASSWORD '{SECRET}'; SELECT pg_reload_conf();")
    yield on_postgres.url.replace("windsor@", "guarded:{}@")
    rules.write_text(before)
    on_postgres.run("DROP ROLE guarded; SELECT pg_reload_conf();")


def wait_for_rules(url: str) -> None:
    """Return when the server asks for the password, which it does as soon as it has read its rules again."""
    for _ in range(500):
        engine = create_engine(url)
        try:
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except OperationalError:
            return
        time.sleep(0.01)
    raise AssertionError("the server did not take the rules over")


def test_a_wrong_password_is_said_and_not_shown(bench: Bench, guarded: str) -> None:
    wait_for_rules(guarded.format("wrong"))
    source = Warehouse(guarded.format(f"{SECRET}x"), "public").query("SELECT 1 AS user_id")
    assert "refuses its user or password" in refusal(bench, source, ConfigError)
    assert bench.user_ids(Warehouse(guarded.format(SECRET), "public").query("SELECT 1 AS user_id")) == ["1"]


@pytest.mark.parametrize(
    ("url", "finding", "kind"),
    [
        (f"postgresql+psycopg://u:{SECRET}@127.0.0.1:1/db", "cannot be reached", SourceUnavailable),
        (f"sqlite:////no/such/folder/{SECRET}.db", "cannot be reached", SourceUnavailable),
        ("OTHER DATABASE", "has no database of that name", ConfigError),
    ],
)
def test_a_warehouse_that_is_not_there_is_said(
    bench: Bench, on_postgres: Warehouse, url: str, finding: str, kind: type[WindsorSyncError]
) -> None:
    if url == "OTHER DATABASE":
        url = f"postgresql+psycopg://windsor@/{SECRET}?{on_postgres.url.partition('?')[2]}"
    assert finding in refusal(bench, Warehouse(url, "public").query("SELECT 1 AS user_id"), kind)


# -- the URL in the environment ------------------------------------------------------------------------------


def test_the_url_is_in_the_variable_named_after_the_connection(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WINDSOR_CONNECTION_OUR_WAREHOUSE_EU", f"sqlite:///{tmp_path}/warehouse.db")
    assert bench.user_ids(WarehouseSource("our-warehouse.eu", Query("SELECT 7 AS user_id", {}))) == ["7"]


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_is_reached_with_psycopg_and_bounded_patience(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv(VARIABLE, f"{scheme}://u:{SECRET}@db.example/w")
    engine = engine_from_environment("warehouse")
    assert (engine.dialect.name, engine.dialect.driver) == ("postgresql", "psycopg")
    assert SECRET not in repr(engine)


@pytest.mark.parametrize(
    ("url", "finding"),
    [
        ("", f"no URL for connection warehouse. Nothing was sent. Set the environment variable {VARIABLE}"),
        (SECRET, "is no URL of a database that SQLAlchemy knows here (not shown"),
        (f"nosuch://u:{SECRET}@h/d", "is no URL of a database that SQLAlchemy knows here (not shown"),
        (f"postgresql+psycopg://u:{SECRET}@h:port/d", "is no URL of a database"),
        (f"mysql+pymysql://u:{SECRET}@h/d", "needs pymysql, which is not installed"),
    ],
)
def test_a_url_that_is_missing_or_wrong_is_told_without_it(
    monkeypatch: pytest.MonkeyPatch, url: str, finding: str
) -> None:
    monkeypatch.setenv(VARIABLE, url)
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(ConfigError) as caught:
        engine_from_environment("warehouse")
    assert finding in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
