"""A Windsor on loopback that keeps little and forgets nothing: the last value of each trait and user, and when requests came.

As a process of its own: `python -m benchmarks.server.tally FOLDER LATENCY_S USERS`. It prints its port. `GET /` writes what it
knows into the folder and answers with the number of messages so far: a file of one byte a user for each trait, and
`arrivals`, the moments of arrival (seconds of the monotonic clock, doubles).
"""

import asyncio
import json
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.server.exchange import ANSWER, listening, started

YES = ANSWER % (b"200 OK", 2, b"{}")
UNKNOWN, FALSE, TRUE = range(3)
ARRIVALS = "arrivals"


@contextmanager
def tallying(folder: Path, latency_s: float, users: int) -> Iterator[str]:
    """Yield the address of one that knows users by their numbers, which are the end of their ids."""
    folder.mkdir()
    with started(__name__, folder, latency_s, users) as url:
        yield url


class Tally:
    """Values by trait and user, and moments of arrival."""

    def __init__(self, folder: Path, users: int) -> None:
        self._folder = folder
        self._users = users
        self._values: dict[str, bytearray] = {}
        self._came = array("d")

    def take(self, body: bytes) -> None:
        """Note an identify."""
        self._came.append(time.monotonic())
        message = json.loads(body)
        number = int(message["userId"].rpartition("-")[2])
        for trait, value in message["traits"].items():
            if isinstance(value, bool):
                self._values.setdefault(trait, bytearray(self._users))[number] = TRUE if value else FALSE

    def written(self) -> bytes:
        """Write everything down; return the number of messages as JSON."""
        for trait, values in self._values.items():
            (self._folder / trait).write_bytes(values)
        (self._folder / ARRIVALS).write_bytes(self._came.tobytes())
        return json.dumps(len(self._came)).encode()


async def _serve(folder: Path, latency_s: float, users: int) -> None:
    tally = Tally(folder, users)

    def answers(head: bytes, body: bytes) -> tuple[float, bytes]:
        if head.startswith(b"GET"):
            counted = tally.written()
            return 0, ANSWER % (b"200 OK", len(counted), counted)
        tally.take(body)
        return latency_s, YES

    await (await listening(answers)).serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
