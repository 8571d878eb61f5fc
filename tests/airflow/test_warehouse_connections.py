"""A warehouse behind an Airflow connection is reached through the hook of its provider."""

import json
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from airflow.providers.common.sql.hooks.sql import DbApiHook
from airflow.sdk.providers_manager_runtime import HookInfo, ProvidersManagerTaskRuntime

from tests.support.world import AUDIENCE, World
from windsor_sync.errors import ConfigError
from windsor_sync.settings import load
from windsor_sync.sources import source_for

SECRET = "hunter2canary"


class FileWarehouseHook(DbApiHook):
    """A hook as providers write them; its warehouse is a file of SQLite, its `schema` is the file's path."""

    conn_name_attr = "file_warehouse_conn_id"
    default_conn_name = "file_warehouse_default"

    def get_uri(self) -> str:
        return f"sqlite:///{self.connection.schema}"


class BrokenHook(FileWarehouseHook):
    """One whose SQLAlchemy dialect is not installed."""

    def get_uri(self) -> str:
        return f"nosuch://me:{SECRET}@host/db"


@pytest.fixture
def providers() -> Iterator[None]:
    """Connection types of our own beside those of the installed providers."""
    hooks = ProvidersManagerTaskRuntime().hooks
    for kind, hook in (("file_warehouse", FileWarehouseHook), ("broken_warehouse", BrokenHook)):
        name = f"{hook.__module__}.{hook.__qualname__}"
        hooks[kind] = HookInfo(name, hook.conn_name_attr, "tests", kind, kind, False)
    yield
    for kind in ("file_warehouse", "broken_warehouse"):
        del hooks[kind]


def connection(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """The Airflow connection `warehouse`."""
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(fields))


def test_the_dag_reads_members_through_the_connection_s_hook(
    configured: World, run_sync: Callable[[], Any], providers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = configured.folder / "warehouse.db"
    with closing(sqlite3.connect(database)) as opened:
        opened.executescript(
            "CREATE TABLE vip AS SELECT '00123' AS user_id, 'ana@x' AS email UNION ALL SELECT 'ben', NULL"
        )
    connection(monkeypatch, conn_type="file_warehouse", schema=str(database))
    snapshot = {"connection": "warehouse", "query": "select * from vip"}
    configured.document |= {"audiences": [{"name": AUDIENCE, "snapshot": snapshot}], "computed_traits": []}
    assert str(run_sync().state) == "success"
    assert configured.shown() == {"00123": True, "ben": True}


@pytest.mark.parametrize(
    ("fields", "finding"),
    [
        ({}, "is missing, or no provider knows its type"),
        ({"conn_type": "teradata9", "password": SECRET}, "is missing, or no provider knows its type"),
        ({"conn_type": "fs", "password": SECRET}, "is not one to a database"),
        ({"conn_type": "broken_warehouse", "password": SECRET}, "gives no SQLAlchemy engine (NoSuchModuleError)"),
    ],
)
def test_a_connection_that_leads_to_no_warehouse_is_said_without_its_password(
    providers: None, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], finding: str
) -> None:
    from windsor_sync.airflow.warehouse import engine_of

    if fields:
        connection(monkeypatch, **fields)
    with pytest.raises(ConfigError) as caught:
        engine_of("warehouse")
    assert f"The Airflow connection warehouse {finding}" in str(caught.value)
    assert "Nothing was sent; the last good snapshot stands. " in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_nothing_is_connected_to_before_a_snapshot_is_read(configured: World) -> None:
    configured.document["audiences"][0]["snapshot"] = {"connection": "warehouse", "engage": "engage_prod"}
    (computation,) = load(configured.config, env={}).find([AUDIENCE])
    assert source_for(computation, None, lambda _: 1 / 0).describe() == "engage_prod (Engage) at connection warehouse"  # type: ignore[arg-type, return-value]
