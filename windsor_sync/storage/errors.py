"""Errors of folders and of object stores behind fsspec, whose drivers have exceptions of their own."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from windsor_sync.errors import StateUnavailable, StoredFileError
from windsor_sync.settings.patterns import is_url

_OF_DRIVERS = {
    "botocore.exceptions": "BotoCoreError",
    "gcsfs.retry": "HttpError",
    "google.auth.exceptions": "GoogleAuthError",
    "aiohttp": "ClientError",
}

_BUCKETS = {"s3", "gs", "abfs"}
"""Stores of which no address means everything."""

_CODE_OF = {
    "FileNotFoundError": errno.ENOENT,
    "FileExistsError": errno.EEXIST,
    "PermissionError": errno.EACCES,
    "TimeoutError": errno.ETIMEDOUT,
    "FSTimeoutError": errno.ETIMEDOUT,
}
"""Object stores raise the system's exceptions without the system's words."""


def file_system(location: str, **options: Any) -> tuple[Any, str]:
    """Return the fsspec file system of a path or URL, and the path in it; of a local path every letter stands for itself.

    Raises ImportError for a store whose package is missing, ValueError for one that is not known, and what the store raises
    that is looked into at once (an archive that is not there, a server that does not answer).
    """
    if is_url(location):
        try:
            fs, root = fsspec.core.url_to_fs(location, **options)
        except TypeError:  # a store that takes more than an address
            raise ValueError(location) from None
        if _BUCKETS.intersection([fs.protocol] if isinstance(fs.protocol, str) else fs.protocol) and not str(root):
            raise ValueError(location)
        return fs, str(root)
    return fsspec.filesystem("file"), os.path.abspath(os.path.expanduser(location))  # noqa: PTH100, PTH111


def trouble(*beside: type[Exception]) -> tuple[type[Exception], ...]:
    """Return the exceptions of a store that cannot be reached or refuses access, and `beside`, for an `except`.

    No exception of a mistake of ours is among them.
    """
    found = (getattr(sys.modules.get(module), name, None) for module, name in _OF_DRIVERS.items())
    return (*beside, OSError, *(kind for kind in found if kind is not None))


def words_of_failure(error: Exception) -> str:
    """Return the system's words for an error, or its name, without a path's user name or a URL's secrets."""
    return getattr(error, "strerror", None) or words_of_name(type(error).__name__)


def words_of_name(name: str) -> str:
    """The system's words for an exception of this name, or the name."""
    return os.strerror(_CODE_OF[name]) if name in _CODE_OF else name


@contextmanager
def in_reach() -> Iterator[None]:
    """Make what the file store raises within the block StateUnavailable."""
    try:
        yield
    except trouble() as error:
        raise store_unavailable(words_of_failure(error)) from None


def store_unavailable(words: str) -> StateUnavailable:
    """The error for a file store that does not take or give a file."""
    return StateUnavailable(
        f"The file store (`files` in windsor.yaml) cannot be read or written: {words}. What was recorded before stands, "
        "nothing half-written stays, and what is not sent stays owed. Run it again when the store answers and has room; if "
        "that does not help, let this user read and write there. `windsor-sync audit` says what is missing or damaged."
    )


def store_damaged(words: str) -> StoredFileError:
    """The error for a stored file that is gone or cannot be read, where a reader that knows only its content met it."""
    return StoredFileError(
        f"In the file store (`files` in windsor.yaml) {words}. What was recorded before stands, and what is not sent stays owed. "
        "Run `windsor-sync audit`: it names the file, and the command that heals what stands on it."
    )


def missing_package(error: ImportError) -> str:
    """The package that a kind of store needs; some of fsspec's errors name it in their cause only."""
    name = error.name or getattr(error.__cause__, "name", None) or ""
    return name.split(".")[0] or "the driver of that store"
