"""Ports of the loopback where nobody answers, and stays so while other processes look for free ones."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nobody_at(port: int = 0) -> Iterator[int]:
    """Refuse every connection at this port, or at a free one: it is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        yield int(taken.getsockname()[1])
