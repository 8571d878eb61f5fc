"""Connects to the first of a host's addresses that answers (RFC 8305), and leaves no other socket open.

asyncio's own `happy_eyeballs_delay` loses a socket that connects in the moment in which its caller gives up (Python 3.11 to
3.14): it stays open until garbage is collected. On a busy machine that moment is not rare.
"""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any

NEXT_ADDRESS_S = 0.25
"""How long an address may take before the next one is tried beside it."""

_AddressInfo = tuple[Any, ...]


async def connected_socket(host: str, port: int) -> socket.socket:
    """Return a connected socket; raises OSError, and ValueError for a host name that cannot be one."""
    left = _in_turns(await _addresses(host, port))
    trying: set[asyncio.Task[socket.socket]] = set()
    failed = OSError("the host has no address")
    try:
        while left or trying:
            if left:
                trying.add(asyncio.create_task(_connect(left.pop(0))))
            wait_s = NEXT_ADDRESS_S if left else None
            done, _ = await asyncio.wait(trying, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                trying.remove(task)
                try:
                    return task.result()
                except OSError as error:
                    failed = error
        raise failed
    finally:
        for task in trying:
            _forget(task)


async def _connect(address: _AddressInfo) -> socket.socket:
    family, kind, protocol, _, place = address
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setblocking(False)
        await asyncio.get_running_loop().sock_connect(opened, place)
    except BaseException:
        opened.close()
        raise
    return opened


def _forget(task: asyncio.Task[socket.socket]) -> None:
    """Close what the task connected to; a task that is not done yet closes its own socket as it is cancelled."""
    if not task.cancel():
        with suppress(OSError, asyncio.CancelledError):
            task.result().close()


async def _addresses(host: str, port: int) -> list[_AddressInfo]:
    """Look the host up; an address in digits needs no thread for that."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(found)


def _in_turns(addresses: Sequence[_AddressInfo]) -> list[_AddressInfo]:
    """Order addresses so that families take turns, beginning with the first one's."""
    families = dict.fromkeys(address[0] for address in addresses)
    by_family = ([each for each in addresses if each[0] == family] for family in families)
    return [each for each in chain.from_iterable(zip_longest(*by_family)) if each is not None]
