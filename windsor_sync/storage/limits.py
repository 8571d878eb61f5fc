"""Limits that the system sets for this process: file handles and address space. They are checked before any work."""

import errno
import os
import resource

from windsor_sync.errors import ConfigError, OutOfResources

HANDLES = 64
"""File handles that a run needs beside its connections to Windsor: for the state, stored files and libraries."""

ADDRESS_SPACE_MB = 1_500
ADDRESS_SPACE_MB_PER_CPU = 150
"""What DuckDB and its threads reserve at most; most of it is never used. With less DuckDB crashes the process."""

PROGRAM_MB = 300
"""Of address space that the program and its libraries take; with less they end the process in words of their own."""

_NOT_LOADED = ("failed to map segment", "Cannot allocate memory")
_NO_HANDLE = (errno.EMFILE, errno.ENFILE)


def require_handles(connections: int) -> None:
    """Make sure that this process can have so many connections; raises ConfigError when the system grants too few files."""
    needed = connections + HANDLES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ConfigError(
            f"This process may open {hard} files, and needs {needed} for destination.max_in_flight {connections}. Nothing was "
            f"sent. Allow it more files (`ulimit -n {needed}`), or lower destination.max_in_flight."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def require_program_space() -> None:
    """Raise ConfigError where a limit on address space is so low that the libraries cannot be loaded."""
    _require_mb(PROGRAM_MB, "windsor-sync")


def require_address_space() -> None:
    """Raise ConfigError where a limit on address space is so low that DuckDB would crash."""
    _require_mb(ADDRESS_SPACE_MB + ADDRESS_SPACE_MB_PER_CPU * (os.cpu_count() or 1), "DuckDB")


def _require_mb(needed_mb: int, what: str) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY and soft < needed_mb * 2**20:
        raise ConfigError(
            f"This process may have {soft // 2**20:,} MB of address space, and {what} needs up to {needed_mb:,} MB, of which it "
            "uses a part. Nothing was done. Raise the limit (`ulimit -v unlimited`), and limit memory by a container or by "
            "systemd's MemoryMax instead."
        )


def shortage_in(error: BaseException) -> OutOfResources | None:
    """Return what ran out when that is what the error says, None for any other error."""
    if isinstance(error, OSError) and error.errno in _NO_HANDLE:
        return OutOfResources(
            "This process has no file handle left. Allow it more (`ulimit -n 1024`), or lower destination.max_in_flight"
        )
    is_memory = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    is_memory |= isinstance(error, ImportError) and any(words in str(error) for words in _NOT_LOADED)
    if is_memory or type(error).__name__ == "OutOfMemoryException" or "can't start new thread" in str(error):
        return OutOfResources("The memory of this process ran out. Give it more, or run fewer commands beside it")
    return None
