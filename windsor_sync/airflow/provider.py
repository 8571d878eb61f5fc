"""Provider info for Airflow: the connection type and its form, hooks, operators, sensors, triggers, notifications, links."""

from typing import Any

DOCUMENTATION = "https://segment.com/docs/engage/audiences/"
"""Windsor publishes no documentation of its own; this one says what an audience is."""

WIRES = {"segment_webhook": "Segment's webhook", "windsor_hook": "Windsor's own hook"}

CONNECTION_TYPE: dict[str, Any] = {
    "connection-type": "windsor",
    "hook-name": "Windsor",
    "hook-class-name": "windsor_sync.airflow.hooks.windsor.WindsorHook",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "login", "port", "extra"],
        "relabeling": {"host": "URL", "password": "API key"},
        "placeholders": {
            "host": "https://… (empty: as in windsor.yaml)",
            "password": "the key of your Windsor project",
        },
    },
    "conn-fields": {
        "wire": {
            "label": "Wire",
            "description": "How messages reach Windsor.",
            "schema": {
                "type": ["string", "null"],
                "enum": [None, *WIRES],
                "values_display": {"null": "as in windsor.yaml", **WIRES},
                "default": None,
            },
        },
        "requests_per_second": {
            "label": "Requests per second",
            "description": "Shared by all running tasks. Empty: as in windsor.yaml.",
            "schema": {"type": ["number", "null"], "exclusiveMinimum": 0, "default": None},
        },
        "client_certificate": {
            "label": "Client certificate",
            "description": "A file in PEM on every worker, where Windsor asks for one. Empty: as in windsor.yaml.",
            "schema": {"type": ["string", "null"], "default": None},
        },
        "client_key": {
            "label": "Client key",
            "description": "The file with its key, where the certificate's file has none.",
            "schema": {"type": ["string", "null"], "default": None},
        },
    },
}


def get_provider_info() -> dict[str, Any]:
    """The provider's description, in the words of Airflow's `provider_info` schema."""
    from windsor_sync import __version__

    return {
        "package-name": "windsor-sync",
        "name": "Windsor",
        "description": "Segment Engage audiences and computed traits as user properties in Windsor.",
        "versions": [__version__],
        "integrations": [{"integration-name": "Windsor", "external-doc-url": DOCUMENTATION, "tags": ["service"]}],
        "connection-types": [CONNECTION_TYPE],
        "hooks": [{"integration-name": "Windsor", "python-modules": ["windsor_sync.airflow.hooks.windsor"]}],
        "operators": [{"integration-name": "Windsor", "python-modules": ["windsor_sync.airflow.operators.windsor"]}],
        "sensors": [{"integration-name": "Windsor", "python-modules": ["windsor_sync.airflow.sensors.windsor"]}],
        "triggers": [{"integration-name": "Windsor", "python-modules": ["windsor_sync.airflow.triggers.windsor"]}],
        "notifications": ["windsor_sync.airflow.notifications.windsor.AudienceStateNotifier"],
        "extra-links": ["windsor_sync.airflow.links.windsor.AudienceLink"],
    }
