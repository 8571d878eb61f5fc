"""Segment's Public API: what it says of a space's audiences and computed traits, and which users it suppresses.

It lists no members. Only GET requests are made, and only over HTTPS (plain HTTP on loopback); redirects are not followed.
Fields that are new to us are ignored and missing ones are None. No URL is logged: a cursor of the suppression list may
hold a user id.
"""

import asyncio
import json
import math
import random
import time
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import httpx

from windsor_sync.errors import ConfigError, CredentialsRefused, SegmentUnavailable
from windsor_sync.http.client import FAILURES, Client
from windsor_sync.http.connection import Received
from windsor_sync.http.locations import shown_location
from windsor_sync.http.times import retry_after_s
from windsor_sync.segment.identify import ComputationClass

PAGE = 200
"""Entries a page, the most Segment gives."""

MOST_PAGES = 50_000
"""Ten million entries: far above any space or suppression list, so that a server which never stops is left."""

MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Of one page; 200 audiences with their definitions are far below it."""

_EPOCH_S = 1_000_000_000  # a number above this is a moment, one below it a number of seconds


@dataclass(frozen=True, slots=True)
class ApiRetryPolicy:
    """The bounds of one question: how long it may take."""

    tries: int = 4
    first_wait_s: float = 0.5
    """before the second try; doubled before each further one, unless Segment says how long to wait"""
    longest_wait_s: float = 90.0
    """a longer wait than this is not waited for; Segment's limits are per minute"""
    timeout_s: float = 10.0
    """to connect, and for the next bytes of an answer"""
    longest_answer_s: float = 60.0
    """for the whole of one answer"""


@dataclass(frozen=True, slots=True)
class Described:
    """An audience or computed trait as Segment describes it."""

    computation_class: ComputationClass
    id: str
    name: str
    key: str | None
    status: str | None
    """Segment's own word: Live, Computing, Not Computing …"""
    cadence: str | None
    """BATCH or REALTIME; audiences only"""
    audience_type: str | None
    """USERS, ACCOUNTS or LINKED; audiences only"""
    users: int | None
    """how many users it has; None where Segment counts something else, or nothing"""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


_NO_ANSWER = _Answer(0, MappingProxyType({}), b"")

_LISTS = {
    ComputationClass.AUDIENCE: ("audiences", "audiences", "audience"),
    ComputationClass.TRAIT: ("computed-traits", "computedTraits", "computedTrait"),
}
"""Part of the path, name of a list and name of a single one in the answer."""


class PublicApi:
    """Asks Segment. Once it could not be reached it is not asked again by this object: a run of many audiences goes on."""

    def __init__(self, url: str, token: str, retry_policy: ApiRetryPolicy | None = None) -> None:
        if not token.isascii() or not token.isprintable() or " " in token or not token:
            raise ConfigError(
                "The token for Segment's Public API is not one line of plain letters (it is not shown). Nothing was sent. "
                "Copy it again from Segment's workspace settings, Access Management, Tokens."
            )
        self._url = url.rstrip("/")
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        self._retry_policy = retry_policy or ApiRetryPolicy()
        self._runner = asyncio.Runner()
        self._client: Client | None = None
        self._gave_up: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close()
        self._runner.close()

    def computations(self, space: str) -> Iterator[Described]:
        """Every audience of the space, then every computed trait."""
        for kind, (path, listed, _) in _LISTS.items():
            for item in self._pages(f"/spaces/{quote(space, safe='')}/{path}", listed):
                if described := _described(kind, item):
                    yield described

    def computation(self, space: str, kind: ComputationClass, computation_id: str) -> Described:
        """One audience or computed trait by its id; raises ConfigError when the space has none of that id."""
        path, _, single = _LISTS[kind]
        data = self._read(f"/spaces/{quote(space, safe='')}/{path}/{quote(computation_id, safe='')}", {})
        item = data.get(single)
        described = _described(kind, item) if isinstance(item, dict) else None
        if described is None:
            raise self._not_understood()
        return described

    def suppressed_users(self) -> Iterator[str]:
        """The user id of everybody the workspace suppresses, a page at a time."""
        for item in self._pages("/suppressions", "suppressed"):
            subjects = item.get("subjectIds")
            if item.get("subjectType") == "USER_ID" and isinstance(subjects, list):
                yield from (str(subject) for subject in subjects if isinstance(subject, str | int))

    def _pages(self, path: str, listed: str) -> Iterator[dict[str, Any]]:
        """The entries of every page. A cursor that comes a second time, or pages without end, raise SegmentUnavailable."""
        query: dict[str, str] = {"pagination.count": str(PAGE)}
        seen: set[str] = set()
        for _ in range(MOST_PAGES):
            data = self._read(path, query)
            items = data.get(listed)
            if not isinstance(items, list):
                raise self._not_understood()
            yield from (item for item in items if isinstance(item, dict))
            pagination = data.get("pagination")
            cursor = pagination.get("next") if isinstance(pagination, dict) else None
            if not cursor:
                return
            if not isinstance(cursor, str) or cursor in seen:
                break
            seen.add(cursor)
            query["pagination.cursor"] = cursor
        raise self._give_up("its pages never end: a cursor came twice, or too many came")

    def _read(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """The `data` of an answer, after as many tries as our retry policy allows."""
        if self._gave_up:
            raise SegmentUnavailable(self._gave_up)
        retry_policy = self._retry_policy
        request = httpx.Request(
            "GET",
            self._url + path + ("?" + urlencode(query) if query else ""),
            headers=self._headers,
        )
        for attempt in range(retry_policy.tries):
            answer = self._sent(request)
            if not _is_passing(answer.status):
                return self._data(answer)
            wait_s = _wait_s(answer.headers) or random.uniform(0.5, 1.0) * retry_policy.first_wait_s * 2**attempt  # noqa: S311
            if attempt == retry_policy.tries - 1 or wait_s > retry_policy.longest_wait_s:
                break
            time.sleep(wait_s)
        raise self._give_up(f"it answered {answer.status}" if answer.status else "no complete answer came")

    def _sent(self, request: httpx.Request) -> _Answer:
        """The answer to one request; status 0 stands for none, for half of one and for one too long or too slow."""
        try:
            received = self._run(self._receive(request))
        except FAILURES:
            return _NO_ANSWER
        if len(received.body) >= MAX_ANSWER_BYTES:
            return _NO_ANSWER
        return _Answer(received.status, httpx.Headers(received.headers), received.body)

    async def _receive(self, request: httpx.Request) -> Received:
        retry_policy = self._retry_policy
        self._client = self._client or Client(connections=1, timeout_s=retry_policy.timeout_s)
        within_s = retry_policy.longest_answer_s
        return await self._client.receive(request, within_s=within_s, kept_bytes=MAX_ANSWER_BYTES)

    def _run(self, asking: Coroutine[Any, Any, Received]) -> Received:
        """Run in our own event loop, and in another thread where this one has a loop already (a notebook)."""
        if not _has_loop():
            return self._runner.run(asking)
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._runner.run, asking).result()

    def _data(self, answer: _Answer) -> dict[str, Any]:
        if answer.status != 200:
            raise _refusal(answer.status, shown_location(answer.headers.get("location"), self._url))
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            document = None
        data = document.get("data") if isinstance(document, dict) else None
        if not isinstance(data, dict):
            raise self._not_understood()
        return data

    def _not_understood(self) -> SegmentUnavailable:
        return self._give_up("its answer is not what its documentation says")

    def _give_up(self, why: str) -> SegmentUnavailable:
        self._gave_up = (
            f"Segment's Public API cannot be asked: {why}. Nothing in Segment or Windsor was changed by asking. Try again "
            "later; if this lasts, look at status.segment.com and at segment.url or segment.region in windsor.yaml."
        )
        return SegmentUnavailable(self._gave_up)


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _is_passing(status: int) -> bool:
    return status in (0, 408, 423, 429) or status >= 500


