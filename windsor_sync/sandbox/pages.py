"""The sandbox's pages: an overview, users with their properties, one user, the feed. Rendered here, no script."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from windsor_sync.sandbox.api import rows, where
from windsor_sync.sandbox.avatars import avatar_of
from windsor_sync.sandbox.faults import Faults
from windsor_sync.sandbox.guard import PAGE_POLICY
from windsor_sync.sandbox.receiver import Receiver
from windsor_sync.sandbox.records import User

_TEMPLATES = Path(__file__).parent / "templates"
_STYLES = (Path(__file__).parents[1] / "look.css", _TEMPLATES / "style.css")
_USERS_PER_PAGE = 50
_EVENTS_PER_PAGE = 100
_LONGEST_VALUE = 80


class Pages:
    """The routes that a person looks at."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._store = receiver.store
        self._templates = _environment()

    def routes(self) -> list[web.RouteDef]:
        """Return what is served where."""
        return [
            web.get("/", self.overview),
            web.get("/users", self.users),
            web.get("/users/{id:.+}", self.user),
            web.get("/feed", self.feed),
            web.get("/style.css", self.style),
        ]

    async def overview(self, request: web.Request) -> web.Response:
        """Counters, audiences, how to send something, and the faults in force."""
        return self._page(
            "overview.html",
            address=f"http://{request.headers['Host']}/",
            stats=self._store.stats(),
            booleans=sorted(self._store.booleans().items()),
            faults=_in_force(self._receiver.faults),
        )

    async def users(self, request: web.Request) -> web.Response:
        """Users in order of creation, searched and paged."""
        offset, limit = rows(request, default=_USERS_PER_PAGE)
        search = request.query.get("search", "")
        found, total = self._store.page_of_users(search, where(request), offset=offset, limit=limit)
        return self._page(
            "users.html",
            users=found,
            total=total,
            search=search,
            property=request.query.get("property"),
            value=request.query.get("value", "true"),
            paging=_paging(request, offset, limit, total),
        )

    async def user(self, request: web.Request) -> web.Response:
        """One user with everything known about it."""
        user = self._store.user(request.match_info["id"])
        if user is None:
            return self._page("missing.html", status=404)
        avatar = avatar_of(user.properties.get("avatar"))
        page = self._page("user.html", user=user, events=user.events[::-1], avatar=avatar)
        if avatar:
            page.headers["Content-Security-Policy"] = f"{PAGE_POLICY}; img-src {avatar.source}"
        return page

    async def feed(self, request: web.Request) -> web.Response:
        """The newest events first; page events only where `hidden=true` asks for them."""
        offset, limit = rows(request, default=_EVENTS_PER_PAGE)
        show_hidden = request.query.get("hidden") == "true"
        stats = self._store.stats()
        total = stats["events"] if show_hidden else stats["events"] - stats["hidden_events"]
        return self._page(
            "feed.html",
            events=self._store.feed(show_hidden=show_hidden, offset=offset, limit=limit),
            show_hidden=show_hidden,
            hidden=stats["hidden_events"],
            total=total,
            paging=_paging(request, offset, limit, total),
        )

    async def style(self, _request: web.Request) -> web.Response:
        """The style sheet of every page."""
        return web.Response(text="".join(sheet.read_text() for sheet in _STYLES), content_type="text/css")

    def _page(self, template: str, status: int = 200, **values: Any) -> web.Response:
        text = self._templates.get_template(template).render(values)
        # Ids may hold half a surrogate pair, which JSON can say and UTF-8 cannot.
        body = text.encode(errors="replace")
        return web.Response(body=body, status=status, content_type="text/html", charset="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "time": _time,
        "own_time": _own_time,
        "json": _json,
        "text": _text,
        "user_link": _user_link,
        "having": _having,
        "ordered": _ordered,
        "title": _title,
    }
    return environment


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _own_time(timestamp: str) -> str:
    """Return the timestamp of a message in UTC; a timestamp without a time zone is taken as UTC."""
    moment = datetime.fromisoformat(timestamp)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    except OverflowError:  # the first or the last day that a datetime can hold
        return timestamp


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text(value: object) -> str:
    """Return a property's value as people write it, cut where it would fill the page."""
    text = value if isinstance(value, str) else _json(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _user_link(user_id: str) -> str:
    return f"/users/{quote(user_id, safe='', errors='replace')}"


def _having(name: str, value: object) -> str:
    """Return the link to the users who have a property with this value."""
    return "/users?" + urlencode({"property": name, "value": json.dumps(value)}, errors="replace")


def _ordered(properties: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return properties by name, memberships before the rest."""
    return sorted(properties.items(), key=lambda item: (not isinstance(item[1], bool), item[0]))


def _title(user: User) -> str | None:
    """Return what a person would call this user, if anything says so."""
    for name in ("name", "email"):
        value = user.properties.get(name)
        if isinstance(value, str) and value:
            return value
    return None


def _paging(request: web.Request, offset: int, limit: int, total: int) -> dict[str, Any]:
    """Return the links to the pages before and after this one, and which rows it shows."""

    def link(to: int) -> str:
        return f"{request.path}?{urlencode({**request.query, 'offset': to}, errors='replace')}"

    return {
        "first": min(offset + 1, total),
        "last": min(offset + limit, total),
        "before": link(max(offset - limit, 0)) if offset > 0 else None,
        "after": link(offset + limit) if offset + limit < total else None,
    }


def _in_force(faults: Faults) -> dict[str, Any]:
    normal = Faults().as_json()
    return {name: value for name, value in faults.as_json().items() if value != normal[name]}
