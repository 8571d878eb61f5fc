"""A PostgreSQL server of a benchmark's own, with the settings that its package comes with."""

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PLACES = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql*/bin")
UNPRIVILEGED = ("postgres", "nobody")
"""The accounts of which the first one runs the server when the benchmark runs as root, which PostgreSQL refuses."""

OPTIONS = "-c listen_addresses='' -c max_wal_size=8GB"
"""All else is as installed: 128 MB of shared buffers, 4 MB to sort in, a random page costs four times a sequential one."""


@contextmanager
def postgres_server() -> Iterator[str]:
    """Yield the URL of an empty database. The server and its files go afterwards."""
    with tempfile.TemporaryDirectory(prefix="windsor-sync-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        account = _unprivileged(folder)
        options = f"{OPTIONS} -c unix_socket_directories='{folder}'"
        _run(folder, account, "initdb", "--username=windsor", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")
        _run(folder, account, "pg_ctl", "start", "--wait", f"--log={folder / 'log'}", f"--options={options}")
        try:
            yield f"postgresql+psycopg://windsor@/postgres?host={folder}"
        finally:
            _run(folder, account, "pg_ctl", "stop", "--wait", "--mode=immediate")


def _programs() -> Path:
    found = [path for place in PLACES for path in Path("/").glob(f"{place}/initdb")]
    if not found:
        raise SystemExit("PostgreSQL's initdb was not found. Install PostgreSQL, or name an empty --database.")
    return max(found).parent


def _unprivileged(folder: Path) -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    accounts = {account.pw_name: account for account in pwd.getpwall()}
    account = next(accounts[name] for name in UNPRIVILEGED if name in accounts)
    os.chown(folder, account.pw_uid, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _run(folder: Path, account: dict[str, Any], program: str, *arguments: str) -> None:
    subprocess.run(  # noqa: S603
        [str(_programs() / program), f"--pgdata={folder / 'data'}", *arguments],
        check=True,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        **account,
    )