def _wait_s(headers: Mapping[str, str]) -> float | None:
    """Return how long Segment asks us to wait: `Retry-After`, else `X-RateLimit-Reset` in seconds or as a moment."""
    asked = retry_after_s(headers.get("retry-after"), datetime.now(UTC))
    if asked is None:
        asked = retry_after_s(headers.get("x-ratelimit-reset"), datetime.now(UTC))
        if asked is not None and asked > _EPOCH_S:
            asked -= time.time()
    return max(asked, 0.0) if asked is not None and math.isfinite(asked) else None


def _refusal(status: int, location: str | None = None) -> ConfigError | CredentialsRefused:
    """Return a lasting refusal in our words with a remedy; Segment's own words are not repeated."""
    if status in (401, 403):
        meaning = "does not know the token, or it has expired" if status == 401 else "does not let the token read this"
        return CredentialsRefused(
            f"Segment's Public API {meaning} ({status}). Nothing was sent. Make a token in Segment's workspace settings, Access "
            "Management, Tokens, that may read the space's audiences and computed traits and the workspace's suppressions (a "
            "Workspace Owner's may), and put it into the Airflow connection that segment.connection names or, outside Airflow, "
            "into the variable SEGMENT_PUBLIC_API_TOKEN."
        )
    if status == 404:
        finding = "knows no such space, audience or computed trait (404)"
        remedy = "Compare `space` and the ids in windsor.yaml with the addresses in Segment, and segment.region with its region"
    elif 300 <= status < 400:
        finding = f"is redirected ({status}){f' to {location}' if location else ''}"
        remedy = "If that is Segment's, put it into segment.url, without what stands behind the host's name"
    else:
        finding = f"refused the question ({status})"
        remedy = "Compare segment.region, segment.url and `space` in windsor.yaml with your workspace"
    return ConfigError(f"Segment's Public API {finding}. Nothing was sent. {remedy}.")


def _described(kind: ComputationClass, item: Mapping[str, Any]) -> Described | None:
    """One entry; None for one without an id."""
    computation_id = _text(item.get("id"))
    if computation_id is None:
        return None
    cadence = item.get("computeCadence")
    return Described(
        computation_class=kind,
        id=computation_id,
        name=_text(item.get("name")) or computation_id,
        key=_text(item.get("key")),
        status=_text(item.get("status")) or ("Disabled" if item.get("enabled") is False else None),
        cadence=_text(cadence.get("type")) if isinstance(cadence, dict) else _text(cadence),
        audience_type=_text(item.get("audienceType")),
        users=_users(item.get("size")),
    )


def _users(size: object) -> int | None:
    """Return how many different users a size counts; accounts and entities are no users."""
    if not isinstance(size, dict) or size.get("type", "USERS") != "USERS":
        return None
    counts = (size.get("uniqueCount"), size.get("count"))
    return next(
        (count for count in counts if isinstance(count, int) and not isinstance(count, bool) and count >= 0), None
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None
