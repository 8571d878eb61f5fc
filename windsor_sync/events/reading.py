"""One line of the archive: what it says, whether it is valid and for Windsor, and the text it is sent as.

The rules are `spec`'s; here is only the way to them. A line that needs no putting right is parsed by orjson, three times
as fast as the standard library, and sent as the very text it came as. Whatever orjson will not read, or reads otherwise
(integers beyond 64 bits become floats), and whatever has to be changed, goes the slow way.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from windsor_sync.segment.calls import (
    MAX_MESSAGE_BYTES,
    Call,
    Refusal,
    encode,
    is_normal,
    message_id,
    normalise,
    parse_timestamp,
    utf8,
    validate,
)
from windsor_sync.segment.routing import Filtered, Routing

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIMES = ("originalTimestamp", "receivedAt", "sentAt")

MOST_LEVELS = 500
"""Of objects and lists within one another. orjson reads twice as many, and more than the standard library can."""


class Malformed(StrEnum):
    """The reason why a line is no message at all."""

    NOT_UTF8 = "malformed_utf8"
    NOT_JSON = "malformed_json"
    NOT_AN_OBJECT = "not_an_object"


class Event(NamedTuple):
    """A message that goes to Windsor, as the outbox keeps it."""

    message: str
    """JSON text, exactly as it will be sent"""
    call: str
    user_id: str | None
    anonymous_id: str | None
    previous_id: str | None
    """of an alias"""
    message_id: str
    moment_us: int | None
    """microseconds since 1970; None where the message has no readable time"""


Outcome = Event | Malformed | Refusal | Filtered


def read_event(line: bytes, routing: Routing) -> Outcome:
    """Read a line that has no white space around it; anything but an Event says why it goes nowhere."""
    try:
        message = orjson.loads(line)
    except orjson.JSONDecodeError:
        return read_slowly(line, routing)
    if type(message) is not dict:
        return Malformed.NOT_AN_OBJECT
    if len(line) > MAX_MESSAGE_BYTES or message.get("messageId") is None or not is_normal(message):
        return read_slowly(line, routing)
    if _is_too_deep(line, message):
        return Refusal.BAD_REQUEST
    refused = validate(message, len(line)) or routing.decide(message)
    return refused or _event(message, line.decode())


def read_slowly(line: bytes, routing: Routing) -> Outcome:
    """Read every line with the standard library."""
    try:
        text = line.decode()
        found = json.loads(text)
    except UnicodeDecodeError:
        return Malformed.NOT_UTF8
    except ValueError:
        return Malformed.NOT_JSON
    except RecursionError:
        return Refusal.BAD_REQUEST
    if not isinstance(found, dict):
        return Malformed.NOT_AN_OBJECT
    if _is_too_deep(line, found):
        return Refusal.BAD_REQUEST
    message = normalise(found)
    is_changed = not is_normal(found) or len(line) > MAX_MESSAGE_BYTES
    if message.get("messageId") is None:
        message["messageId"] = message_id("a line of the archive", text)
        is_changed = True
    refused = validate(message) or routing.decide(message)
    return refused or _event(message, encode(message).decode() if is_changed else text)


def _event(message: Mapping[str, Any], text: str) -> Event:
    call = message["type"]
    return Event(
        text,
        call,
        _storable(message.get("userId")),
        _storable(message.get("anonymousId")),
        _storable(message["previousId"]) if call == Call.ALIAS else None,
        _storable(message["messageId"]) or "",
        _moment_us(message),
    )


def _is_too_deep(line: bytes, message: Mapping[str, Any]) -> bool:
    """Whether whoever reads it later may not get down to its last level."""
    if line.count(b"{") + line.count(b"[") <= MOST_LEVELS:
        return False
    level: list[Any] = [message]
    for _ in range(MOST_LEVELS):
        inner = (each for one in level for each in (one.values() if isinstance(one, dict) else one))
        level = [each for each in inner if isinstance(each, dict | list)]
        if not level:
            return False
    return True


def _storable(text: str | None) -> str | None:
    """Half a surrogate pair, which no file can hold, as its JSON escape."""
    return text if text is None or text.isascii() else utf8(text).decode()


def _moment_us(message: Mapping[str, Any]) -> int | None:
    text = message.get("timestamp")
    if text is not None:  # it was validated
        return (parse_timestamp(text) - _EPOCH) // _MICROSECOND
    for field in _TIMES:
        try:
            return (parse_timestamp(message[field]) - _EPOCH) // _MICROSECOND
        except (KeyError, TypeError, ValueError):
            continue
    return None
