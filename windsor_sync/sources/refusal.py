"""Refuses a snapshot: says what was found and where, which state that leaves, and what to do about it."""

from windsor_sync.errors import SnapshotError, SourceUnavailable, harmless
from windsor_sync.storage.errors import trouble, words_of_failure

AGAIN = "Download or export it again, then run again."


def unusable(finding: str, remedy: str) -> SnapshotError:
    """The error for a snapshot that cannot be used; both arguments are whole sentences without private data."""
    return SnapshotError(harmless(f"{finding} Nothing was sent; the last good snapshot stands. {remedy}"))


def out_of_reach(finding: str, error: Exception, remedy: str) -> SnapshotError:
    """The error for what the store did not hand over; of the kind that passes where the way there or a driver failed."""
    refusal = unusable(f"{finding} ({words_of_failure(error)}).", remedy)
    # A driver's own error may be the system's as well: aiohttp's for a store that does not answer is.
    is_drivers = any(isinstance(error, kind) for kind in trouble() if kind is not OSError)
    passes = is_drivers or isinstance(error, ConnectionError | TimeoutError)
    return SourceUnavailable(str(refusal)) if passes else refusal
