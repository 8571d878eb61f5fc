"""The receivers of alerts that windsor.yaml names: webhooks, which every process can reach. Airflow adds its notifiers."""

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from windsor_sync.domain.alert import Alert, AlertEvent
from windsor_sync.errors import ConfigError
from windsor_sync.http.webhook import Webhook
from windsor_sync.settings import Settings
from windsor_sync.settings.addresses import secret_url
from windsor_sync.settings.keys import clean_key
from windsor_sync.settings.model import AlertSettings
from windsor_sync.sources.warehouse_session import variable_of

SecretOf = Callable[[str], str]
"""From a connection's id to its secret; raises ConfigError where there is none."""


@dataclass(frozen=True, slots=True)
class AlertTarget:
    """One receiver of alerts."""

    key: str
    events: Sequence[AlertEvent]
    send: Callable[[Alert], object]


def secret_from_environment(connection: str) -> str:
    """Return the secret of a webhook's connection; raises ConfigError where the variable is not set."""
    variable = variable_of(connection)
    found = clean_key(os.environ.get(variable, ""), "The address of a webhook", variable)
    if not found:
        raise ConfigError(
            f"The connection {connection} under `alerts` has no URL. Nobody was told. Set the environment variable {variable}; "
            "in Airflow, put the URL into the password of a connection with this id."
        )
    return found


def webhooks(settings: Settings, secret_of: SecretOf = secret_from_environment) -> list[AlertTarget]:
    """Return the webhooks that windsor.yaml names."""
    return [
        AlertTarget(_key(each), each.events, partial(_post, each, secret_of))
        for each in settings.alerts
        if each.notifier is None
    ]


def webhooks_from_here(settings: Settings) -> list[AlertTarget]:
    """Return the webhooks whose secrets the environment has: what it cannot tell is not put off for a task of Airflow's."""
    known = [
        each for each in settings.alerts if each.connection is None or os.environ.get(variable_of(each.connection))
    ]
    return webhooks(settings.model_copy(update={"alerts": tuple(known)}))


def webhook_of(target: AlertSettings, secret_of: SecretOf) -> Webhook:
    """Return where a receiver is reached; raises ConfigError where its secret is missing or no address."""
    secret = secret_of(target.connection) if target.connection is not None else None
    if target.webhook is not None:
        return Webhook(target.webhook, f"Bearer {secret}" if secret else None)
    try:
        return Webhook(secret_url(secret))
    except ValueError as error:
        raise ConfigError(
            f"The connection {target.connection} under `alerts` has no URL of a webhook: found {error}. Nobody was told. Put the "
            "whole https URL into its password."
        ) from None


def document_of(alert: Alert) -> dict[str, object]:
    """Return a message as a webhook gets it: `text` for people, the rest for programs."""
    return {
        "text": "\n".join(filter(None, (alert.title, alert.text, alert.link))),
        "title": alert.title,
        "event": alert.event.value,
        "subject": alert.subject,
        "audiences": list(alert.audiences),
        "run": alert.run_id,
        "since": alert.since.isoformat(),
        "link": alert.link,
        "id": alert.id,
    }


def _post(target: AlertSettings, secret_of: SecretOf, alert: Alert) -> None:
    webhook_of(target, secret_of).post(document_of(alert), alert.id)


def _key(target: AlertSettings) -> str:
    """Return a name that shows no more of an address than its host."""
    if target.webhook is None:
        return f"webhook {target.connection}"
    whose = "\n".join(
        filter(None, (target.webhook, target.connection))
    )  # several may share an address, each with a token
    digest = hashlib.sha256(whose.encode()).hexdigest()[:8]
    return f"webhook {re.sub(r'[^a-z0-9.:-]', '', urlsplit(target.webhook).hostname or '')} {digest}"
