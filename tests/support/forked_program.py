"""A program `windsor-sync` for a shell's PATH that is forked, as tests/support/commands.py does, instead of started anew."""

import os
import pickle
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import Python

ENTRY = "import sys; sys.argv[0] = 'windsor-sync'; from windsor_sync.cli import main; main()"
"""What the installed program does."""

PROGRAM = """\
#!{python} -IS
import os, pickle, socket, sys
with socket.socket(socket.AF_UNIX) as wire:
    wire.connect({address!r})
    socket.send_fds(wire, [b"-"], [0, 1, 2])
    wire.sendall(pickle.dumps((sys.argv[1:], os.getcwd(), dict(os.environ))))
    wire.shutdown(socket.SHUT_WR)
    sys.exit(int(wire.recv(16)))
"""


@contextmanager
def forked_program() -> Iterator[Path]:
    """Yield a folder with the program, which works until the block ends."""
    with tempfile.TemporaryDirectory(prefix="windsor-program-") as name, socket.socket(socket.AF_UNIX) as door:
        address = f"{name}/door"
        door.bind(address)
        door.listen()
        program = Path(name) / "windsor-sync"
        program.write_text(PROGRAM.format(python=sys.executable, address=address), encoding="utf-8")
        program.chmod(0o755)
        threading.Thread(target=_serve, args=[door], daemon=True).start()
        yield Path(name)
        door.shutdown(socket.SHUT_RDWR)


def _serve(door: socket.socket) -> None:
    while True:
        try:
            wire, _ = door.accept()
        except OSError:
            return
        threading.Thread(target=_run, args=[wire], daemon=True).start()


def _run(wire: socket.socket) -> None:
    with wire:
        _, streams, _, _ = socket.recv_fds(wire, 1, 3)
        with wire.makefile("rb") as request:
            arguments, folder, environment = pickle.loads(request.read())
        stdin, stdout, stderr = streams
        with Python(
            "-c", ENTRY, *arguments, cwd=folder, env=environment, stdin=stdin, stdout=stdout, stderr=stderr
        ) as process:
            for stream in streams:
                os.close(stream)
            status = process.wait()
        wire.sendall(str(status if status >= 0 else 128 - status).encode())
