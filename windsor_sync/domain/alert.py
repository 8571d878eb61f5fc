"""The changes of state that people are told about, each once."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from windsor_sync.errors import harmless


class AlertEvent(StrEnum):
    """A change of state that people are told about; `recovered` is the end of any other."""

    WITHHELD = "withheld"
    CREDENTIALS_REFUSED = "credentials_refused"
    UNAVAILABLE = "unavailable"
    UNUSABLE = "unusable"
    STALE = "stale"
    LATE = "late"
    REJECTED = "rejected"
    SIZE = "size"
    ORPHANED = "orphaned"
    RECOVERED = "recovered"


EVENT_WORDS = {
    AlertEvent.WITHHELD: "changes are withheld",
    AlertEvent.CREDENTIALS_REFUSED: "the key is refused",
    AlertEvent.UNAVAILABLE: "Windsor is not available",
    AlertEvent.UNUSABLE: "the snapshot cannot be used",
    AlertEvent.STALE: "the snapshot is stale",
    AlertEvent.LATE: "a sync that was due did not run",
    AlertEvent.REJECTED: "messages are rejected",
    AlertEvent.SIZE: "the size is unusual",
    AlertEvent.ORPHANED: "a key has no audience",
    AlertEvent.RECOVERED: "recovered",
}


_WEB = re.compile(r"\b(https?|mailto):", re.IGNORECASE)
_MARKUP = str.maketrans({"<": "\u2039", ">": "\u203a", "@": "\uff20"})


def without_markup(text: str) -> str:
    """Return the text with other characters where a chat program would see a mention, a link or a tag."""
    return _WEB.sub("\\1\u2236", text.translate(_MARKUP).replace("](", "] ("))


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong, or was, with an audience or with a whole destination; no user appears in it."""

    destination: str
    audience: str
    """trait key; empty where the whole destination is concerned"""
    event: AlertEvent
    sentence: str
    """what is wrong, and what to do"""
    since: datetime
    run_id: str | None = None

    @property
    def subject(self) -> str:
        """Return whom it is about."""
        about = self.audience.removeprefix("$")  # forwarded events are registered as $events
        return harmless(f"{about} at {self.destination}" if about else self.destination)


@dataclass(frozen=True, slots=True)
class Alert:
    """One message for people: an event, and every audience that it happened to.

    `title` and `text` are without markup. `subject` and `audiences` are for programs and keep the names as they are.
    """

    event: AlertEvent
    subject: str
    """whom it is about, such as `vip at windsor`; of several, how many"""
    text: str
    """without markup"""
    audiences: tuple[str, ...]
    """trait keys; none where the whole destination is concerned"""
    run_id: str | None
    since: datetime
    id: str
    """is the same whenever the same message is sent again"""
    link: str | None = None
    """the page, where its address is known"""

    @property
    def title(self) -> str:
        """Return the message's first line."""
        return without_markup(f"{self.subject}: {EVENT_WORDS[self.event]}")


class Target(Protocol):
    """Somebody who is told."""

    @property
    def key(self) -> str:
        """Return a name without a secret, under which the state remembers what it was told."""

    @property
    def events(self) -> Sequence[AlertEvent]:
        """Return what it is told about."""

    @property
    def send(self) -> Callable[[Alert], object]:
        """Return what sends one message; it raises where the message may not have arrived."""
