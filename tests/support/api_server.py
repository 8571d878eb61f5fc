"""Airflow's own api-server, on loopback and in this process: it answers while a test runs a DAG beside it."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from threading import Thread
from typing import Any

import httpx
import uvicorn

SignIn = Callable[..., AbstractContextManager[httpx.Client]]
"""(name, role) → a client that is signed in"""


@cache
def _app() -> Any:
    from airflow.api_fastapi.app import create_app

    return create_app(apps="core")


@contextmanager
def api_server() -> Iterator[str]:
    """Serve REST and pages from Airflow's database as it stands; yields the address."""
    server = uvicorn.Server(uvicorn.Config(_app(), host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
    thread = Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def token_of(name: str, role: str) -> str:
    """What signing in would give this person."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    return get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=name, role=role))


def signed_in(url: str, name: str, role: str = "user") -> httpx.Client:
    """A client of this person's."""
    return httpx.Client(base_url=url, timeout=60, headers={"Authorization": f"Bearer {token_of(name, role)}"})
