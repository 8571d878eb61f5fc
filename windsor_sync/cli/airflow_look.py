"""Reads the pool and the connection of the Airflow in this environment with Airflow's own commands, for `check`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from windsor_sync.domain.labels import counted
from windsor_sync.settings import Settings
from windsor_sync.settings.keys import clean_key
from windsor_sync.usecases.check import Finding, Level

POOL = "windsor_api"
TIMEOUT_S = 120.0
REMEDY = "Run `airflow db migrate` if that was not done; then, with WINDSOR_API_KEY set, `windsor-sync airflow-setup` makes it."


def has_airflow() -> bool:
    """Whether this environment is that of an Airflow; the library alone is none."""
    # os.path, unlike Path, raises neither where nobody has a home nor where this user may not look.
    return bool(os.environ.get("AIRFLOW_HOME")) or os.path.isfile(os.path.expanduser("~/airflow/airflow.cfg"))  # noqa: PTH111, PTH113


def examine_airflow(settings: Settings) -> Iterator[Finding]:
    """Look for what the DAGs need there."""
    if not has_airflow():
        yield Finding("Airflow", Level.OK, "none in this environment (AIRFLOW_HOME is not set); not looked at")
        return
    yield _pool()
    yield _connection(settings.destination.connection)


def key_in_airflow(connection: str) -> str | None:
    """The key, or token, in Airflow's connection, where there is one; raises ConfigError for one that cannot be right."""
    found = _airflow("connections", connection) if has_airflow() else None
    password = str(found["password"] or "") if found else ""
    return clean_key(password, "The key", f"the password of the Airflow connection {connection}") or None


def _pool() -> Finding:
    found = _airflow("pools", POOL)
    if found:
        return Finding("pool", Level.OK, f"{POOL} has {counted(int(found['slots']), 'slot')}")
    return Finding("pool", Level.ERROR, f"Airflow has no pool {POOL}, so tasks that send would wait for ever. {REMEDY}")


def _connection(name: str) -> Finding:
    found = _airflow("connections", name)
    if not found:
        return Finding("connection", Level.ERROR, f"Airflow has no connection {name}. {REMEDY}")
    if not str(found["password"] or "").strip():
        text = f"Airflow's connection {name} has no key. Put Windsor's key into its password."
        return Finding("connection", Level.ERROR, text)
    return Finding("connection", Level.OK, f"{name} has a key")


@cache
def _airflow(kind: str, name: str) -> dict[str, Any] | None:
    """Ask for one thing; None where Airflow says that it is not there, or does not answer."""
    command = [sys.executable, "-m", "airflow", kind, "get", name, "--output", "json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return None
    if done.returncode or "[{" not in done.stdout:
        return None
    rows: list[dict[str, Any]] = json.loads(done.stdout[done.stdout.index("[{") :])
    return rows[0]
