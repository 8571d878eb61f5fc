"""A local Windsor on loopback for the demo, the tests and docker-compose; nothing else in the package imports it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windsor_sync.sandbox.faults import Faults
    from windsor_sync.sandbox.running import Sandbox, serve

__all__ = ["Faults", "Sandbox", "serve"]


def __getattr__(name: str) -> Any:
    """Import the HTTP server only when somebody asks for it: the command line names this package in every `--help`."""
    if name == "Faults":
        from windsor_sync.sandbox.faults import Faults

        return Faults
    if name in __all__:
        from windsor_sync.sandbox import running

        return getattr(running, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
