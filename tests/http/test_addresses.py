"""A connection is made to the first address that answers, and a caller who gives up leaves no socket open."""

import asyncio
import gc
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
import pytest

from tests.support.ports import nobody_at
from windsor_sync.http.addresses import NEXT_ADDRESS_S, connected_socket
from windsor_sync.http.opening import NeverLeftError, Origin, open_connection, tls_context

GIVES_UP_S = 0.05


def handles() -> int:
    """Files and sockets of this process that are open."""
    return int(psutil.Process().num_fds())


@contextmanager
def listening(backlog: int = 100) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as server:
        yield server.getsockname()[1]


@contextmanager
def silent() -> Iterator[int]:
    """A port that neither accepts nor refuses: its queue is full."""
    with listening(backlog=0) as port, ExitStack() as opened:
        for _ in range(4):
            client = opened.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ports of the loopback that are the addresses of every name."""
    ports: list[int] = []

    def resolve(_name: str, _port: int, *_: Any, flags: int = 0, **__: Any) -> list[Any]:
        if flags:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return ports


def test_a_caller_who_gives_up_as_the_connection_is_made_leaves_no_socket_open() -> None:
    async def given_up() -> tuple[int, int]:
        before = handles()
        asyncio.get_running_loop().call_soon(time.sleep, 2 * GIVES_UP_S)  # then connection and time-out are due at once
        with pytest.raises(NeverLeftError) as caught:
            await open_connection(Origin("127.0.0.1", port, False), None, tls_context, GIVES_UP_S)
        assert isinstance(caught.value.__cause__, TimeoutError)
        await asyncio.sleep(0.02)
        return before, handles()

    gc.disable()  # it would close them
    try:
        with listening() as port:
            before, after = asyncio.run(given_up())
    finally:
        gc.enable()
    assert after == before


def test_an_address_that_refuses_is_followed_by_the_next_one_at_once(addresses: list[int]) -> None:
    with nobody_at() as one, listening() as other:
        addresses += [one, other]
        begin = time.monotonic()
        with asyncio.run(connected_socket("windsor.example", 80)) as connected:
            assert connected.getpeername()[1] == other
    assert time.monotonic() - begin < NEXT_ADDRESS_S


def test_an_address_that_is_silent_does_not_hold_up_the_next_one_and_is_closed(addresses: list[int]) -> None:
    async def connect() -> tuple[int, int, int]:
        before = handles()
        with await connected_socket("windsor.example", 80) as connected:
            await asyncio.sleep(0)
            return connected.getpeername()[1], before, handles()

    with silent() as one, listening() as other:
        addresses += [one, other]
        reached, before, after = asyncio.run(connect())
    assert reached == other
    assert after == before + 1


def test_addresses_that_all_refuse_are_an_error(addresses: list[int]) -> None:
    with nobody_at() as one, nobody_at() as other:
        addresses += [one, other]
        with pytest.raises(ConnectionRefusedError):
            asyncio.run(connected_socket("windsor.example", 80))
    addresses.clear()
    with pytest.raises(OSError, match="no address"):
        asyncio.run(connected_socket("windsor.example", 80))
