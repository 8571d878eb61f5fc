"""What Airflow's connection says in JSON is read as windsor.yaml's own text is."""

import json
from typing import Any

import pytest

from tests.support.world import World
from windsor_sync.airflow.connection import connection_of, with_connection
from windsor_sync.errors import ConfigError
from windsor_sync.settings import load


def connected(monkeypatch: pytest.MonkeyPatch, requests_per_second: Any) -> Any:
    given = {"conn_type": "windsor", "password": "k", "extra": {"requests_per_second": requests_per_second}}
    monkeypatch.setenv("AIRFLOW_CONN_WINDSOR_DEFAULT", json.dumps(given))
    return connection_of("windsor_default")


@pytest.mark.parametrize("given", [50, 50.0, "50"])
def test_a_rate_in_the_connection_may_be_a_number_or_its_text(
    world: World, monkeypatch: pytest.MonkeyPatch, given: Any
) -> None:
    settings = load(world.config, env={})
    assert with_connection(settings, connected(monkeypatch, given)).destination.requests_per_second == 50


@pytest.mark.parametrize("given", [True, 0, -1, [50], {"rate": 50}])
def test_a_rate_in_the_connection_that_is_no_number_above_0_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, given: Any
) -> None:
    settings = load(world.config, env={})
    with pytest.raises(ConfigError, match="windsor_default has no usable requests per second"):
        with_connection(settings, connected(monkeypatch, given))
