"""The sandbox's state as JSON, for tests and scripts; needs no key."""

import json
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from windsor_sync.errors import ConfigError
from windsor_sync.sandbox.faults import Faults
from windsor_sync.sandbox.guard import read_body
from windsor_sync.sandbox.receiver import Receiver
from windsor_sync.sandbox.records import FeedEvent, User

_MOST_ROWS = 10_000


class Api:
    """The routes below `/api/`."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._store = receiver.store

    def routes(self) -> list[web.RouteDef]:
        """Return what is served where."""
        return [
            web.get("/api/users", self.users),
            web.get("/api/users/{id:.+}", self.user),
            web.get("/api/feed", self.feed),
            web.get("/api/messages", self.messages),
            web.get("/api/stats", self.stats),
            web.get("/api/faults", self.faults),
            web.put("/api/faults", self.set_faults),
            web.post("/api/reset", self.reset),
        ]

    async def users(self, request: web.Request) -> web.Response:
        """`?search=&property=&value=&offset=&limit=`: users in order of creation, and how many there are in all."""
        offset, limit = rows(request, default=100)
        found, total = self._store.page_of_users(
            request.query.get("search", ""), where(request), offset=offset, limit=limit
        )
        return web.json_response({"users": [user_json(user) for user in found], "total": total})

    async def user(self, request: web.Request) -> web.Response:
        """One user by any of its ids, with its events in order."""
        user = self._store.user(request.match_info["id"])
        if user is None:
            return web.json_response({"message": "no such user"}, status=404)
        return web.json_response({**user_json(user), "events": [event_json(event) for event in user.events]})

    async def feed(self, request: web.Request) -> web.Response:
        """`?hidden=true&offset=&limit=`: the feed, newest first."""
        offset, limit = rows(request, default=100)
        events = self._store.feed(show_hidden=request.query.get("hidden") == "true", offset=offset, limit=limit)
        return web.json_response({"feed": [event_json(event) for event in events]})

    async def messages(self, request: web.Request) -> web.Response:
        """`?offset=&limit=`: accepted messages in order of arrival."""
        offset, limit = rows(request, default=1000)
        accepted = self._store.accepted
        return web.json_response(
            {
                "messages": [
                    {
                        "messageId": one.message_id,
                        "type": one.call,
                        "userId": one.user_id,
                        "receivedAt": one.received_at,
                    }
                    for one in accepted[offset : offset + limit]
                ],
                "total": len(accepted),
            }
        )

    async def stats(self, _request: web.Request) -> web.Response:
        """Return every counter of the sandbox."""
        return web.json_response(self._store.stats())

    async def faults(self, _request: web.Request) -> web.Response:
        """The faults in force."""
        return web.json_response(self._receiver.faults.as_json())

    async def set_faults(self, request: web.Request) -> web.Response:
        """Take over the faults in the body, all others off; `{}` ends them. 400 changes nothing."""
        try:
            self._receiver.faults = Faults.parse(await read_body(request))
        except ConfigError as error:
            return web.json_response({"message": str(error)}, status=400)
        return await self.faults(request)

    async def reset(self, request: web.Request) -> web.Response:
        """Forget users, feed, messages and counters."""
        self._receiver.reset()
        return await self.stats(request)


def rows(request: web.Request, default: int) -> tuple[int, int]:
    """Return the offset and limit a request asks for; raises a 400 where they are not counts."""
    offset, limit = request.query.get("offset", "0"), request.query.get("limit", str(default))
    if not (_is_count(offset) and _is_count(limit)):
        text = json.dumps({"message": "offset and limit must be whole numbers"})
        raise web.HTTPBadRequest(text=text, content_type="application/json")
    return int(offset), min(int(limit), _MOST_ROWS)


def where(request: web.Request) -> dict[str, Any]:
    """Return the property and value a request asks for; a value that is no JSON is text."""
    if "property" not in request.query:
        return {}
    value = request.query.get("value", "true")
    try:
        return {request.query["property"]: json.loads(value)}
    except (ValueError, RecursionError):
        return {request.query["property"]: value}


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 16


def user_json(user: User) -> dict[str, Any]:
    """Return a user without its events."""
    return {
        "id": user.id,
        "anonymous": user.is_anonymous,
        "properties": user.properties,
        "group": None if user.group is None else {"id": user.group.id, "traits": user.group.traits},
        "event_count": len(user.events),
        "merged_ids": user.merged_ids,
        "first_seen_at": _time(user.first_seen_at),
        "last_seen_at": _time(user.last_seen_at),
    }


def event_json(event: FeedEvent) -> dict[str, Any]:
    """Return an event as the feed shows it."""
    return {
        "type": event.call,
        "name": event.name,
        "user_id": event.user_id,
        "properties": event.properties,
        "timestamp": event.timestamp,
        "received_at": _time(event.received_at),
        "message_id": event.message_id,
        "hidden": event.is_hidden,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
