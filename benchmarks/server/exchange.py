"""What the Windsors of benchmarks share: a process of their own, and connections that take one request at a time."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

ANSWER = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"

Answers = Callable[[bytes, bytes], tuple[float, bytes]]
"""Returns, for the head and the body of a request, after how many seconds it is answered, and how."""


@contextmanager
def started(module: str, *arguments: object) -> Iterator[str]:
    """Run `python -m module` with these arguments for this block; yield the address of the port that it prints."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        finally:
            process.terminate()


async def listening(answers: Answers) -> asyncio.Server:
    """Return a server on a free port of loopback, which is printed."""
    server = await asyncio.get_running_loop().create_server(partial(_Exchange, answers), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    return server


class _Exchange(asyncio.Protocol):
    """One connection, one request at a time on it."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        _, has_body, length = head.lower().rpartition(b"content-length:")
        if not end or len(body) < (int(length.split(b"\r\n")[0]) if has_body else 0):
            return
        self._data = b""
        latency_s, answer = self._answers(head, body)
        asyncio.get_running_loop().call_later(latency_s, self._answer, answer)

    def _answer(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)
