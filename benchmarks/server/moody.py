"""A Windsor on loopback that takes its time and has its moods, and knows when each request came.

As a process of its own: `python -m benchmarks.server.moody FILE LOWEST_S HIGHEST_S FAULTS`. It prints its port, and at
SIGTERM writes the moments of arrival (seconds of the monotonic clock) to the file, as a JSON list.
"""

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

YES, *NO = (
    b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}" % status
    for status in (b"200 OK", b"429 Too Many Requests", b"503 Service Unavailable")
)


@contextmanager
def moody(arrivals: Path, lowest_s: float, highest_s: float, faults: float) -> Iterator[str]:
    """Yield the address of one; `faults` is the part of requests that get a 429 or a 503."""
    command = [sys.executable, "-m", __name__, str(arrivals), str(lowest_s), str(highest_s), str(faults)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        finally:
            process.terminate()


class _Exchange(asyncio.Protocol):
    """One connection, one request at a time on it."""

    def __init__(self, lowest_s: float, highest_s: float, faults: float, came: "array[float]") -> None:
        self._latency_s = lowest_s, highest_s
        self._faults = faults
        self._came = came
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().rpartition(b"content-length:")[2].split(b"\r\n")[0]):
            return
        self._data = b""
        self._came.append(time.monotonic())
        answer = random.choice(NO) if random.random() < self._faults else YES  # noqa: S311
        asyncio.get_running_loop().call_later(random.uniform(*self._latency_s), self._answer, answer)  # noqa: S311

    def _answer(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def _serve(lowest_s: float, highest_s: float, faults: float) -> list[float]:
    came = array("d")
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, end.set)
    server = await loop.create_server(
        partial(_Exchange, lowest_s, highest_s, faults, came), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await end.wait()
    return came.tolist()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(asyncio.run(_serve(*map(float, sys.argv[2:])))))
