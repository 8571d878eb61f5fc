"""Describes a plan: counts, a digest of its messages, an example without a person, and how long it would take."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from windsor_sync.delivery.protocols.wires import WIRES
from windsor_sync.delivery.shared_rate import share_of_newcomer
from windsor_sync.settings import Settings
from windsor_sync.state.database import Database
from windsor_sync.usecases.diff_and_guard import Prepared

HIDDEN = "•••"


@dataclass(frozen=True, slots=True)
class Estimate:
    """The requests and seconds that a delivery would take."""

    requests: int
    requests_per_second: float
    """what a task that began now would get, beside those that are sending"""

    @property
    def seconds(self) -> float:
        """At that pace, from beginning to end."""
        return self.requests / self.requests_per_second


def estimate(settings: Settings, database: Database, messages: int) -> Estimate:
    """Return how many requests so many messages are, and the pace at which they would go out now."""
    destination = settings.destination
    pace = share_of_newcomer(
        database, destination=destination.name, requests_per_second=destination.requests_per_second
    )
    return Estimate(-(-messages // WIRES[destination.wire].batch_size), pace)


def described(prepared: Prepared, write: Callable[[bytes], object] | None = None) -> dict[str, Any]:
    """A plan in counts, with a digest of its messages; the messages themselves go to `write`."""
    digest = hashlib.sha256()
    count = 0
    example: dict[str, Any] | None = None
    for message in prepared.messages():
        if write is not None:
            write(message)
        digest.update(message + b"\n")
        count += 1
        example = example or masked(json.loads(message))
    tally = prepared.tally
    return {
        "audience": str(prepared.known.key),
        "run_number": prepared.number,
        "taken_at": prepared.snapshot.taken_at.isoformat(),
        "rows_read": prepared.snapshot.rows_read,
        "members": prepared.members,
        "left_out": {**prepared.snapshot.left_out, **({"merged": tally.merged} if tally.merged else {})},
        "without_email": prepared.without_email,
        "entered": tally.entered,
        "exited": tally.exited,
        "updated": tally.updated,
        "moved": tally.moved,
        "moved_from": tally.moved_from,
        "withheld": prepared.withheld,
        "remarks": list(prepared.snapshot.remarks),
        "withheld_because": list(prepared.ruling.reasons),
        "withheld_remedy": prepared.ruling.remedy,
        "not_due": tally.deferred,
        "messages": count,
        "messages_sha256": digest.hexdigest(),
        "example": example,
    }


def masked(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as an example: its shape, without who it is about or what a computed trait says of them."""
    shown = {key: value for key, value in message.items() if key in {"type", "timestamp"}}
    hidden = {key: HIDDEN for key in ("userId", "anonymousId", "messageId") if key in message}
    traits = {key: value if isinstance(value, bool) else HIDDEN for key, value in message["traits"].items()}
    return {**shown, **hidden, "traits": traits}
