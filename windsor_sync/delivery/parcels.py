"""Rows of an outbox while they are delivered, and how far each has come."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from windsor_sync.delivery.lanes import Ticket
from windsor_sync.delivery.patience import RetryState
from windsor_sync.state.ledger import RowVerdict, Verdict


class Parcel(NamedTuple):
    """One row of an outbox on its way."""

    shard: int
    seq: int
    messages: tuple[bytes, ...]
    """none for a user who must not be told anything any more"""
    private: tuple[str | None, ...]
    """what Windsor's words must not repeat"""
    call: str = "identify"
    lanes: tuple[str, ...] = ()
    """it goes out after every earlier row that shares one of them; without lanes no order is kept"""
    goes_first: bool = False
    """whether it must be answered or set aside before any row without this flag is sent"""


@dataclass(slots=True, eq=False)
class Attempt:
    """A parcel that was taken from the outbox."""

    parcel: Parcel
    in_doubt: bool
    """some of its messages may have been applied, now or by an earlier try of the run"""
    struggle: RetryState
    ticket: Ticket["Attempt"] | None = None
    """its place in its lanes"""
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


class Letter(NamedTuple):
    """One message of an attempt, as the wire says it."""

    attempt: Attempt
    body: bytes
    is_last: bool


Letters = Sequence[Letter]


def requests_of(letters: Iterable[Letter], *, most: int, most_bytes: int) -> Iterator[Letters]:
    """Cut letters into the contents of requests, order kept; a letter that is too large goes alone."""
    request: list[Letter] = []
    size = 0
    for letter in letters:
        if request and (len(request) == most or size + len(letter.body) > most_bytes):
            yield request
            request, size = [], 0
        request.append(letter)
        size += len(letter.body)
    if request:
        yield request


def attempts_of(letters: Letters) -> list[Attempt]:
    """Return the attempts that the letters belong to, in order, each once."""
    return list(dict.fromkeys(letter.attempt for letter in letters))
