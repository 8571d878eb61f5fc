"""A Windsor on loopback that takes its time and has its moods, and knows when each request came.

As a process of its own: `python -m benchmarks.server.moody FILE LOWEST_S HIGHEST_S FAULTS`. It prints its port, and at
SIGTERM writes the moments of arrival (seconds of the monotonic clock) to the file, as a JSON list.
"""

import asyncio
import json
import random
import signal
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.server.exchange import ANSWER, listening, started

YES, *NO = (ANSWER % (status, 2, b"{}") for status in (b"200 OK", b"429 Too Many Requests", b"503 Service Unavailable"))


@contextmanager
def moody(arrivals: Path, lowest_s: float, highest_s: float, faults: float) -> Iterator[str]:
    """Yield the address of one; `faults` is the part of requests that get a 429 or a 503."""
    with started(__name__, arrivals, lowest_s, highest_s, faults) as url:
        yield url


async def _serve(lowest_s: float, highest_s: float, faults: float) -> list[float]:
    came = array("d")
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)

    def answers(_head: bytes, _body: bytes) -> tuple[float, bytes]:
        came.append(time.monotonic())
        answer = random.choice(NO) if random.random() < faults else YES  # noqa: S311
        return random.uniform(lowest_s, highest_s), answer  # noqa: S311

    server = await listening(answers)
    await end.wait()
    server.close()
    return came.tolist()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(asyncio.run(_serve(*map(float, sys.argv[2:])))))
