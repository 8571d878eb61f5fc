"""An answer of Windsor's → what to do about the message. The table of the design, and nothing else.

Sources: the subscription webhook's status codes, and Segment's own rule that 4xx are final except 408, 423 and 429,
and 5xx are tried again except 501.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from windsor_sync.http.connection import Hearing

NOT_IMPLEMENTED = 501
"""Windsor does not take calls of this type."""
PROXY_REFUSES = 407
"""A proxy on the way wants credentials; Windsor never saw the request."""


class Decision(StrEnum):
    """The decision after an answer."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    """set this message aside, go on"""
    UNSUPPORTED = "unsupported"
    """Windsor does not take this type of call: set all of them aside for this run"""
    WAIT = "wait"
    """Windsor asks for time for this message"""
    SLOW_DOWN = "slow_down"
    """Windsor asks for time for all of them: everybody sends more slowly"""
    RETRY = "retry"
    """it may or may not have been applied"""
    STOP = "stop"
    """the key was refused, or the address is another one: every further request would fail too"""

    @property
    def is_final(self) -> bool:
        """Whether the message has its answer; Windsor is there and deals with messages."""
        return self in (Decision.DELIVERED, Decision.REJECTED, Decision.UNSUPPORTED)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request."""

    status: int
    """0 when there was no answer"""
    retry_after_s: float | None = None
    message: str | None = None
    """Windsor's words as they came (they may repeat what is private), or the kind of failure"""
    was_sent: bool = True
    """whether the request may have reached Windsor"""
    is_page: bool = False
    """HTML: written for people, by whatever stands in Windsor's place; or nothing that can be told from it"""
    location: str | None = None
    """where a redirect points to"""
    hearing: Hearing | None = field(default=None, compare=False, repr=False)
    """of the connection over which it came"""


def decide(answer: Answer) -> Decision:
    """The verdict table.

    Windsor documents no body for 200 and 202, so none is asked for: `OK`, `{}` and nothing at all are a yes. A page is
    not: proxies, login walls and mistyped addresses answer 200 to everything.
    """
    status = answer.status
    if 200 <= status < 300:
        return Decision.RETRY if answer.is_page else Decision.DELIVERED
    if status in (401, 403, PROXY_REFUSES) or 300 <= status < 400:
        return Decision.STOP  # redirects are not followed, and no message is to blame for one
    if status == 429:
        return Decision.SLOW_DOWN
    if status in (408, 423):
        return Decision.WAIT
    if status == NOT_IMPLEMENTED:
        return Decision.UNSUPPORTED
    if 400 <= status < 500:
        return Decision.REJECTED
    return Decision.RETRY


def judges_address(status: int | None) -> bool:
    """Whether a refusal is about where a message went rather than about what it says."""
    return status is not None and (300 <= status < 400 or status in (404, 405, 410))


def may_have_been_applied(answer: Answer) -> bool:
    """Whether an answer that is not a yes leaves the message in doubt: lost answers and 5xx do, refusals do not.

    A 408 does too: destinations built on Segment's framework answer it when they run out of time themselves.
    """
    return answer.was_sent and (answer.status == 408 or decide(answer) is Decision.RETRY)


def words_of(body: bytes, headers: Mapping[str, str]) -> str | None:
    """Windsor's own `message` from a JSON answer, just as it is; None when there is none."""
    if "json" not in headers.get("content-type", "").lower():
        return None
    try:
        message = json.loads(body).get("message")
    except (ValueError, AttributeError, RecursionError):
        return None
    return message if isinstance(message, str) and message.strip() else None


def is_page(body: bytes, headers: Mapping[str, str]) -> bool:
    """Whether an answer is markup and says so; text that a server merely labels as HTML is not."""
    return "html" in headers.get("content-type", "").lower() and body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
