"""How a snapshot is refused: what was found and where, what state that leaves, what to do about it."""

from windsor_sync.errors import SnapshotError

AGAIN = "Download or export it again, then run again."


def unusable(finding: str, remedy: str) -> SnapshotError:
    """The error for a snapshot that cannot be used; both arguments are whole sentences without private data."""
    return SnapshotError(f"{finding} Nothing was sent; the last good snapshot stands. {remedy}")
