"""Running the sandbox: inside a test on a thread of its own, or as a program until a signal ends it."""

import asyncio
import logging
import os
import signal
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from windsor_sync.errors import ConfigError, WindsorSyncError
from windsor_sync.sandbox.app import build
from windsor_sync.sandbox.faults import Faults
from windsor_sync.sandbox.guard import Heads
from windsor_sync.sandbox.journal import SandboxJournal
from windsor_sync.sandbox.receiver import DEFAULT_API_KEY, Receiver
from windsor_sync.sandbox.store import Store

DEFAULT_PORT = 8474

_FLUSH_INTERVAL_S = 1.0
KEPT_S = 75.0
"""How long a connection may rest between two requests; the next one has come in whole by then."""
_SHUTDOWN_S = 0.2  # requests still waiting for their answer then lose it


class _WithoutValues(logging.Filter):
    """Replaces the text of an exception by its kind and place: it might repeat what a message or a path said."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            frames = traceback.extract_tb(error.__traceback__)
            place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
            record.msg, record.args = f"{record.getMessage()}: {type(error).__name__}{place}", ()
            record.exc_info = None
        return True


_log = logging.getLogger("windsor_sync.sandbox")
_log.addFilter(_WithoutValues())


class Sandbox:
    """A Windsor for a `with` block: `with Sandbox() as windsor: post(windsor.url, …); windsor.store.user("u-1")`.

    `stop` and `start` play an outage: the port stays the same and Windsor remembers what it was told.
    """

    def __init__(
        self,
        *,
        api_key: str = DEFAULT_API_KEY,
        faults: Faults | None = None,
        port: int = 0,
        state_file: Path | None = None,
        names: Collection[str] = (),
        store: Store | None = None,
    ) -> None:
        """Prepare a sandbox on 127.0.0.1; port 0 takes a free one at the first start.

        `store`: the users to begin with, and the rule by which they merge.
        """
        self.store = store or Store()
        self.api_key = api_key
        self.port = port
        self._receiver = Receiver(self.store, api_key, faults)
        self._state_file = state_file
        self._names = names
        self._thread: threading.Thread | None = None
        self._ended: Future[None] = Future()
        self._stop: Callable[[], object] = lambda: None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Return where one message goes: the `segment_webhook` wire; the pages too."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def hook_url(self) -> str:
        """Return where batches go, without the token: the `windsor_hook` wire."""
        return f"{self.url}hook"

    @property
    def faults(self) -> Faults:
        """The faults in force."""
        return self._receiver.faults

    def set_faults(self, faults: Faults) -> None:
        """Put other faults in force from the next request on; `Faults()` ends them all."""
        self._receiver.faults = faults

    def reset(self) -> None:
        """Forget users, feed, messages and counters; the faults stay."""
        self._receiver.reset()

    def start(self) -> None:
        """Listen, and return once requests are answered; raises ConfigError when that cannot be."""
        if self._thread is not None:
            return
        listening: Future[int] = Future()
        self._ended = Future()
        self._thread = threading.Thread(target=self._run, args=(listening,), name="windsor-sandbox", daemon=True)
        self._thread.start()
        try:
            self.port = listening.result()
        except BaseException:
            self._thread = None
            raise

    def stop(self) -> None:
        """End every connection and free the port; what was accepted is on disk if there is a state file."""
        if self._thread is not None:
            self._stop()
            self._thread.join()
            self._thread = None
            self._ended.result()

    def _run(self, listening: Future[int]) -> None:
        """Serve; what goes wrong is raised by `start` or, later on, by `stop`."""
        try:
            asyncio.run(self._listen(listening))
        except BaseException as error:
            (self._ended if listening.done() else listening).set_exception(error)
        else:
            self._ended.set_result(None)

    async def _listen(self, listening: Future[int]) -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(stopped.set)
        async with _listening(self._receiver, "127.0.0.1", (self.port,), self._state_file, self._names) as port:
            listening.set_result(port)
            await stopped.wait()


def serve(
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    *,
    api_key: str = DEFAULT_API_KEY,
    state_file: Path | None = None,
    faults: Faults | None = None,
    names: Collection[str] = (),
    store: Store | None = None,
    announce: Callable[[str], None] = print,
    or_another_port: bool = False,
) -> None:
    """Run a sandbox until SIGINT or SIGTERM; `announce` is told its address as soon as it answers.

    With `or_another_port` it takes a free port where `port` is taken.

    A host beyond loopback lets other machines read every user without a key. `names` are host names it answers to
    besides the loopback's and `host`; `store` has the rule by which users merge. Raises ConfigError when the port or the state
    file cannot be had.
    """
    receiver = Receiver(store or Store(), api_key, faults)
    ports = (port, 0) if or_another_port else (port,)
    asyncio.run(_serve(receiver, host, ports, state_file, names, announce))


async def _serve(
    receiver: Receiver,
    host: str,
    ports: Sequence[int],
    state_file: Path | None,
    names: Collection[str],
    announce: Callable[[str], None],
) -> None:
    stopped = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    async with _listening(receiver, host, ports, state_file, (host, *names)) as bound:
        shown = f"[{host}]" if ":" in host else host
        announce(f"http://{shown}:{bound}/")
        await stopped.wait()


@asynccontextmanager
async def _listening(
    receiver: Receiver, host: str, ports: Sequence[int], state_file: Path | None, names: Collection[str]
) -> AsyncIterator[int]:
    """Serve on the first free port for as long as the block runs, and write the state file meanwhile; gives the port."""
    async with _journaled(receiver, state_file):
        heads, app = Heads(), build(receiver, names)
        app.middlewares.insert(0, heads.middleware())
        runner = web.AppRunner(
            app,
            keepalive_timeout=KEPT_S,
            access_log=None,
            logger=_log,
            handle_signals=False,
            shutdown_timeout=_SHUTDOWN_S,
        )
        await runner.setup()
        try:
            assert runner.server is not None
            listener = await _bind_one(partial(heads.connection, runner.server), host, ports)
            try:
                bound: int = listener.sockets[0].getsockname()[1]
                yield bound
            finally:
                listener.close()
        finally:
            await runner.cleanup()


async def _bind_one(connection: Callable[[], asyncio.BaseProtocol], host: str, ports: Sequence[int]) -> asyncio.Server:
    for port in ports[:-1]:
        with suppress(ConfigError):
            return await _bind(connection, host, port)
    return await _bind(connection, host, ports[-1])


async def _bind(connection: Callable[[], asyncio.BaseProtocol], host: str, port: int) -> asyncio.Server:
    try:
        return await asyncio.get_running_loop().create_server(connection, host, port, backlog=128)
    except OSError as error:
        # asyncio puts the address into the text of what the system says; a name that does not resolve counts down.
        why = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
        raise ConfigError(
            f"The sandbox cannot listen on {host}, port {port} ({why}), and did not start. End what listens there, or "
            "choose another host or port."
        ) from None


@asynccontextmanager
async def _journaled(receiver: Receiver, state_file: Path | None) -> AsyncIterator[None]:
    """Bring the store to what the state file says, and keep the file up to date for as long as the block runs."""
    if state_file is None:
        yield
        return
    journal = SandboxJournal(state_file)
    receiver.store.reset()
    for message, received_at in journal.messages():
        receiver.store.apply(message, received_at)
    receiver.journal = journal
    flushing = asyncio.create_task(_flush(journal))
    try:
        yield
    finally:
        flushing.cancel()
        await asyncio.wait([flushing])
        receiver.journal = None
        journal.close()


async def _flush(journal: SandboxJournal) -> None:
    while True:
        await asyncio.sleep(_FLUSH_INTERVAL_S)
        try:
            await asyncio.to_thread(journal.flush)
        except WindsorSyncError as error:
            _log.warning("%s", error)
