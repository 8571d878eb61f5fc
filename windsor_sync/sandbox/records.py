"""One user, event, group or message as Windsor knows it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from windsor_sync.sandbox.messages import Message, user_id_of


class Accepted(NamedTuple):
    """One message that Windsor said yes to, or would have, had its answer arrived."""

    message_id: str | None
    call: str
    user_id: str
    received_at: float  # seconds since 1970


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """A page, screen or track call as its user's event, and an item of the feed unless hidden."""

    call: str
    name: str
    user_id: str  # as the message had it; an alias may have moved the event to another user since
    properties: dict[str, Any]
    timestamp: str | None
    received_at: float
    message_id: str | None

    @property
    def is_hidden(self) -> bool:
        """Page events stay out of sight until somebody asks for hidden events."""
        return self.call == "page"


@dataclass(frozen=True, slots=True)
class SandboxGroup:
    """The one group of a user."""

    id: str
    traits: dict[str, Any]


@dataclass(slots=True)
class User:
    """One user of Windsor, known by a user id or, before there is one, by an anonymous id."""

    id: str
    is_anonymous: bool
    first_seen_at: float
    last_seen_at: float
    properties: dict[str, Any] = field(default_factory=dict)
    group: SandboxGroup | None = None
    events: list[FeedEvent] = field(default_factory=list)
    merged_ids: list[str] = field(default_factory=list)  # previous ids that an alias or an identify made this user's
    merged_at: dict[str, float] = field(default_factory=dict)  # when each was merged, by previous id


@dataclass(slots=True)
class Traffic:
    """Requests on the wires since the start, whether their messages were applied or not."""

    requests: int = 0
    answers: Counter[str] = field(default_factory=Counter)  # by status; "reset", "lost", "garbage" where there was none
    in_flight: int = 0
    most_in_flight: int = 0

    def begin(self) -> None:
        """Count a request that has come in."""
        self.requests += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def end(self, outcome: str) -> None:
        """Count what a request was answered with."""
        self.in_flight -= 1
        self.answers[outcome] += 1


def event_of(message: Message, received_at: float) -> FeedEvent:
    """Return the event that a track, page or screen call stands for."""
    name = message["event"] if message["type"] == "track" else _place(message)
    return FeedEvent(
        call=message["type"],
        name=name,
        user_id=user_id_of(message),
        properties=message.get("properties") or {},
        timestamp=message.get("timestamp"),
        received_at=received_at,
        message_id=message.get("messageId"),
    )


def _place(message: Message) -> str:
    """Return what a page or screen is called: its category and name, either of which may be missing."""
    return " ".join(part for part in (message.get("category"), message.get("name")) if part)


def copy_of(user: User) -> User:
    """Return a user that stays as it is when Windsor learns more; values are replaced, never changed in place."""
    return User(
        id=user.id,
        is_anonymous=user.is_anonymous,
        first_seen_at=user.first_seen_at,
        last_seen_at=user.last_seen_at,
        properties=dict(user.properties),
        group=user.group,
        events=list(user.events),
        merged_ids=list(user.merged_ids),
        merged_at=dict(user.merged_at),
    )
