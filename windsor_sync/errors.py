"""All errors, grouped by what the caller does about them; each carries the command line's exit status.

A message has four parts: what happened, to which audience and run, the state it leaves, the remedy. Audience
keys, run ids, counts, file names, line numbers and status codes belong in it; user ids, traits, bodies and keys do not.
"""

import re

_WORD = re.compile(r"[^\s\"'\\]+")
_HTTP = re.compile(r"https?://", re.IGNORECASE)
_USER = re.compile(r"(https?://)[^/@]*@", re.IGNORECASE)
_AFTER_A_URL = ":,.;)"
"""Signs of the sentence around a URL."""


def without_secrets(text: str) -> str:
    """Return a text in which a URL shows neither its query (a signature, a SAS token) nor a user before its host.

    A question mark without `=` after it stays where it may be part of a pattern: `s3://bucket/day-?.csv`.
    """
    return _WORD.sub(lambda found: _shown_word(found[0]), text) if "://" in text else text


def _shown_word(word: str) -> str:
    scheme, mark, rest = word.partition("://")
    path, asked, query = rest.partition("?")
    address = _USER.sub(r"\1…@", f"{scheme}{mark}{path}")
    if not asked or not (_HTTP.search(address) or "=" in query):
        return f"{address}{asked}{query}"
    end = query[len(query.rstrip(_AFTER_A_URL)) :]
    return f"{address}?…{end}"


def harmless(text: str, *, keeps: str = "") -> str:
    r"""Take the secrets out of URLs, and escape what has no sign of its own.

    That is control characters, line breaks, marks of direction (`\x1b`, `\u202e`). Names of files, audiences and columns are
    shown so, whoever gave them: no terminal and no browser obeys them. Characters in `keeps` stay: a text of several lines
    keeps "\n".
    """
    text = without_secrets(text)
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keeps else each.encode("unicode_escape").decode() for each in text
    )


class WindsorSyncError(Exception):
    """Any error this package raises on purpose."""

    exit_status = 1

    def __str__(self) -> str:
        """The message; of the names in it nothing is obeyed by a terminal."""
        return harmless(super().__str__(), keeps="\n")


class ConfigError(WindsorSyncError):
    """A person has to change a setting; every mistake that was found is named at once."""

    exit_status = 2


class ChangesWithheld(WindsorSyncError):
    """The guard keeps some changes back until a person approves them; the rest went out."""

    exit_status = 3


class MessagesRejected(WindsorSyncError):
    """Windsor refuses messages; what it refused is set aside with its code and tried again."""

    exit_status = 4


class CredentialsRefused(WindsorSyncError):
    """Windsor refused the key (401, 403): every further request would fail too, so none was made."""

    exit_status = 5


class DestinationUnavailable(WindsorSyncError):
    """Windsor cannot be reached or answers 5xx for too long; the run can be resumed."""

    exit_status = 6

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        """how long Windsor asked to wait, when it said so"""


class StateUnavailable(WindsorSyncError):
    """The state, its database or its files, is out of reach: what cannot be read or recorded there is not sent."""

    exit_status = 6


class OutOfResources(WindsorSyncError):
    """This process has no memory or no file handle left; what was answered is recorded, the rest is owed."""

    exit_status = 6


class StoredFileError(WindsorSyncError):
    """A stored file or the state is lost, damaged or not ours: running again does not help, and a named command heals it."""

    exit_status = 9

    def __init__(self, message: str, finding: str | None = None, remedy: str = "") -> None:
        super().__init__(message)
        self.finding = finding or message
        """what is wrong, alone"""
        self.remedy = remedy


class SegmentUnavailable(WindsorSyncError):
    """Segment's Public API is out of reach, and what it says is needed; nothing was sent."""

    exit_status = 6


class Interrupted(WindsorSyncError):
    """A person or the scheduler asked for an end; what was answered is recorded, the rest is owed."""

    exit_status = 130


class LeaseHeld(WindsorSyncError):
    """Another run writes to this audience and destination; nothing was done."""

    exit_status = 7


class LeaseLost(LeaseHeld):
    """This run was paused past its lease and another one may have taken over; it stopped without committing."""


class SnapshotError(WindsorSyncError):
    """The snapshot cannot be used: nothing was sent, the last good snapshot stands."""

    exit_status = 8


class SourceUnavailable(SnapshotError):
    """The source of a snapshot is out of reach, or was lost half-way: reading it again may help."""


class SnapshotSuperseded(SnapshotError):
    """The newest snapshot is older than what Windsor was told: another run was faster, or an older file came later."""


class SnapshotStale(SnapshotError):
    """The newest snapshot is older than `max_age`, and `max_age_action` is fail."""
