"""The embedded engine takes nothing from the network and lets nobody change how it works."""

from pathlib import Path

import duckdb
import pandas as pd
import pytest

from windsor_sync.storage import duckdb_engine
from windsor_sync.storage.duckdb_engine import LOCKED, lock, open_duckdb, parquet, quoted
from windsor_sync.storage.file_store import FileStore

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

REFUSED = "disabled|locked|[Cc]annot change|cannot be|not allowed"
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


DOORS = {
    "a text": "FROM read_text('{}')",
    "bytes": "FROM read_blob('{}')",
    "a CSV file": "FROM read_csv('{}')",
    "what kind of CSV it is": "FROM sniff_csv('{}')",
    "JSON": "FROM read_json('{}')",
    "Parquet": "FROM read_parquet('{}')",
    "the footer of Parquet": "FROM parquet_metadata('{}')",
    "a file named as a table": "FROM '{}'",
    "a pattern": "FROM glob('{}*')",
    "a way up": "FROM read_text('{inside}/../beside/person.csv')",
    "a link": "FROM read_text('{inside}/link.csv')",
    "a URL of a file": "FROM read_text('file://{}')",
    "a database": "ATTACH '{}' AS other",
    "a copy into a table": "CREATE TABLE t (x VARCHAR); COPY t FROM '{}'",
    "a copy out": "COPY (SELECT 1) TO '{}'",
    "a copy out into a folder": "COPY (SELECT 1 AS x) TO '{beside}' (FORMAT parquet, PARTITION_BY x, OVERWRITE)",
    "a whole database out": "EXPORT DATABASE '{beside}/all'",
    "a whole database in": "IMPORT DATABASE '{beside}'",
    "a log": "CALL enable_logging(storage = 'file', storage_path = '{beside}/log')",
    "a log of statements": "SET log_query_path = '{}'",
    "a profile": "PRAGMA profiling_output = '{}'",
    "another place to look": "SET file_search_path = '{beside}'",
    "one folder more": "SET allowed_directories = ['{beside}']",
    "one file more": "SET allowed_paths = ['{}']",
    "access again": "SET enable_external_access = true",
    "what this process was given": "FROM read_text('/proc/self/environ')",
}


@pytest.mark.parametrize("door", DOORS)
def test_an_engine_reads_and_writes_nothing_beside_what_it_was_given(door: str, tmp_path: Path) -> None:
    inside, beside = tmp_path / "inside", tmp_path / "beside"
    for folder in (inside, beside):
        folder.mkdir()
    person = beside / "person.csv"
    person.write_text("user_id\nana\n")
    (inside / "link.csv").symlink_to(person)
    statement = DOORS[door].format(person, inside=inside, beside=beside)
    with open_duckdb(str(inside)) as connection, pytest.raises(duckdb.Error, match=REFUSED):
        connection.execute(statement)
    assert [each.name for each in beside.iterdir()] == ["person.csv"]
    assert person.read_text() == "user_id\nana\n"


@pytest.mark.parametrize("name", ["plain", "a folder", "[x]*", "it's", "é‮"])
def test_an_engine_reads_what_it_was_given_whatever_that_is_called(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    pd.DataFrame({"member": [7]}).to_parquet(folder / "[a].parquet")
    (tmp_path / "latest.parquet").symlink_to(folder / "[a].parquet")
    links = (tmp_path / "link", tmp_path / "latest.parquet", tmp_path / "link" / "[a].parquet")
    for given in (folder, folder / "[a].parquet", *links):
        file = given if given.is_file() else given / "[a].parquet"
        with open_duckdb(str(given)) as connection:
            assert connection.execute(f"FROM {parquet(str(file))}").fetchall() == [(7,)]


def test_an_engine_that_is_given_nothing_reads_the_file_store_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb_engine, "_folders", set())
    files = FileStore(str(tmp_path / "files"))
    pd.DataFrame({"member": [7]}).to_parquet(tmp_path / "beside.parquet")
    with files.draft() as draft:
        pd.DataFrame({"member": [8]}).to_parquet(draft)
        with open_duckdb() as connection:  # what is being made is in a scratch folder of this process
            assert connection.execute(f"FROM {parquet(str(draft))}").fetchall() == [(8,)]
        files.keep(draft, "snapshots/one.parquet")
    with open_duckdb() as connection:
        assert connection.execute(f"FROM {parquet(files.location('snapshots/one.parquet'))}").fetchall() == [(8,)]
        with pytest.raises(duckdb.Error, match=REFUSED):
            connection.execute(f"FROM {parquet(str(tmp_path / 'beside.parquet'))}")


@pytest.mark.parametrize(
    "name",
    ["'; COPY (SELECT 1) TO 'stolen.csv'; --.parquet", "a' UNION ALL SELECT * FROM '/etc/passwd.parquet", '";.parquet'],
)
def test_a_files_name_is_no_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name.replace("/", "_")
    with open_duckdb(str(tmp_path)) as connection:
        connection.execute(f"COPY (SELECT 7 AS member) TO {quoted(str(path))} (FORMAT parquet)")
        assert connection.execute(f"SELECT * FROM {parquet(str(path))}").fetchall() == [(7,)]
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
