"""A client that knows Windsor's key."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.windsor import Send
from windsor_sync.sandbox import Sandbox


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(auth=("sandbox", ""), trust_env=False) as client:
        yield client


@pytest.fixture
def send(windsor: Sandbox, client: httpx.Client) -> Send:
    """Post one message to the `windsor` fixture."""

    def send(**message: Any) -> httpx.Response:
        return client.post(windsor.url, json=message)

    return send
