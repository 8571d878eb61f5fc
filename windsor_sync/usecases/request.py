"""The request of a caller: what a run is to do, and why."""

from dataclasses import dataclass, field

from windsor_sync.domain.change import Limits


@dataclass(frozen=True, slots=True)
class Request:
    """The options of a run, beyond bringing Windsor up to date."""

    kind: str = "sync"
    trigger: str = "command line"
    reason: str | None = None
    snapshot_path: str | None = None
    """a file to use instead of the newest one; it may be older than what Windsor was told"""
    limits: Limits = field(default_factory=Limits)
    is_beyond_guard: bool = False
    """a retirement: everyone is meant to leave"""
    is_in_order: bool = False
    """`snapshot_path` is the newest file of a past day, which no person has looked at: it may not be older than what was told"""

    @property
    def is_of_named_file(self) -> bool:
        """Return whether a person named the file, and answers for it."""
        return self.snapshot_path is not None and not self.is_in_order
