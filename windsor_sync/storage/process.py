"""Identifies a process: a name for people, and a mark by which a later process can tell that it has died.

The system gives the number of a dead process to a new one; the time at which it began tells the two apart. A mark can be
judged only on the same machine, in the same boot and the same namespace of processes: each container is a machine of its own.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")

_ENDED = frozenset("ZX")
"""States of a thread that runs no more, the process having been killed, while its parent has not asked how it ended."""

_mark: list[str] = []
"""The mark of this process, once it was found: a run asks for it some thirty times."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mark.clear)


def name_of_this_process() -> str:
    """Return how a holder is named to the next comer: machine and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def mark_of_this_process() -> str | None:
    """Return the mark that `has_died` compares; None where the system offers none (only Linux does)."""
    if not _mark:
        machine, began = _machine(), _began(os.getpid())
        if not machine or not began:
            return None
        _mark.append(f"{machine} {os.getpid()} {began}")
    return _mark[0]


def can_be_judged(mark: str | None) -> bool:
    """Whether it can be told from here if the process lives: it is one of this machine, since this start of it."""
    return mark is not None and mark.rsplit(" ", 2)[0] == _machine()


def has_died(mark: str | None) -> bool:
    """Whether the process is certainly gone; False for one that cannot be judged from here."""
    if mark is None or not can_be_judged(mark):
        return False
    _, pid, began = mark.rsplit(" ", 2)
    try:
        os.kill(int(pid), 0)  # sends nothing; /proc may be set to hide other people's processes
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    found = _began(int(pid))
    return found is not None and (found != began or _has_ended(int(pid)))


def _machine() -> str | None:
    with suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespaces = [str((_PROC / "self/ns" / kind).readlink()) for kind in ("pid", "time")]
        return " ".join([socket.gethostname(), boot, *namespaces])
    return None


def _began(pid: int) -> str | None:
    fields = _fields(_PROC / str(pid))
    return fields[19] if fields else None  # `starttime`, in ticks since the machine started


def _has_ended(pid: int) -> bool:
    """Whether every thread has: one that is stuck in a write may still finish it."""
    with suppress(OSError):
        threads = [_fields(thread) for thread in (_PROC / str(pid) / "task").iterdir()]
        return all(fields is not None and fields[0] in _ENDED for fields in threads)
    return False


def _fields(process: Path) -> list[str] | None:
    """Return the fields of proc(5) `stat` from `state` on; the name before them may contain anything."""
    with suppress(OSError):
        return (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return None
