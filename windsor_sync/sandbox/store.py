"""The memory of the sandbox's Windsor: users with properties, group and events, the feed, every accepted message.

One thread applies messages while others may read: each public method holds the lock for as long as it takes and
hands out copies.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from typing import Any

from windsor_sync.sandbox.messages import Message, user_id_of
from windsor_sync.sandbox.records import Accepted, FeedEvent, SandboxGroup, Traffic, User, copy_of, event_of


class Merge(StrEnum):
    """Rules for a property that both merged users had, and for their group; Windsor does not publish its own."""

    KEEPS_NEW = "keeps-new"
    """the surviving user's value"""
    KEEPS_OLD = "keeps-old"
    """the merged-away user's value"""
    KEEPS_NEITHER = "keeps-neither"
    """no value, even where both had the same one"""

    def of(self, previous: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
        """Return the properties of the merged user."""
        match self:
            case Merge.KEEPS_NEW:
                return {**previous, **user}
            case Merge.KEEPS_OLD:
                return {**user, **previous}
            case Merge.KEEPS_NEITHER:
                return {
                    name: value for name, value in {**previous, **user}.items() if (name in previous) != (name in user)
                }


class Store:
    """Users, feed and accepted messages, in memory."""

    def __init__(self, *, merge: Merge = Merge.KEEPS_NEW, identify_merges: bool = False) -> None:
        """`identify_merges`: an identify with a user id and an anonymous id merges the anonymous user into the user."""
        self._merge_rule = merge
        self._identify_merges = identify_merges
        self._lock = threading.RLock()
        self.traffic = Traffic()
        self._forget()

    def _forget(self) -> None:
        self._users: dict[int, User] = {}  # by identity of the object, in order of creation
        self._by_user_id: dict[str, User] = {}
        self._by_anonymous_id: dict[str, User] = {}
        self._feed: list[FeedEvent] = []
        self._accepted: list[Accepted] = []
        self._times_seen: Counter[str] = Counter()

    def reset(self) -> None:
        """Forget everything, counters too."""
        with self._lock:
            self._forget()
            self.traffic = Traffic(in_flight=self.traffic.in_flight)

    def apply(self, message: Message, received_at: float) -> None:
        """Take one checked message.

        A repeated messageId is counted and applied again: Windsor documents no deduplication, so an old identify that
        comes late overwrites a newer one here too. Only an event is not written down twice.
        """
        call, message_id = message["type"], message.get("messageId")
        with self._lock:
            is_new = message_id is None or message_id not in self._times_seen
            if message_id is not None:
                self._times_seen[message_id] += 1
            self._accepted.append(Accepted(message_id, call, user_id_of(message), received_at))
            user = self._user_of(message, received_at)
            if call == "identify":
                if self._identify_merges and message.get("userId") and message.get("anonymousId"):
                    self._recognise(message["anonymousId"], user, received_at)
                user.properties.update(message.get("traits") or {})
            elif call == "group":
                user.group = SandboxGroup(message["groupId"], message.get("traits") or {})
            elif call == "alias":
                self._merge(message["previousId"], user, received_at)
            elif is_new:
                self._add_event(event_of(message, received_at), user)

    def _user_of(self, message: Message, received_at: float) -> User:
        """Return the message's user, made now if missing; a user id decides where both ids are given."""
        user_id = user_id_of(message)
        is_anonymous = not message.get("userId")
        known = self._by_anonymous_id if is_anonymous else self._by_user_id
        user = known.get(user_id)
        if user is None:
            user = known[user_id] = User(user_id, is_anonymous, received_at, received_at)
            self._users[id(user)] = user
        user.last_seen_at = max(user.last_seen_at, received_at)
        return user

    def _add_event(self, event: FeedEvent, user: User) -> None:
        user.events.append(event)
        self._feed.append(event)

    def _recognise(self, anonymous_id: str, user: User, at: float) -> None:
        """Make the anonymous user part of `user`; an anonymous id of a user with another user id stays theirs.

        The identify's own traits come after the merge, so they stand under every rule.
        """
        anonymous = self._by_anonymous_id.setdefault(anonymous_id, user)
        if anonymous.is_anonymous:
            self._absorb(anonymous, user, at)
        elif anonymous is user and anonymous_id not in (user.id, *user.merged_ids):
            user.merged_ids.append(anonymous_id)
            user.merged_at[anonymous_id] = at

    def _merge(self, previous_id: str, user: User, at: float) -> None:
        """Make the user of `previous_id` part of `user`, for good: the previous id names `user` from now on.

        A previous id nobody has seen is remembered, since calls may arrive out of order.
        """
        previous = self._by_user_id.get(previous_id) or self._by_anonymous_id.get(previous_id)
        if previous is user:
            return
        if previous is not None:
            self._absorb(previous, user, at)
        if previous_id not in user.merged_ids:
            user.merged_ids.append(previous_id)
        user.merged_at.setdefault(previous_id, at)
        for known in (self._by_user_id, self._by_anonymous_id):
            known.setdefault(previous_id, user)

    def _absorb(self, previous: User, user: User, at: float) -> None:
        user.properties = self._merge_rule.of(previous.properties, user.properties)
        groups = self._merge_rule.of(_group_of(previous), _group_of(user))
        user.group = groups.get("group")
        user.events = sorted(previous.events + user.events, key=lambda event: event.received_at)
        user.first_seen_at = min(previous.first_seen_at, user.first_seen_at)
        user.merged_at = {**previous.merged_at, previous.id: at, **user.merged_at}
        user.merged_ids += [name for name in (previous.id, *previous.merged_ids) if name not in user.merged_ids]
        self._rename(previous, user)

    def _rename(self, previous: User, user: User) -> None:
        del self._users[id(previous)]
        for known in (self._by_user_id, self._by_anonymous_id):
            for name in (previous.id, *previous.merged_ids):
                if known.get(name) is previous:
                    known[name] = user

    @property
    def accepted(self) -> list[Accepted]:
        """Every accepted message in order of arrival."""
        with self._lock:
            return list(self._accepted)

    def user(self, user_id: str) -> User | None:
        """Return the user whom this id names today, or None; a user id goes before the same anonymous id."""
        with self._lock:
            found = self._by_user_id.get(user_id) or self._by_anonymous_id.get(user_id)
            return None if found is None else copy_of(found)

    def users(self, search: str = "", where: dict[str, Any] | None = None) -> list[User]:
        """Return users in order of creation.

        `search`: part of an id, e-mail or name, in any case. `where`: properties they must have with just this value.
        """
        with self._lock:
            return [copy_of(user) for user in self._select(search.casefold(), where or {})]

    def page_of_users(self, search: str, where: dict[str, Any], *, offset: int, limit: int) -> tuple[list[User], int]:
        """Return `limit` users from `offset` on, and how many `users` would give."""
        with self._lock:
            if search or where:
                found = list(self._select(search.casefold(), where))
                return [copy_of(user) for user in found[offset : offset + limit]], len(found)
            return [copy_of(user) for user in islice(self._users.values(), offset, offset + limit)], len(self._users)

    def _select(self, search: str, where: dict[str, Any]) -> Iterator[User]:
        for user in self._users.values():
            if search and not _mentions(user, search):
                continue
            if all(_has(user, name, value) for name, value in where.items()):
                yield user

    def values(self, name: str) -> dict[str, Any]:
        """Return the value of one property by user id, for the users that have it, null included."""
        with self._lock:
            return {user.id: user.properties[name] for user in self._users.values() if name in user.properties}

    def booleans(self) -> dict[str, Counter[bool]]:
        """Return how many users have true and false in each property that is one or the other for somebody."""
        found: dict[str, Counter[bool]] = {}
        with self._lock:
            for user in self._users.values():
                for name, value in user.properties.items():
                    if isinstance(value, bool):
                        found.setdefault(name, Counter())[value] += 1
        return found

    def feed(self, *, show_hidden: bool = False, offset: int = 0, limit: int | None = None) -> list[FeedEvent]:
        """Return feed items, newest first by arrival."""
        with self._lock:
            shown = (event for event in reversed(self._feed) if show_hidden or not event.is_hidden)
            return list(islice(shown, offset, None if limit is None else offset + limit))

    def stats(self) -> dict[str, Any]:
        """Return the counters, ready for JSON."""
        with self._lock:
            accepted, distinct = len(self._accepted), len(self._times_seen)
            named = sum(self._times_seen.values())
            return {
                "users": len(self._users),
                "events": len(self._feed),
                "hidden_events": sum(event.is_hidden for event in self._feed),
                "accepted": accepted,
                "distinct_message_ids": distinct,
                "duplicates": named - distinct,
                "calls": dict(Counter(message.call for message in self._accepted)),
                "requests": self.traffic.requests,
                "answers": dict(self.traffic.answers),
                "in_flight": self.traffic.in_flight,
                "most_in_flight": self.traffic.most_in_flight,
            }


def _group_of(user: User) -> dict[str, SandboxGroup]:
    return {"group": user.group} if user.group is not None else {}


def _mentions(user: User, search: str) -> bool:
    texts = (user.id, user.properties.get("email"), user.properties.get("name"), *user.merged_ids)
    return any(isinstance(text, str) and search in text.casefold() for text in texts)


def _has(user: User, name: str, value: object) -> bool:
    """Tell whether a property has just this value; True is not 1."""
    found = user.properties.get(name, _ABSENT)
    return type(found) is type(value) and found == value


_ABSENT = object()
