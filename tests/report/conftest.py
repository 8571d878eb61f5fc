"""The company on each database."""

import pytest

from tests.support.history import configure, live
from tests.support.world import World


@pytest.fixture
def company(world: World, state_url: str) -> World:
    """Nothing has happened yet."""
    world.document["state"] = state_url
    configure(world)
    return world


@pytest.fixture
def lived(company: World) -> World:
    """It has a history."""
    live(company)
    return company
