"""Segment's Public API for tests: a real HTTP server on loopback that answers as its documentation says."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

TOKEN = "sgp_test_token"
SPACE = "spa_test"

Headers = dict[str, str]


class SegmentApi:
    """One workspace with one space; what it holds can be changed at any time."""

    def __init__(self) -> None:
        self.audiences: list[dict[str, Any]] = []
        self.computed_traits: list[dict[str, Any]] = []
        self.suppressed: list[str] = []
        self.suppressed_objects: list[str] = []
        self.requests: list[str] = []
        """path and query of every request, in order"""
        self.troubles: list[tuple[int, Headers, bytes]] = []
        """answers to the next requests, instead of the right ones"""
        self.is_down = False
        """every answer is 503"""
        self.next_cursor: str | None = None
        """a cursor to hand out on every page, as a broken server might"""
        self.most_a_page = 200

    def audience(self, name: str, key: str, number: str, **more: Any) -> dict[str, Any]:
        """Add an audience as the API shows it."""
        shown = {
            "id": f"aud_{number}",
            "spaceId": SPACE,
            "name": name,
            "key": key,
            "enabled": True,
            "status": "Live",
            "audienceType": "USERS",
            "computeCadence": {"type": "REALTIME"},
            "definition": {"type": "USERS", "query": "event('Order Completed').count() >= 1"},
            "createdBy": "someone",
            **more,
        }
        self.audiences.append(shown)
        return shown

    def computed_trait(self, name: str, key: str, number: str, **more: Any) -> dict[str, Any]:
        """Add a computed trait as the API shows it."""
        shown = {"id": f"tra_{number}", "spaceId": SPACE, "name": name, "key": key, "enabled": True, "status": "Live"}
        self.computed_traits.append({**shown, **more})
        return self.computed_traits[-1]

    def answer(self, target: str, authorization: str | None) -> tuple[int, Headers, bytes]:
        """Status, headers and body for a GET."""
        self.requests.append(target)
        if self.troubles:
            return self.troubles.pop(0)
        if self.is_down:
            return 503, {}, b"<html>Service Unavailable</html>"
        if authorization != f"Bearer {TOKEN}":
            return 401, {}, _errors("unauthorized", "Invalid token")
        parts = urlsplit(target)
        return self._found(unquote(parts.path), {key: values[-1] for key, values in parse_qs(parts.query).items()})

    def _found(self, path: str, query: dict[str, str]) -> tuple[int, Headers, bytes]:
        if path == "/suppressions":
            return self._page("suppressed", self._suppressions(), query)
        place = re.fullmatch(rf"/spaces/{SPACE}/(audiences|computed-traits)(?:/([^/]+))?", path)
        if place is None:
            return 404, {}, _errors("not-found", "Resource not found")
        is_audience = place[1] == "audiences"
        items = self.audiences if is_audience else self.computed_traits
        if place[2] is None:
            return self._page("audiences" if is_audience else "computedTraits", items, query)
        one = next((item for item in items if item["id"] == place[2]), None)
        if one is None:
            return 404, {}, _errors("not-found", "Resource not found")
        return _ok({"audience" if is_audience else "computedTrait": one})

    def _suppressions(self) -> list[dict[str, Any]]:
        users = [{"subjectType": "USER_ID", "subjectIds": [user]} for user in self.suppressed]
        return [*users, *({"subjectType": "OBJECT_ID", "subjectIds": [one]} for one in self.suppressed_objects)]

    def _page(self, name: str, items: list[dict[str, Any]], query: dict[str, str]) -> tuple[int, Headers, bytes]:
        count = query.get("pagination.count", "")
        if not count.isdigit() or not 1 <= int(count) <= 200:
            return 422, {}, _errors("validation", "pagination.count must be from 1 to 200")
        cursor = query.get("pagination.cursor")
        start = int(bytes.fromhex(cursor)) if cursor and cursor != self.next_cursor else 0
        end = start + min(int(count), self.most_a_page)
        pagination = {"current": cursor or _cursor(0), "totalEntries": len(items)}
        if end < len(items):
            pagination["next"] = _cursor(end)
        if self.next_cursor:
            pagination["next"] = self.next_cursor
        return _ok({name: items[start:end], "pagination": pagination, "someNewField": {}})

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(poll_interval=0.01))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    api: ClassVar[SegmentApi]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, headers, body = self.api.answer(self.path, self.headers.get("authorization"))
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""


def _cursor(start: int) -> str:
    return str(start).encode().hex()


def _ok(data: dict[str, Any]) -> tuple[int, Headers, bytes]:
    return 200, {"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "59"}, json.dumps({"data": data}).encode()


def _errors(kind: str, message: str) -> bytes:
    return json.dumps({"errors": [{"type": kind, "message": message}]}).encode()


@pytest.fixture
def segment_api() -> Iterator[SegmentApi]:
    """An empty workspace."""
    with SegmentApi() as api:
        yield api
