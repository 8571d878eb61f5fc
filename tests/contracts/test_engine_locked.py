"""The embedded engine takes nothing from the network and lets nobody change how it works."""

from pathlib import Path

import duckdb
import pytest

from windsor_sync.storage import duckdb_engine
from windsor_sync.storage.duckdb_engine import LOCKED, lock, open_duckdb, parquet, quoted

ATTEMPTS = {
    "an extension is installed": "INSTALL httpfs",
    "an extension is loaded": "LOAD httpfs",
    "a community extension": "INSTALL h3 FROM community",
    "an extension for a URL": "SELECT * FROM read_csv('https://127.0.0.1:9/members.csv')",
    "an extension for an object store": "SELECT * FROM read_parquet('s3://bucket/members.parquet')",
    "an extension for a database": "ATTACH 'dbname=windsor' AS stolen (TYPE postgres)",
    "extensions again": "SET autoload_known_extensions = true",
    "memory without a limit": "SET memory_limit = '100GB'",
    "another folder to spill to": "SET temp_directory = '/'",
    "the lock itself": "SET lock_configuration = false",
    "the list of what may be set": "SET allowed_configs = ['memory_limit']",
    "secrets that stay": "SET allow_persistent_secrets = true",
}

REFUSED = "disabled|locked|Cannot change|cannot be|not allowed"
"""By the engine's configuration, and not because there is no network in a test."""


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_an_engine_refuses(attempt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duckdb_engine, "_stores", {})  # a store that this process used before may be read
    with open_duckdb() as connection, pytest.raises(duckdb.Error, match=REFUSED):
        connection.execute(ATTEMPTS[attempt])


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_an_engine_that_sorts_events_refuses(attempt: str) -> None:
    with duckdb.connect(config=dict(LOCKED)) as connection:
        lock(connection)
        with pytest.raises(duckdb.Error, match=REFUSED):
            connection.execute(ATTEMPTS[attempt])


@pytest.mark.parametrize(
    "name",
    ["'; COPY (SELECT 1) TO 'stolen.csv'; --.parquet", "a' UNION ALL SELECT * FROM '/etc/passwd.parquet", '";.parquet'],
)
def test_a_files_name_is_no_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name.replace("/", "_")
    with open_duckdb() as connection:
        connection.execute(f"COPY (SELECT 7 AS member) TO {quoted(str(path))} (FORMAT parquet)")
        assert connection.execute(f"SELECT * FROM {parquet(str(path))}").fetchall() == [(7,)]
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
