"""Orders items: those with a common ordering key go one after the other, all others side by side. Pure.

An item is first in an ordering key when all items that entered the key before it have left. It may go when it is first in all of
its ordering keys, or when only items that go in the same request are before it.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Ticket(Generic[T]):
    """An item's place in its ordering keys."""

    item: T
    ordering_keys: tuple[str, ...]
    number: int
    """ascending in the order of entering"""
    holder: object = None
    """the request it goes with; None while it waits"""
    is_aside: bool = False
    """an item before it was put off or left: it goes after that one, or not in this run"""
    is_lost: bool = False
    """set aside without a place to wait in: it does not go in this run"""


class Ordering(Generic[T]):
    """Queues by name. An ordering key is shut once one of its items is set aside: whatever comes later is set aside too."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Ticket[T]]] = {}
        self._shut: set[str] = set()
        self._dead: set[str] = set()
        """shut, and nothing can wait there any more: something before it does not go in this run"""
        self._numbers = count()
        self.aside = 0
        """items that are set aside and keep their places"""

    def __bool__(self) -> bool:
        """Whether anything is in an ordering key."""
        return bool(self._queues)

    def enter(self, item: T, names: Iterable[str], *, room: int) -> Ticket[T]:
        """Take the last place in each ordering key; in a shut key that is aside, and lost unless there is `room` for one."""
        ticket = Ticket(item, tuple(dict.fromkeys(names)), next(self._numbers))
        for name in ticket.ordering_keys:
            self._queues.setdefault(name, deque()).append(ticket)
        if not self._shut.isdisjoint(ticket.ordering_keys):
            self._set_aside(ticket, room=room)
        return ticket

    def may_go(self, ticket: Ticket[T], holder: object = None) -> bool:
        """Whether only items of `holder` are before it; without a holder, nothing at all."""
        return all(self._first_but(holder, name) is ticket for name in ticket.ordering_keys)

    def behind(self, ticket: Ticket[T]) -> Iterator[Ticket[T]]:
        """The next one in each of its ordering keys, after it and those that go with it; `may_go` tells who can join them."""
        for name in ticket.ordering_keys:
            following = self._first_but(ticket.holder, name)
            if following is not None and not following.is_aside:  # such a one goes again on its own
                yield following

    def leave(self, ticket: Ticket[T]) -> list[Ticket[T]]:
        """Give up its places for good; returns who may go now and could not before, in the order of entering."""
        self.aside -= ticket.is_aside
        freed = {}
        for name in ticket.ordering_keys:
            self._remove(ticket, name)
            first = self._first_but(None, name)
            if first is not None and first.holder is None and self.may_go(first):
                freed[first.number] = first
        return [first for _, first in sorted(freed.items())]

    def put_off(self, ticket: Ticket[T], *, room: int) -> list[Ticket[T]]:
        """Shut the ordering keys of an item that is tried again later; returns who is set aside behind it, in order.

        It keeps its places, and up to `room` of those behind it keep theirs.
        """
        followers = self._newly_aside_behind(ticket)
        self._keep(ticket)
        for follower in followers:
            self._set_aside(follower, room=room)
            room -= 1
        return followers

    def abandon(self, ticket: Ticket[T]) -> list[Ticket[T]]:
        """Close the ordering keys of an item that is not tried again in this run; returns who is set aside, and lost, behind."""
        followers = self._newly_aside_behind(ticket)
        self._lose(ticket)
        return followers

    def _first_but(self, holder: object, name: str) -> Ticket[T] | None:
        """The first item of an ordering key that `holder` does not hold."""
        for ticket in self._queues.get(name, ()):
            if holder is None or ticket.holder is not holder:
                return ticket
        return None

    def _newly_aside_behind(self, ticket: Ticket[T]) -> list[Ticket[T]]:
        return [other for other in self._all_behind(ticket) if not other.is_aside]

    def _all_behind(self, ticket: Ticket[T]) -> list[Ticket[T]]:
        """Return every item that waits for this one, directly or through another item, in the order of entering."""
        found = {ticket.number: ticket}
        ahead = [ticket.number]
        seen: set[str] = set()
        while ahead:  # the earliest first, so that each ordering key is looked at once, from its first one on
            this = found[heappop(ahead)]
            for name in set(this.ordering_keys) - seen:
                seen.add(name)
                for other in self._queues[name]:
                    if other.number > this.number and other.number not in found:
                        found[other.number] = other
                        heappush(ahead, other.number)
        return [found[number] for number in sorted(found)][1:]

    def _set_aside(self, ticket: Ticket[T], *, room: int) -> None:
        if room > 0 and self._dead.isdisjoint(ticket.ordering_keys):
            self._keep(ticket)
        elif not ticket.is_lost:
            self._lose(ticket)

    def _keep(self, ticket: Ticket[T]) -> None:
        self.aside += not ticket.is_aside
        ticket.is_aside, ticket.holder = True, None
        self._shut.update(ticket.ordering_keys)

    def _lose(self, ticket: Ticket[T]) -> None:
        """Take it out, and all that come after it in any ordering key: they would go before it otherwise."""
        for each in (ticket, *self._all_behind(ticket)):
            self.aside -= each.is_aside
            each.is_aside, each.is_lost, each.holder = True, True, None
            self._shut.update(each.ordering_keys)
            self._dead.update(each.ordering_keys)
            for name in each.ordering_keys:
                self._remove(each, name)

    def _remove(self, ticket: Ticket[T], name: str) -> None:
        queue = self._queues[name]
        if queue[0] is ticket:
            queue.popleft()
        else:
            queue.remove(ticket)
        if not queue:
            del self._queues[name]
