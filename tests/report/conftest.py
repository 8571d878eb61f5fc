"""The company on each database."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.history import configure, live
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


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def lived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A company with a history, for all tests that only read it."""
    with ExitStack() as running:
        folder = tmp_path_factory.mktemp("lived")
        world = World(folder, running.enter_context(Sandbox(api_key="sandbox")))
        world.document["state"] = f"sqlite:///{folder}/state.db"
        if request.param == "postgresql":
            world.document["state"] = running.enter_context(request.getfixturevalue("postgres").state())
        running.callback(world.reopen)
        configure(world)
        live(world)
        yield world
