"""Windsor's Airflow connection and windsor.yaml, put together.

windsor.yaml names the connection. The connection holds the key, and may say where Windsor is, how it is talked to and
how fast: what it says counts, what it leaves empty is as in windsor.yaml. The ledger's name never changes with it.
"""

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from windsor_sync.errors import ConfigError
from windsor_sync.settings import Destination, Settings, load
from windsor_sync.settings.keys import clean_key
from windsor_sync.state.suppression_key import given_by_environment

if TYPE_CHECKING:
    from airflow.sdk import Connection

SUPPRESSIONS = "windsor_suppressions"
"""The connection whose password is the key of the suppressions, where several workers share a state."""

MEANINGS = {
    "url": "URL",
    "wire": "wire",
    "requests_per_second": "requests per second",
    "client_certificate": "client certificate",
    "client_key": "client key",
}


def connection_of(connection_id: str) -> "Connection":
    """The connection; raises ConfigError when Airflow has none of that name."""
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return BaseHook.get_connection(connection_id)
    except AirflowNotFoundException:
        raise ConfigError(
            f"Airflow has no connection {connection_id}. Nothing was sent. Make it in Airflow under Admin → Connections; "
            "Windsor's is of the type Windsor, and `windsor-sync airflow-setup` makes it too."
        ) from None


def key_of(connection: "Connection") -> str:
    """Windsor's API key; raises ConfigError when the connection has none."""
    key = _password(connection, "The API key for Windsor")
    if not key:
        raise ConfigError(
            f"The Airflow connection {connection.conn_id} has no API key (its password). Nothing was sent. Put it there."
        )
    return key


def token_of(settings: Settings) -> str:
    """The token for Segment's Public API, from the connection that `segment.connection` names; raises ConfigError."""
    assert settings.segment is not None
    return token_in(connection_of(settings.segment.connection))


def token_in(connection: "Connection") -> str:
    """The token that a connection has; raises ConfigError when it has none."""
    token = _password(connection, "The token for Segment")
    if not token:
        raise ConfigError(
            f"The Airflow connection {connection.conn_id} has no token (its password). Nothing was sent. Put it there."
        )
    return token


def secret_of(connection_id: str) -> str:
    """The secret of a webhook for alerts (its password); raises ConfigError when the connection has none."""
    connection = connection_of(connection_id)
    secret = _password(connection, "The address of a webhook")
    if not secret:
        raise ConfigError(
            f"The Airflow connection {connection.conn_id} has no address of a webhook (its password). Nobody was "
            "told. Put it there."
        )
    return secret


def suppression_key_of() -> str | None:
    """The key of the suppressions, from the connection of that name or from the environment; None where neither has it."""
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    if found := given_by_environment():
        return found
    try:
        return BaseHook.get_connection(SUPPRESSIONS).password
    except AirflowNotFoundException:
        return None


def _password(connection: "Connection", what: str) -> str:
    return clean_key(connection.password or "", what, f"the password of the Airflow connection {connection.conn_id}")


def with_connection(settings: Settings, connection: "Connection") -> Settings:
    """The settings with what the connection says about the destination; raises ConfigError when that is unusable."""
    found = _said_by(connection)
    if not found:
        return settings
    return settings.model_copy(update={"destination": _checked(connection, settings.destination.model_dump() | found)})


def destination_of(connection: "Connection") -> Destination:
    """Return where the connection leads: windsor.yaml is read only where the connection does not say it all."""
    if _url(connection):
        return _checked(connection, _said_by(connection))
    return with_connection(load(), connection).destination


def _checked(connection: "Connection", said: dict[str, Any]) -> Destination:
    try:
        return Destination.model_validate(said)
    except ValidationError as error:
        found = {str(each["loc"][0]) for each in error.errors(include_input=False)}
        wrong = [meaning for name, meaning in MEANINGS.items() if name in found]
        raise ConfigError(
            f"The Airflow connection {connection.conn_id} has no usable {' and '.join(wrong)}. Nothing was sent. "
            "Leave it empty there to use what windsor.yaml says."
        ) from None


def _said_by(connection: "Connection") -> dict[str, Any]:
    extra = connection.extra_dejson
    said = {"url": _url(connection)} | {name: extra.get(name) for name in MEANINGS if name != "url"}
    return {name: value for name, value in said.items() if value not in (None, "")}


def _url(connection: "Connection") -> str | None:
    """The host field as it stands; one without a scheme, as in a connection that was given as a URI, means https."""
    host = (connection.host or "").strip()
    if not host or "://" in host:
        return host
    port = f":{connection.port}" if connection.port else ""
    return f"https://{host}{port}/"
