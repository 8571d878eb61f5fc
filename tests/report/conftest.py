"""The company on each database."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.history import configure, live
from tests.support.postgres import Postgres
from tests.support.world import World
from windsor_sync.sandbox import Sandbox


@pytest.fixture
def company(world: World, state_url: str) -> World:
    """Nothing has happened yet."""
    world.document["state"] = state_url
    configure(world)
    return world


@pytest.fixture
def living(company: World) -> World:
    """A company with a history, for a test that changes it."""
    live(company)
    return company


@pytest.fixture(params=["sqlite", "postgresql"])
def lived(request: pytest.FixtureRequest) -> World:
    """A company with a history, for all tests that only read it."""
    found: World = request.getfixturevalue(f"lived_on_{request.param}")
    return found


@pytest.fixture(scope="session")
def lived_on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """It stays until the session ends, whatever the order of the tests."""
    folder = tmp_path_factory.mktemp("lived")
    yield from _lived(folder, f"sqlite:///{folder}/state.db")


@pytest.fixture(scope="session")
def lived_on_postgresql(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[World]:
    """The same on the other database."""
    with postgres.state() as url:
        yield from _lived(tmp_path_factory.mktemp("lived"), url)


def _lived(folder: Path, state_url: str) -> Iterator[World]:
    with ExitStack() as running:
        world = World(folder, running.enter_context(Sandbox(api_key="sandbox")))
        world.document["state"] = state_url
        running.callback(world.reopen)
        configure(world)
        live(world)
        yield world
