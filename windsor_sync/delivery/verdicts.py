"""An answer of Windsor's → what to do about the message. The table of the design, and nothing else.

Sources: the subscription webhook's status codes, and Segment's own rule that 4xx are final except 408, 423 and 429,
and 5xx are tried again except 501.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum


class Decision(StrEnum):
    """What to do after an answer."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    """set this message aside, go on"""
    UNSUPPORTED = "unsupported"
    """Windsor does not take this type of call: set all of them aside for this run"""
    WAIT = "wait"
    """Windsor asks for time; the message was not applied"""
    SLOW_DOWN = "slow_down"
    """as WAIT, and everybody sends more slowly"""
    RETRY = "retry"
    """it may or may not have been applied"""
    STOP = "stop"
    """the key was refused: every further request would fail too"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request."""

    status: int
    """0 when there was no answer"""
    retry_after_s: float | None = None
    message: str | None = None
    """Windsor's words, or the kind of failure"""
    was_sent: bool = True
    """whether the request may have reached Windsor"""


def decide(answer: Answer) -> Decision:
    """The verdict table."""
    status = answer.status
    if 200 <= status < 300:
        return Decision.DELIVERED
    if status in (401, 403):
        return Decision.STOP
    if status == 429:
        return Decision.SLOW_DOWN
    if status in (408, 423):
        return Decision.WAIT
    if status == 501:
        return Decision.UNSUPPORTED
    if 300 <= status < 500:
        return Decision.REJECTED  # redirects too: they are not followed
    return Decision.RETRY


def may_have_been_applied(answer: Answer) -> bool:
    """Whether an answer that is not a yes leaves the message in doubt: lost answers and 5xx do, refusals do not."""
    return answer.was_sent and decide(answer) is Decision.RETRY


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Seconds from a Retry-After header, given in seconds or as a date (RFC 9110 §10.2.3); None when unreadable."""
    if not header:
        return None
    text = header.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def words_of(body: bytes, headers: Mapping[str, str]) -> str | None:
    """Windsor's own `message` from a JSON answer, cut to a line; None when there is none."""
    import json

    if "json" not in headers.get("content-type", ""):
        return None
    try:
        message = json.loads(body).get("message")
    except (ValueError, AttributeError):
        return None
    return " ".join(message.split())[:300] if isinstance(message, str) and message.strip() else None
