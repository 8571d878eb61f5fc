"""The two databases a state can live in: a SQLite file, and a real PostgreSQL server that these tests start and stop."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from windsor_sync.state.database import Database, open_database, upgrade_database
from windsor_sync.state.tables import installation, metadata

REMEDY = "PostgreSQL's initdb and pg_ctl were not found: apt-get install postgresql (or put them on PATH)"
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
UNPRIVILEGED = ("postgres", "nobody")
"""Whom the server runs as when the tests run as root, which PostgreSQL refuses."""

QUICK = (
    "-c listen_addresses='' -c fsync=off -c synchronous_commit=off -c full_page_writes=off "
    "-c shared_buffers=16MB -c autovacuum=off -c max_connections=60"
)


END_OTHERS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
"""Cuts every other connection to a database, as a restart of the server would."""


class Postgres:
    """A server of its own in a temporary folder, reached through a socket there; as a rule quick, and lost on a power cut."""

    def __init__(self, folder: Path, options: str = QUICK) -> None:
        self.folder = folder
        self._options = options
        self._programs = installed_programs()
        self._identity = unprivileged(folder)
        self._numbers = count(1)
        self._emptied: list[str] = []

    def start(self) -> None:
        """Make the server's files and start it; returns when it answers."""
        self._run("initdb", "--username=windsor", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        options = f"{self._options} -c unix_socket_directories='{self.folder}'"
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={self.folder / 'log'}", f"--options={options}")
        self._admin = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with self._admin.connect() as connection:
            connection.execute(text("CREATE DATABASE template"))
        upgrade_database(self.url("template"))

    def stop(self) -> None:
        """End the server at once; its folder goes with it."""
        self._admin.dispose()
        self._run("pg_ctl", "stop", "--wait", "--silent", "--mode=immediate")

    def url(self, name: str) -> str:
        """The state URL of a database."""
        return f"postgresql+psycopg://windsor@/{name}?host={self.folder}"

    @contextmanager
    def state(self) -> Iterator[str]:
        """The URL of a fresh state, ready for use. Its rows go afterwards, its tables are used again."""
        name = self._emptied.pop() if self._emptied else self._create("template")
        yield self.url(name)
        engine = create_engine(self.url(name))
        with engine.begin() as connection:
            connection.execute(END_OTHERS)
            for table in reversed(metadata.sorted_tables):
                if table is not installation:
                    connection.execute(table.delete())
            connection.execute(installation.update().values(moved_to=None, moved_at=None, suppression_check=None))
        engine.dispose()
        self._emptied.append(name)

    @contextmanager
    def nothing(self) -> Iterator[str]:
        """The URL of a database without tables."""
        name = self._create("template1")
        yield self.url(name)
        with self._admin.connect() as connection:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))

    def _create(self, template: str) -> str:
        name = f"state_{next(self._numbers)}"
        with self._admin.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
        return name

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), f"--pgdata={self.folder / 'data'}", *arguments]
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder), "LC_ALL": "C"}
        outcome = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **self._identity,
        )
        if outcome.returncode:
            log = self.folder / "log"
            pytest.fail(f"{command[0]} failed: {outcome.stderr.decode()}{log.read_text() if log.exists() else ''}")


def installed_programs() -> Path:
    """The folder of PostgreSQL's programs; without them the test fails."""
    on_path = shutil.which("pg_ctl")
    if on_path and shutil.which("initdb"):
        return Path(on_path).resolve().parent
    found = [path for place in PLACES for path in Path("/").glob(f"{place[1:]}/initdb")]
    if found:
        return max(found, key=lambda path: path.stat().st_mtime).parent
    packaged = find_spec("pgserver")  # PostgreSQL's own programs as a package, for a machine without them
    if packaged is None or packaged.origin is None:
        pytest.fail(REMEDY, pytrace=False)
    return Path(packaged.origin).parent / "pginstall" / "bin"


def unprivileged(folder: Path) -> dict[str, Any]:
    """How to start the server's programs: as ourselves, or, from root, as somebody without rights."""
    if os.geteuid() != 0:
        return {}
    accounts = {account.pw_name: account for account in pwd.getpwall()}
    account = next(accounts[name] for name in UNPRIVILEGED if name in accounts)
    os.chown(folder, account.pw_uid, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server; a machine without PostgreSQL fails here, since a promise that was not tested is not kept."""
    with tempfile.TemporaryDirectory(prefix="windsor-pg-", ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_state_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A state that has no tables yet, on each database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state.db"
    else:
        with request.getfixturevalue("postgres").nothing() as url:
            yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh state, ready for use, on each database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state.db"
    else:
        with request.getfixturevalue("postgres").state() as url:
            yield url


@pytest.fixture
def database(state_url: str) -> Iterator[Database]:
    """The same, opened."""
    opened = open_database(state_url)
    yield opened
    opened.close()
