"""A Windsor that answers each request with the bytes a test has for it."""

import asyncio
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace, TracebackType
from typing import Self

Script = Callable[[bytes, int], "bytes | Reply"]
"""(body, how often this body came before) → what is sent back"""


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes, and what else happens."""

    data: bytes = b""
    closes: bool = False
    afterwards: bytes = b""
    """sent a moment later, though nobody asked"""
    held_until: asyncio.Event | None = None
    """set by another request's script"""


def answer(status: int, body: bytes = b"{}", *headers: str, kind: str = "application/json") -> bytes:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class ScriptedWindsor:
    """Listens on loopback in a thread of its own for a `with` block."""

    script: Script = lambda body, tries: answer(200)
    api_key: str = "scripted"
    bodies: list[bytes] = field(default_factory=list)
    """of every request, in order of arrival"""
    connections: int = 0
    tls: ssl.SSLContext | None = None
    store: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(accepted=[]))
    """as the sandbox's: what was answered with 200"""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", ssl=self.tls), self._loop
        ).result()
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                if not await self._reply(await reader.readexactly(length), writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _reply(self, body: bytes, writer: asyncio.StreamWriter) -> bool:
        tries = self.bodies.count(body)
        self.bodies.append(body)
        reply = self.script(body, tries)
        reply = Reply(reply) if isinstance(reply, bytes) else reply
        if reply.data.startswith(b"HTTP/1.1 200") and b"messageId" in body:
            found = json.loads(body)
            for message in found.get("batch", [found]):
                self.store.accepted.append(SimpleNamespace(message_id=message["messageId"]))
        if reply.held_until is not None:
            await reply.held_until.wait()
        writer.write(reply.data)
        await writer.drain()
        if reply.afterwards:
            await asyncio.sleep(0.02)
            writer.write(reply.afterwards)
        return not reply.closes
