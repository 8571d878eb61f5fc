"""Opens the workspace for a command. Keys and warehouses: a variable wins; else the Airflow in this environment is asked."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

from windsor_sync.cli.airflow_connections import has_airflow
from windsor_sync.settings import Settings
from windsor_sync.sources import engine_from_environment
from windsor_sync.sources.warehouse_session import variable_of
from windsor_sync.state.connections import file_of, parsed_url
from windsor_sync.state.suppression_key import given_by_environment
from windsor_sync.usecases.workspace import (
    API_KEY_VARIABLE,
    SEGMENT_TOKEN_VARIABLE,
    Workspace,
    key_from_environment,
    open_workspace,
    token_from_environment,
)


@contextmanager
def open_for_command(settings: Settings, *, sends: bool = False) -> Iterator[Workspace]:
    """Open the workspace; for a command that `sends`, where Airflow's connection says so if the key comes from there."""
    destination = settings.destination.connection
    if sends and (connection := _in_airflow(API_KEY_VARIABLE, destination)):
        from windsor_sync.airflow.connection import with_connection

        settings = with_connection(settings, connection)
    with open_workspace(
        settings,
        partial(api_key, destination),
        partial(segment_token, settings.segment.connection if settings.segment else ""),
        warehouse,
        cache(partial(_suppression_key, settings)),
    ) as opened:
        yield opened


def api_key(connection_id: str) -> str:
    """Windsor's key; raises ConfigError where neither the environment nor Airflow has it."""
    if connection := _in_airflow(API_KEY_VARIABLE, connection_id):
        from windsor_sync.airflow.connection import key_of

        return key_of(connection)
    return key_from_environment()


def segment_token(connection_id: str) -> str:
    """The token for Segment's Public API, likewise."""
    if connection := _in_airflow(SEGMENT_TOKEN_VARIABLE, connection_id):
        from windsor_sync.airflow.connection import token_in

        return token_in(connection)
    return token_from_environment()


def warehouse(connection_id: str) -> Any:
    """The warehouse of a connection, likewise."""
    if has_airflow() and not _is_set(variable_of(connection_id)):
        from windsor_sync.cli.airflow_connections import engine_in_airflow

        if engine := engine_in_airflow(connection_id):
            return engine
    return engine_from_environment(connection_id)


def _suppression_key(settings: Settings) -> str | None:
    """A state in a file has its key beside it; one that machines share may have it in Airflow."""
    if not (found := given_by_environment()) and file_of(parsed_url(settings.state)) is None and has_airflow():
        from windsor_sync.airflow.connection import SUPPRESSIONS
        from windsor_sync.cli.airflow_connections import connection_in_airflow

        connection = connection_in_airflow(SUPPRESSIONS)
        return connection.password if connection else None
    return found


def _in_airflow(variable: str, connection_id: str) -> Any:
    """Return Airflow's connection; None where the variable is set, or there is no Airflow or no such connection."""
    if _is_set(variable) or not has_airflow():
        return None
    from windsor_sync.cli.airflow_connections import connection_in_airflow

    return connection_in_airflow(connection_id)


def _is_set(variable: str) -> bool:
    return bool(os.environ.get(variable, "").strip())
