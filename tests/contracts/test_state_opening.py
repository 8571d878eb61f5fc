"""Opening the state: its tables come whole or not at all, and a database that cannot serve says what to do."""

import os
import pwd
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, inspect, select, text

from tests.support.postgres import Postgres
from windsor_sync.errors import ConfigError, StateUnavailable
from windsor_sync.state import connections, tables
from windsor_sync.state.connections import make_engine
from windsor_sync.state.database import open_database, upgrade_database
from windsor_sync.state.upgrading import MIGRATIONS, VERSION_TABLE, known_versions, needed_version

ROOT = Path(__file__).parents[2]
OPENS_WHEN_TOLD = """
import sys
from windsor_sync.state.database import open_database, upgrade_database
print("ready", flush=True)
sys.stdin.readline()
upgrade_database(sys.argv[1])
print(open_database(sys.argv[1]).installation())
"""


def tables_at(url: str) -> set[str]:
    """The names of a database's tables."""
    engine = make_engine(url)
    with engine.connect() as connection:
        names = set(inspect(connection).get_table_names())
    engine.dispose()
    return names


def execute(url: str, *statements: str) -> None:
    """Do something to the database behind the program's back."""
    engine = make_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_an_upgrade_from_nothing_makes_every_table_and_a_second_one_changes_nothing(empty_state_url: str) -> None:
    assert upgrade_database(empty_state_url) == (None, needed_version())
    assert tables_at(empty_state_url) == {*tables.metadata.tables, VERSION_TABLE}
    assert upgrade_database(empty_state_url) == (needed_version(), needed_version())
    open_database(empty_state_url).close()


def test_the_migrations_make_exactly_the_tables_the_code_knows(empty_state_url: str) -> None:
    upgrade_database(empty_state_url)
    engine = make_engine(empty_state_url)
    options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata)
    engine.dispose()
    assert found == []


def test_the_names_of_the_migrations_say_which_versions_there_are() -> None:
    revisions = [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()]
    assert known_versions() == revisions[::-1]


def test_processes_that_open_a_new_state_at_once_all_find_the_same_one(empty_state_url: str) -> None:
    command = [sys.executable, "-c", OPENS_WHEN_TOLD, empty_state_url]
    openers = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for opener in openers:
        assert opener.stdout is not None
        assert opener.stdout.readline() == "ready\n"
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("\n")
        opener.stdin.flush()
    answers = [opener.communicate()[0] for opener in openers]
    assert [opener.returncode for opener in openers] == [0, 0, 0, 0]
    assert len(set(answers)) == 1


def test_a_state_keeps_its_identity_and_another_one_has_another(empty_state_url: str, tmp_path: Path) -> None:
    upgrade_database(empty_state_url)
    found = set()
    for _ in range(2):
        database = open_database(empty_state_url)
        found.add(database.installation())
        database.close()
    other = open_database(f"sqlite:///{tmp_path}/other.db")
    assert len(found) == 1
    assert other.installation() not in found
    other.close()


def test_a_failed_upgrade_leaves_nothing_behind(empty_state_url: str) -> None:
    execute(empty_state_url, "CREATE TABLE verdicts (theirs INTEGER)")
    with pytest.raises(ConfigError, match="a database of its own"):
        upgrade_database(empty_state_url)
    assert tables_at(empty_state_url) == {"verdicts"}


def test_another_programs_migrations_in_the_same_database_are_left_alone(empty_state_url: str) -> None:
    execute(
        empty_state_url,
        "CREATE TABLE alembic_version (version_num VARCHAR(32))",
        "INSERT INTO alembic_version VALUES ('theirs')",
    )
    upgrade_database(empty_state_url)
    database = open_database(empty_state_url)
    with database.read() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == ["theirs"]
    database.close()


def test_a_state_of_a_newer_program_is_refused_and_left_as_it_is(empty_state_url: str) -> None:
    upgrade_database(empty_state_url)
    execute(empty_state_url, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    for act in (open_database, upgrade_database):
        with pytest.raises(ConfigError, match=r"9999.*newer windsor_sync.*Install"):
            act(empty_state_url)
    assert tables_at(empty_state_url) == {*tables.metadata.tables, VERSION_TABLE}


def test_a_sqlite_state_is_made_on_first_use_with_its_folder(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/new/folder/state.db")
    with database.read() as connection:
        assert connection.execute(select(func.count()).select_from(tables.runs)).scalar_one() == 0
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
    database.close()


def test_a_postgresql_state_is_upgraded_only_by_the_command_for_it(postgres: Postgres) -> None:
    with postgres.nothing() as url:
        with pytest.raises(ConfigError, match=r"version none.*windsor-sync state upgrade"):
            open_database(url)
        assert tables_at(url) == set()


def test_a_bare_postgresql_url_means_psycopg_3(postgres: Postgres) -> None:
    with postgres.state() as url:
        database = open_database(url.replace("postgresql+psycopg://", "postgresql://"))
        assert database.engine.driver == "psycopg"
        database.close()


def test_a_missing_driver_names_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"pip install 'windsor-sync\[postgres\]'"):
        open_database("postgresql://127.0.0.1/state")


@pytest.mark.parametrize(
    "url", ["mysql://h/d", "postgresql+asyncpg://h/d", "sqlite+aiosqlite:///d", "h/d", "duckdb://"]
)
def test_a_database_we_do_not_know_is_refused_with_what_is_accepted(url: str) -> None:
    with pytest.raises(ConfigError, match=r"sqlite:///FILE or postgresql\+psycopg://"):
        open_database(url)


def test_a_server_that_does_not_answer_may_be_tried_again_and_its_password_is_not_shown() -> None:
    with pytest.raises(StateUnavailable) as refused:
        open_database("postgresql://windsor:s3cret@127.0.0.1:1/state?password=s3cret2")
    assert "s3cret" not in str(refused.value)
    assert "postgresql://windsor:***@127.0.0.1:1/state" in str(refused.value)
    assert "check `state`" in str(refused.value)


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"user_id,email\n" * 500)
    with pytest.raises(ConfigError, match="file is not a database"):
        open_database(f"sqlite:///{path}")
    assert path.read_bytes() == b"user_id,email\n" * 500


def test_a_folder_in_the_files_place_or_a_file_in_the_folders_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unable to open database file"):
        open_database(f"sqlite:///{tmp_path}")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        open_database(f"sqlite:///{tmp_path}/file/state.db")


@contextmanager
def somebody_else() -> Iterator[None]:
    """Act without root's power to write anywhere; anybody else has none of it to lose."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_folder_we_may_not_write_to_is_refused(is_new: bool) -> None:
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/state.db"
        if not is_new:
            open_database(url).close()
        Path(folder).chmod(0o555)
        with somebody_else(), pytest.raises(ConfigError, match=r"Check `state` in windsor.yaml"):
            open_database(url)
        Path(folder).chmod(0o755)


def test_a_state_that_another_process_locks_is_waited_for_even_while_it_is_put_into_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    outcome: list[str] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE theirs (x)")
        other.execute("BEGIN IMMEDIATE")
        opener = threading.Thread(target=lambda: outcome.append(open_database(f"sqlite:///{path}").installation()))
        opener.start()
        opener.join(timeout=0.3)
        assert opener.is_alive()
        other.execute("COMMIT")
        opener.join()
    assert len(outcome) == 1


def test_a_state_that_stays_locked_may_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StateUnavailable, match="database is locked"):
            open_database(f"sqlite:///{path}")
