"""A Windsor on loopback that keeps little and forgets nothing: the last value of each trait and user, and when requests came.

As a process of its own: `python -m benchmarks.server.tally FOLDER LATENCY_S USERS`. It prints its port. `GET /` writes what it
knows into the folder and answers with the number of messages so far: a file of one byte a user for each trait, and
`arrivals`, the moments of arrival (seconds of the monotonic clock, doubles).
"""

import asyncio
import json
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
YES = ANSWER % (2, b"{}")
UNKNOWN, FALSE, TRUE = range(3)
ARRIVALS = "arrivals"


@contextmanager
def tallying(folder: Path, latency_s: float, users: int) -> Iterator[str]:
    """Yield the address of one that knows users by their numbers, which are the end of their ids."""
    folder.mkdir()
    command = [sys.executable, "-m", __name__, str(folder), str(latency_s), str(users)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        finally:
            process.terminate()


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


class _Exchange(asyncio.Protocol):
    """One connection, one request at a time on it."""

    def __init__(self, latency_s: float, tally: Tally) -> None:
        self._latency_s = latency_s
        self._tally = tally
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if end and head.startswith(b"GET"):
            self._data = b""
            counted = self._tally.written()
            self._transport.write(ANSWER % (len(counted), counted))
        elif end and len(body) >= int(head.lower().rpartition(b"content-length:")[2].split(b"\r\n")[0]):
            self._data = b""
            self._tally.take(body)
            asyncio.get_running_loop().call_later(self._latency_s, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(YES)


async def _serve(folder: Path, latency_s: float, users: int) -> None:
    tally = Tally(folder, users)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(_Exchange, latency_s, tally), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
