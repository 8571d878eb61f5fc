"""Rows of an outbox while they are delivered, and how far each has come."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from windsor_sync.delivery.ordering import Ticket
from windsor_sync.delivery.retry_policy import RetryState
from windsor_sync.state.ledger import RowVerdict, Verdict


class PendingRow(NamedTuple):
    """One row of an outbox on its way."""

    shard: int
    seq: int
    messages: tuple[bytes, ...]
    """none for a user who must not be told anything any more"""
    private: tuple[str | None, ...]
    """what Windsor's words must not repeat"""
    call: str = "identify"
    ordering_keys: tuple[str, ...] = ()
    """it goes out after every earlier row that shares one of them; without ordering keys no order is kept"""
    goes_first: bool = False
    """whether it must be answered or set aside before any row without this flag is sent"""


@dataclass(slots=True, eq=False)
class Attempt:
    """A row that was taken from the outbox."""

    row: PendingRow
    in_doubt: bool
    """some of its messages may have been applied, now or by an earlier try of the run"""
    retry_state: RetryState
    ticket: Ticket["Attempt"] | None = None
    """its place in its ordering keys"""
    waits: bool = False
    """behind an earlier row of its user"""
    was_refused_with_others: bool = False
    """Windsor does not say whether it applied a part of a batch that it refused: in doubt until judged alone"""
    owed: RowVerdict | None = None
    """recorded when it was put off"""
    is_suspect: bool = False
    """an answer to it came over a connection that was a step behind: no further answer makes it sure"""
    sure: Verdict | None = None
    """delivered or rejected, as recorded"""
    is_settled: bool = False
    """it has a verdict, or will be tried again later: nothing more of it goes out now"""

    @property
    def may_be_applied(self) -> bool:
        """Whether a yes that nobody heard cannot be ruled out."""
        return self.in_doubt or self.was_refused_with_others


class PendingMessage(NamedTuple):
    """One message of an attempt, as the wire says it."""

    attempt: Attempt
    body: bytes
    is_last: bool


PendingMessages = Sequence[PendingMessage]


def requests_of(messages: Iterable[PendingMessage], *, most: int, most_bytes: int) -> Iterator[PendingMessages]:
    """Cut messages into the contents of requests, order kept; a message that is too large goes alone."""
    request: list[PendingMessage] = []
    size = 0
    for message in messages:
        if request and (len(request) == most or size + len(message.body) > most_bytes):
            yield request
            request, size = [], 0
        request.append(message)
        size += len(message.body)
    if request:
        yield request


def attempts_of(messages: PendingMessages) -> list[Attempt]:
    """Return the attempts that the messages belong to, in order, each once."""
    return list(dict.fromkeys(message.attempt for message in messages))
