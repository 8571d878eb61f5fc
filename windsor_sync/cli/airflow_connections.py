"""Connections of the Airflow in this environment, for commands: asked for only where the environment has no variable of it.

Airflow takes seconds to import, so it is imported by the first question. What it prints meanwhile is dropped: results go
to standard output.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from typing import Any

from windsor_sync.cli.airflow_look import has_airflow


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
