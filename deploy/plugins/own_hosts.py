"""Airflow answers to this machine's names, and to that of `[api] base_url`: a web site whose name was made to resolve to
this machine (DNS rebinding) finds nothing. `make up` and docker-compose.yml name this folder as Airflow's plugins.
"""

from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin
from starlette.middleware.trustedhost import TrustedHostMiddleware


def own_hosts() -> list[str]:
    """Return the names that a Host header may have."""
    named = urlsplit(conf.get("api", "base_url", fallback="")).hostname
    return ["127.0.0.1", "localhost", *([named] if named else [])]


class OwnHosts(AirflowPlugin):
    """Found in the plugins folder."""

    name = "own_hosts"
    fastapi_root_middlewares = [  # noqa: RUF012
        {"name": "own hosts", "middleware": TrustedHostMiddleware, "args": [], "kwargs": {"allowed_hosts": own_hosts()}}
    ]
