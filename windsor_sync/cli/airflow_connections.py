"""Asks the Airflow in this environment for its connections and pools, in this process.

Airflow takes two seconds to import, and longer to start as a program of its own: the first question imports it, the others
find it there. What it prints meanwhile is dropped, since results go to standard output.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from typing import Any


def has_airflow() -> bool:
    """Whether this environment is that of an Airflow; the library alone is none."""
    # os.path, unlike Path, raises neither where nobody has a home nor where this user may not look.
    return bool(os.environ.get("AIRFLOW_HOME")) or os.path.isfile(os.path.expanduser("~/airflow/airflow.cfg"))  # noqa: PTH111, PTH113


@cache
def connection_in_airflow(connection_id: str) -> Any:
    """Return Airflow's connection, from its secrets, its variables or its database; None where there is none."""
    if not has_airflow():
        return None
    with _quiet():
        try:
            from airflow.models.connection import Connection

            return Connection.get_connection_from_secrets(connection_id)
        except Exception:  # no such connection, or no database of Airflow yet
            return None


def slots_in_airflow(pool: str) -> int | None:
    """Return how many slots a pool of Airflow has; None where there is no such pool, or no database of Airflow yet."""
    with _quiet():
        try:
            from airflow.models.pool import Pool

            found = Pool.get_pool(pool)
        except Exception:
            return None
    return found.slots if found else None


def engine_in_airflow(connection_id: str) -> Any:
    """Return the warehouse behind Airflow's connection; None where there is no such connection.

    Raises ConfigError where the connection leads to no database.
    """
    connection = connection_in_airflow(connection_id)
    if connection is None:
        return None
    with _quiet():
        from windsor_sync.airflow.warehouse import engine_behind

        return engine_behind(connection_id, lambda _: connection)


@contextmanager
def _quiet() -> Iterator[None]:
    with redirect_stdout(io.StringIO()):
        yield
