"""Looks at the pool and the connection of the Airflow in this environment, for `check`."""

from collections.abc import Iterator
from functools import partial

from windsor_sync.cli.airflow_connections import connection_in_airflow, has_airflow, slots_in_airflow
from windsor_sync.domain.labels import counted
from windsor_sync.errors import harmless
from windsor_sync.settings import Settings
from windsor_sync.settings.keys import clean_key
from windsor_sync.usecases.check import Finding, Level, tried

POOL = "windsor_api"
REMEDY = "Run `airflow db migrate` if that was not done; then, with WINDSOR_API_KEY set, `windsor-sync airflow-setup` makes it."


def examine_airflow(settings: Settings) -> Iterator[Finding]:
    """Look for what the DAGs need there."""
    if not has_airflow():
        yield Finding("Airflow", Level.OK, "none in this environment (AIRFLOW_HOME is not set); not looked at")
        return
    yield _pool()
    yield _connection(settings.destination.connection)
    if settings.approval.approvers:
        yield tried("approvers", partial(_approvers, settings))


def _approvers(settings: Settings) -> str:
    from windsor_sync.airflow.approvers import assigned_users

    users = assigned_users(settings) or ()
    return f"the form of an approval goes to {', '.join(harmless(user['id']) for user in users)}"


def key_in_airflow(connection: str) -> str | None:
    """The key, or token, in Airflow's connection, where there is one; raises ConfigError for one that cannot be right."""
    found = connection_in_airflow(connection) if has_airflow() else None
    return (
        clean_key((found and found.password) or "", "The key", f"the password of the Airflow connection {connection}")
        or None
    )


def _pool() -> Finding:
    slots = slots_in_airflow(POOL)
    if slots is not None:
        return Finding("pool", Level.OK, f"{POOL} has {counted(slots, 'slot')}")
    return Finding("pool", Level.ERROR, f"Airflow has no pool {POOL}, so tasks that send would wait for ever. {REMEDY}")


def _connection(name: str) -> Finding:
    found = connection_in_airflow(name)
    if found is None:
        return Finding("connection", Level.ERROR, f"Airflow has no connection {name}. {REMEDY}")
    if not (found.password or "").strip():
        text = f"Airflow's connection {name} has no key. Put Windsor's key into its password."
        return Finding("connection", Level.ERROR, text)
    return Finding("connection", Level.OK, f"{name} has a key")
