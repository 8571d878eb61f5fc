"""The Airflow plugin: it adds "Audiences" to the navigation.

Every component of Airflow imports this, the page itself only the api-server at its first request: it brings the web
framework, the state and the templates along.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

Message = MutableMapping[str, Any]


async def page(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """The page, as an ASGI application."""
    from windsor_sync.airflow.page import app

    await app(scope, receive, send)


class WindsorPlugin(AirflowPlugin):
    """Registered by the entry point `airflow.plugins`."""

    name = "windsor_sync"
    fastapi_apps = [{"app": page, "url_prefix": "/windsor", "name": "Windsor"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Audiences",
            "href": "windsor/",  # Airflow's page resolves it against its own address
            "url_route": "windsor",
            "destination": "nav",
            "icon": "windsor/icon.svg",
            "nav_top_level": True,
        }
    ]
