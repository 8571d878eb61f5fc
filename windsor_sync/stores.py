"""What goes wrong with object stores behind fsspec and is no OSError; each driver has exceptions of its own."""

import sys

_OF_DRIVERS = {
    "botocore.exceptions": "BotoCoreError",
    "gcsfs.retry": "HttpError",
    "google.auth.exceptions": "GoogleAuthError",
    "aiohttp": "ClientError",
}


def trouble(*beside: type[Exception]) -> tuple[type[Exception], ...]:
    """What a store raises that is out of reach or lets nobody in, and `beside`, for an `except`; never a mistake of ours."""
    found = (getattr(sys.modules.get(module), name, None) for module, name in _OF_DRIVERS.items())
    return (*beside, OSError, *(kind for kind in found if kind is not None))


def words_of(error: Exception) -> str:
    """What was wrong, without a path's user name or a URL's secrets: the system's words, or the name of the error."""
    return getattr(error, "strerror", None) or type(error).__name__


def missing_package(error: ImportError) -> str:
    """The package that a kind of store needs; some of fsspec's errors name it in their cause only."""
    name = error.name or getattr(error.__cause__, "name", None) or ""
    return name.split(".")[0] or "the driver of that store"
