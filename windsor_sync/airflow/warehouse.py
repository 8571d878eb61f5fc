"""Warehouses behind Airflow connections: the connection's hook says how to reach it, SQLAlchemy streams from it.

The hook's own DataFrames are not used: most drivers fetch a whole answer before the first chunk of it is handed over, and
pandas turns whole numbers with gaps into fractions, which no id survives.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

if TYPE_CHECKING:
    from sqlalchemy import Engine


def engine_of(connection_id: str) -> "Engine":
    """The SQLAlchemy engine of a connection's DbApiHook, for a task; raises ConfigError when the connection has none."""
    return engine_behind(connection_id, BaseHook.get_connection)


def engine_behind(connection_id: str, find: Callable[[str], Any]) -> "Engine":
    """The same, of a connection that is found as the caller says."""
    from windsor_sync.errors import ConfigError

    try:
        engine: Engine = _hook(connection_id, find).get_sqlalchemy_engine()
    except ConfigError:
        raise
    except Exception as error:  # a provider's own; its words can hold the URL
        kind = type(error).__name__
    else:
        return engine
    raise ConfigError(
        f"The Airflow connection {connection_id} gives no SQLAlchemy engine ({kind}). Nothing was sent; the last good snapshot "
        "stands. Install the SQLAlchemy dialect and the driver of that database, and check the connection's fields."
    )


def _hook(connection_id: str, find: Callable[[str], Any]) -> Any:
    from windsor_sync.errors import ConfigError

    try:
        hook = find(connection_id).get_hook()
    except Exception as error:
        kind = type(error).__name__
        remedy = "Add it in Airflow, and install the provider of its type (such as apache-airflow-providers-postgres)."
        problem = f"is missing, or no provider knows its type ({kind})"
    else:
        if hasattr(hook, "get_sqlalchemy_engine"):
            return hook
        problem, remedy = "is not one to a database", "Name a connection to the warehouse in windsor.yaml."
    raise ConfigError(
        f"The Airflow connection {connection_id} {problem}. Nothing was sent; the last good snapshot stands. {remedy}"
    )
