"""Windsor's two wires: a request comes in, its messages reach the store, an answer or a fault goes out."""

import asyncio
import hmac
import json
import math
import socket
import struct
import time
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus

from aiohttp import web

from windsor_sync.sandbox.faults import Fate, Faults, Outage
from windsor_sync.sandbox.guard import read_body
from windsor_sync.sandbox.injector import Injector, Try
from windsor_sync.sandbox.journal import SandboxJournal
from windsor_sync.sandbox.messages import Message, RefusedMessage, read_batch, read_message, user_id_of
from windsor_sync.sandbox.store import Store

DEFAULT_API_KEY = "sandbox"


class Receiver:
    """Answers `POST /` (one message, Basic auth) and `POST /hook/{token}` (a batch, the key in the path)."""

    def __init__(self, store: Store, api_key: str = DEFAULT_API_KEY, faults: Faults | None = None) -> None:
        self.store = store
        self.journal: SandboxJournal | None = None
        self._api_key = api_key
        self._injector = Injector(faults or Faults())

    @property
    def faults(self) -> Faults:
        """The faults in force; setting them starts their counts anew, from any thread."""
        return self._injector.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._injector = Injector(faults)

    def reset(self) -> None:
        """Forget users, feed, messages and counters, in the state file too; the faults stay."""
        self.store.reset()
        if self.journal is not None:
            self.journal.clear()

    async def webhook(self, request: web.Request) -> web.Response:
        """Take one message as Segment sends it to a partner."""
        return await self._counted(request, self._has_key, lambda body: [read_message(body)])

    async def hook(self, request: web.Request) -> web.Response:
        """Take a batch as Windsor's own library sends it: one answer for all of its messages."""
        return await self._counted(request, self._has_token, read_batch)

    async def _counted(
        self, request: web.Request, has_key: "_HasKey", read: Callable[[bytes], list[Message]]
    ) -> web.Response:
        self.store.traffic.begin()
        outcome = "interrupted"
        try:
            outcome, response = await self._receive(request, has_key, read)
        finally:
            self.store.traffic.end(outcome)
        return response

    async def _receive(
        self, request: web.Request, has_key: "_HasKey", read: Callable[[bytes], list[Message]]
    ) -> "_Outcome":
        injector = self._injector
        held_up = injector.admit()
        if held_up == Outage.RESET:
            return _reset(request, "reset")
        try:
            _pass(held_up)
            if not has_key(request):
                raise RefusedMessage(401, "the API key is missing or wrong")
            messages = read(await _json_body(request))
            self._reject(messages, injector.faults)
        except RefusedMessage as refusal:
            return _answer(refusal.status, refusal.message)
        this = injector.next_try(_name_of(messages))
        if this.fate.is_applied:
            self._apply(messages)
        if this.latency_s:
            await asyncio.sleep(this.latency_s)
        return _finish(request, this, injector.faults)

    def _has_key(self, request: web.Request) -> bool:
        """Tell whether the Authorization header is Basic with the key as user and no password."""
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        try:
            given = b64decode(credentials, validate=True)
        except ValueError:
            return False
        return hmac.compare_digest(given, f"{self._api_key}:".encode()) and scheme.lower() == "basic"

    def _has_token(self, request: web.Request) -> bool:
        given = request.match_info["token"].encode(errors="surrogatepass")
        return hmac.compare_digest(given, self._api_key.encode())

    def _reject(self, messages: list[Message], faults: Faults) -> None:
        """Raise Refusal for the first message that the faults in force refuse by its call or its user."""
        for message in messages:
            if message["type"] in faults.unsupported_calls:
                raise RefusedMessage(501, f"type {message['type']!r} is not supported")
            if faults.rejects(user_id_of(message)):
                # Real destinations repeat personal data in such texts: ours does so that tests can look for it.
                email = (message.get("traits") or {}).get("email", user_id_of(message))
                raise RefusedMessage(400, f"{email} is not a contact that can be updated")

    def _apply(self, messages: list[Message]) -> None:
        received_at = time.time()
        for message in messages:
            self.store.apply(message, received_at)
            if self.journal is not None:
                self.journal.note(message, received_at)


_HasKey = Callable[[web.Request], bool]
_Outcome = tuple[str, web.Response]  # how it is counted, and what is sent: nothing, when the connection is gone


def _pass(held_up: Outage | int | None) -> None:
    if held_up == Outage.UNAVAILABLE:
        raise RefusedMessage(503, "Windsor is down for maintenance")
    if held_up == 401:
        raise RefusedMessage(401, "the API key has been revoked")
    if held_up == 403:
        raise RefusedMessage(403, "the API key may not do this any more")


def _name_of(messages: list[Message]) -> str:
    """Return what tells one try of a request from a try of another: its first messageId."""
    first = messages[0]
    return first.get("messageId") or f"{first['type']} {user_id_of(first)}"


async def _json_body(request: web.Request) -> bytes:
    if request.content_type != "application/json":
        raise RefusedMessage(400, "Content-Type must be application/json")
    try:
        return await read_body(request)
    except web.HTTPRequestTimeout:
        raise RefusedMessage(408, "the body did not come in time") from None
    except web.HTTPRequestEntityTooLarge:
        raise RefusedMessage(413, "the body is larger than any message or batch may be") from None


def _finish(request: web.Request, this: Try, faults: Faults) -> _Outcome:
    """Send what the fate of this try says, or end the connection."""
    match this.fate:
        case Fate.BUSY:
            return _answer(429, "too many requests", _retry_after(faults))
        case Fate.ERROR | Fate.FALSE_ERROR:
            return _answer(this.error_status, HTTPStatus(this.error_status).phrase)
        case Fate.RESET:
            return _reset(request, "reset")
        case Fate.LOST_ANSWER:
            return _reset(request, "lost")
        case Fate.GARBAGE:
            return _garbage(request)
        case Fate.HTML:
            return "200", web.Response(text="<!doctype html><title>Welcome</title>", content_type="text/html")
        case Fate.NORMAL:
            return "200", web.Response(body=b"{}", content_type="application/json")


def _answer(status: int, message: str, headers: dict[str, str] | None = None) -> _Outcome:
    body = json.dumps({"message": message})
    return str(status), web.Response(status=status, text=body, content_type="application/json", headers=headers)


def _retry_after(faults: Faults) -> dict[str, str]:
    """Return the Retry-After header, if any; a fraction of a second is beyond HTTP, but keeps tests short."""
    if faults.retry_after_s is None:
        return {}
    if faults.retry_after_as_date:
        until = datetime.now(UTC) + timedelta(seconds=faults.retry_after_s)
        whole = datetime.fromtimestamp(math.ceil(until.timestamp()), UTC)
        return {"Retry-After": format_datetime(whole, usegmt=True)}
    return {"Retry-After": f"{faults.retry_after_s:g}"}


def _reset(request: web.Request, outcome: str) -> _Outcome:
    """End the connection so that the peer sees a reset, not an orderly end."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return outcome, web.Response()


def _garbage(request: web.Request) -> _Outcome:
    if request.transport is not None:
        assert isinstance(request.transport, asyncio.Transport)
        request.transport.write(b"\x15\x03\x01 windsor-gateway: upstream said nothing\r\n\r\n")
        request.transport.close()
    return "garbage", web.Response()
