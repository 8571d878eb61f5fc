"""A slow object store: moto's server behind a proxy that delays every request."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

BLOCK_BYTES = 1 << 16


@dataclass(slots=True)
class SlowStore:
    """A proxy in front of a store: each block that a client sends waits `delay_s` before the store gets it."""

    port_behind: int
    delay_s: float = 0
    requests: int = 0
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection in both directions until both sides have ended it."""
        answers, requests = await asyncio.open_connection("127.0.0.1", self.port_behind)
        try:
            await asyncio.gather(self._hand_on(reader, requests, is_request=True), self._hand_on(answers, writer))
        finally:
            requests.close()
            writer.close()

    async def _hand_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool = False
    ) -> None:
        with suppress(ConnectionError):
            while block := await reader.read(BLOCK_BYTES):
                if is_request:
                    self.requests += block.startswith((b"GET ", b"HEAD ", b"PUT ", b"POST "))
                    await asyncio.sleep(self.delay_s)
                writer.write(block)
                await writer.drain()
        with suppress(OSError):
            writer.write_eof()

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables with the store's address and credentials."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextmanager
def slow_store() -> Iterator[SlowStore]:
    """Start a store and its proxy; set `delay_s` to make the store slow."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    store = SlowStore(server.get_host_and_port()[1])
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    proxy = asyncio.run_coroutine_threadsafe(asyncio.start_server(store.serve, "127.0.0.1", 0), loop).result()
    store.port = proxy.sockets[0].getsockname()[1]
    try:
        yield store
    finally:
        asyncio.run_coroutine_threadsafe(_end_tasks(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        server.stop()


async def _end_tasks() -> None:
    """Cancel the tasks that still wait for a client or for the store."""
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
