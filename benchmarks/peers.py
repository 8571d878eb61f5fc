"""Other ways to POST the same messages to the same server; each sends for itself, and says how many a second."""

import asyncio
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SECONDS = 4.0
IN_FLIGHT = 64
HEADERS = {"Authorization": "Basic YmVuY2htYXJrOg==", "Content-Type": "application/json"}


def message(number: int) -> dict[str, Any]:
    """What windsor_sync says about a member, of the same length."""
    return {
        "type": "identify",
        "userId": hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest(),
        "traits": {"all": True, "email": f"user{number}@example.com"},
        "context": {
            "personas": {
                "computation_class": "audience",
                "computation_id": "all",
                "computation_key": "all",
                "namespace": "spa_benchmark",
                "space_id": "spa_benchmark",
            },
            "library": {"name": "windsor_sync"},
        },
        "integrations": {"All": False, "Windsor": True},
        "messageId": f"windsor_sync_{number:064x}",
        "timestamp": "2026-01-01T00:00:00.000Z",
    }


def _bodies(count: int = 10_000) -> list[bytes]:
    """Rendered before the clock starts: these peers do not have to."""
    return [json.dumps(message(number), separators=(",", ":")).encode() for number in range(count)]


def httpx_alone(url: str) -> dict[str, Any]:
    """A stock `httpx.AsyncClient` with as many tasks as requests in flight; nothing is rendered or recorded."""
    import httpx

    bodies = _bodies()

    async def sends() -> tuple[int, float]:
        limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
        sent = 0
        async with httpx.AsyncClient(limits=limits) as client:
            start = time.perf_counter()

            async def worker() -> None:
                nonlocal sent
                while time.perf_counter() < start + SECONDS:
                    response = await client.post(url, content=bodies[sent % len(bodies)], headers=HEADERS)
                    response.raise_for_status()
                    sent += 1

            await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
            return sent, time.perf_counter() - start

    return _rate(*asyncio.run(sends()))


def requests_with_threads(url: str) -> dict[str, Any]:
    """A `requests.Session` a thread; nothing is rendered or recorded."""
    import requests

    bodies = _bodies()
    counts = [0] * IN_FLIGHT
    start = time.perf_counter()

    def worker(place: int) -> None:
        with requests.Session() as session:
            session.headers.update(HEADERS)
            while time.perf_counter() < start + SECONDS:
                session.post(url, data=bodies[counts[place] % len(bodies)], timeout=30).raise_for_status()
                counts[place] += 1

    threads = [threading.Thread(target=worker, args=(place,)) for place in range(IN_FLIGHT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _rate(sum(counts), time.perf_counter() - start)


class _Rows:
    """A source for drt that costs nothing."""

    def extract(self, query: str, config: object, **_: object) -> Iterator[dict[str, Any]]:  # noqa: ARG002
        """Rows from memory."""
        for number in range(1_000):
            said = message(number)
            yield {"user_id": said["userId"], "email": said["traits"]["email"], "message_id": said["messageId"]}


def drt_core(url: str) -> dict[str, Any]:
    """A full sync of drt-core, as it comes but for its pace, which is not limited: a template and a POST a row."""
    from drt.config.models import SyncConfig
    from drt.destinations.rest_api import RestApiDestination
    from drt.engine.sync import run_sync

    names = {"userId": "{{ row.user_id }}", "messageId": "{{ row.message_id }}"}
    template = json.dumps(message(0) | names).replace("user0@example.com", "{{ row.email }}")
    sync = SyncConfig.model_validate(
        {
            "name": "all",
            "model": "SELECT * FROM members",
            "destination": {"type": "rest_api", "url": url, "headers": HEADERS, "body_template": template},
            "sync": {"rate_limit": {"requests_per_second": 0}},
        }
    )

    def send() -> int:
        result = run_sync(sync, _Rows(), RestApiDestination(), SimpleNamespace(type="duckdb"), Path.cwd())
        assert not result.failed, result.row_errors[0]
        return int(result.success)

    return _for_a_while(send)


def segment_library(url: str) -> dict[str, Any]:
    """segment-analytics-python told to send every message by itself, as the webhook takes them."""
    return _for_a_while(_segment_client(url, upload_size=1))


def segment_library_batches(url: str) -> dict[str, Any]:
    """The same library as it comes: a hundred messages a request, which the webhook does not take."""
    return _for_a_while(_segment_client(url, upload_size=100))


def _segment_client(url: str, upload_size: int) -> Callable[[], int]:
    from segment.analytics.client import Client

    logging.getLogger("segment").setLevel(logging.ERROR)
    client = Client("benchmark", host=url.rstrip("/"), upload_size=upload_size, max_queue_size=0)
    numbers = iter(range(1_000_000_000))

    def send() -> int:
        for number in _some(numbers, 500):
            said = message(number)
            client.identify(said["userId"], said["traits"], context=said["context"], integrations=said["integrations"])
        client.flush()
        return 500

    return send


def _some(numbers: Iterator[int], count: int) -> Iterator[int]:
    return (next(numbers) for _ in range(count))


def _for_a_while(send: Callable[[], int]) -> dict[str, Any]:
    start = time.perf_counter()
    sent = 0
    while time.perf_counter() < start + SECONDS:
        sent += send()
    return _rate(sent, time.perf_counter() - start)


def _rate(sent: int, seconds: float) -> dict[str, Any]:
    return {"per_second": sent / seconds}
