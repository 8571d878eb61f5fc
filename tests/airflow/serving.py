"""Airflow's api-server on loopback, in a process of its own, over a company with a history; and a browser for its pages."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from deploy.local import environment
from tests.support.history import HOSTILE_KEY, configure, live
from tests.support.programs import needs
from tests.support.world import World
from windsor_sync.report.views import view_audience
from windsor_sync.sandbox import Sandbox
from windsor_sync.state.tables import audit_trail

READY_S = 120

PEOPLE = {"ana": "user", "vic": "viewer", "nobody": "", "ada": "admin"}
"""Name → role in Airflow; a person without one may do nothing."""


CHROME = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Site:
    """An Airflow with the page, and the company that it shows."""

    url: str
    world: World

    def client(self, name: str | None = None) -> httpx.Client:
        """An HTTP client, signed in as somebody or as nobody."""
        if name is None:
            return httpx.Client(base_url=self.url, timeout=60)
        person = {"username": name, "password": f"{name}-pw"}
        token = httpx.post(f"{self.url}/auth/token", json=person, timeout=60).json()["access_token"]
        return httpx.Client(base_url=self.url, timeout=60, headers={"Authorization": f"Bearer {token}"})

    def run_id(self) -> str:
        """The run of the audience that has a rejected row."""
        view = view_audience(self.world.workspace, HOSTILE_KEY)
        assert view is not None
        return view.runs[0].run_id

    def trail(self, what: str) -> list[Any]:
        """What people did of one kind."""
        with self.world.workspace.database.read() as connection:
            query = select(audit_trail).where(audit_trail.c.what == what).order_by(audit_trail.c.id)
            return list(connection.execute(query))

    def asked(self) -> list[str]:
        """Who was shown a user."""
        with self.world.workspace.database.read() as connection:
            query = select(audit_trail.c.who).where(audit_trail.c.what == "show user")
            return list(connection.execute(query).scalars())


@pytest.fixture(scope="session")
def site(airflow_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The one api-server of the session, with four people, over a company with a history."""
    folder, port = tmp_path_factory.mktemp("site"), free_port()
    passwords, log, url = folder / "passwords.json", folder / "log", f"http://127.0.0.1:{port}"
    passwords.write_text(json.dumps({name: f"{name}-pw" for name in PEOPLE}), encoding="utf-8")
    with ExitStack() as running:
        world = World(folder, running.enter_context(Sandbox(api_key="sandbox")))
        running.callback(world.reopen)
        configure(world)
        live(world)
        settings = {
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__BASE_URL": url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__CORE__PLUGINS_FOLDER": environment(folder, (port, 0, 0))["AIRFLOW__CORE__PLUGINS_FOLDER"],
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in PEOPLE.items()),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "WINDSOR_SYNC_CONFIG": str(world.config),
        }
        output = running.enter_context(log.open("wb"))
        command = [sys.executable, "-m", "airflow", "api-server"]
        server = subprocess.Popen(command, env=os.environ | settings, stdout=output, stderr=output)
        running.callback(server.wait, 30)
        running.callback(server.terminate)
        with httpx.Client(base_url=url, timeout=60) as client:
            wait_for(client, server, log)
        yield Site(url, world)


def wait_for(client: httpx.Client, server: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up_at = time.monotonic() + READY_S
    while True:
        try:
            if client.get("/api/v2/version").is_success:
                return
        except httpx.TransportError:
            pass
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < give_up_at, log.read_text()
        time.sleep(0.2)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A real Chromium without a window."""
    from selenium import webdriver

    needs("chromium", "chromium")
    needs("chromedriver", "chromium-driver")
    options = webdriver.ChromeOptions()
    for argument in CHROME:
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()
