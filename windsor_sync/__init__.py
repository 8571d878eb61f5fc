"""Segment Engage audiences and computed traits as user properties in Windsor."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windsor_sync.notebook import plan_frames

__all__ = ["__version__", "plan_frames"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`plan_frames`, imported when it is used: the engine behind it is no business of most imports."""
    if name == "plan_frames":
        from windsor_sync.notebook import plan_frames

        return plan_frames
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
