"""Segment's six calls: their fields, what makes one invalid, and the bytes and ids they travel with.

A message from outside goes through `normalise`, then `validate`, then `encode`.
"""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, TypeAlias

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

MAX_MESSAGE_BYTES = 32 * 1024 - 1  # Segment's libraries refuse a message of 32 KB, not only larger ones
MAX_TRAITS = 299  # "300 or more" on one of Segment's pages, "more than 300" on another
MAX_MESSAGE_ID_CHARACTERS = 99  # "100" on one of Segment's pages, "fewer than 100" on another

_ID_FIELDS = ("userId", "anonymousId", "previousId", "groupId", "messageId")
_TIME_FIELDS = ("timestamp", "originalTimestamp", "sentAt", "receivedAt")
_CONTENT_FIELDS = ("type", "event", "name", "category", "traits", "properties", "context", "integrations")
_FIELDS = frozenset((*_ID_FIELDS, *_TIME_FIELDS, *_CONTENT_FIELDS, "version", "channel", "projectId"))
_SPELLING = {field.lower(): field for field in _FIELDS}
_NO_SEPARATORS = str.maketrans("", "", "_- ")


class Call(StrEnum):
    """The call of a message; its `type`."""

    IDENTIFY = "identify"
    TRACK = "track"
    PAGE = "page"
    SCREEN = "screen"
    GROUP = "group"
    ALIAS = "alias"


class Refusal(StrEnum):
    """The reason why a message cannot be sent, in the words of Segment's Delivery Overview as far as it has one."""

    MISSING_TYPE = "missing_type"
    INVALID_TYPE = "invalid_type"
    NO_USER_ANON_ID = "no_user_anon_id"
    """Neither userId nor anonymousId."""
    ID_REQUIRED = "id_required"
    """A group without groupId, an alias without userId or previousId."""
    ID_NOT_STRING = "id_not_string"
    """An id that is empty, or neither text nor a number."""
    EVENT_NOT_DEFINED = "event_not_defined"
    EVENT_NOT_STRING = "event_not_string"
    NAME_NOT_STRING = "name_not_string"
    """Of a page or screen: present, but empty or not text. The same for its category."""
    CATEGORY_NOT_STRING = "category_not_string"
    TRAITS_NOT_OBJECT = "traits_not_object"
    PROPERTIES_NOT_OBJECT = "properties_not_object"
    BAD_REQUEST = "bad_request"
    """JSON cannot say it: not a number, infinity, or nested too deeply."""
    # The rest is ours: Segment states the rule and publishes no code for it.
    CONTEXT_NOT_OBJECT = "context_not_object"
    INTEGRATIONS_NOT_OBJECT = "integrations_not_object"
    TIMESTAMP_NOT_ISO8601 = "timestamp_not_iso8601"
    MESSAGE_ID_NOT_STRING = "message_id_not_string"
    MESSAGE_ID_TOO_LONG = "message_id_too_long"
    TOO_MANY_TRAITS = "too_many_traits"
    MESSAGE_TOO_LARGE = "message_too_large"


_OBJECT_FIELDS = (
    ("traits", Refusal.TRAITS_NOT_OBJECT),
    ("properties", Refusal.PROPERTIES_NOT_OBJECT),
    ("context", Refusal.CONTEXT_NOT_OBJECT),
    ("integrations", Refusal.INTEGRATIONS_NOT_OBJECT),
)
_TITLE_FIELDS = (("name", Refusal.NAME_NOT_STRING), ("category", Refusal.CATEGORY_NOT_STRING))
_CALLS: Mapping[str, Call] = {call.value: call for call in Call}
_REQUIRED_IDS: Mapping[Call, tuple[str, ...]] = {Call.GROUP: ("groupId",), Call.ALIAS: ("userId", "previousId")}


def normalise(message: Mapping[str, Any]) -> dict[str, Any]:
    """Bring a message from outside to the spec's spelling, with ids as text. Nothing is refused here; twice is once.

    Top-level fields are known in any case, with or without separators (`user_id`, `UserID`); of two spellings of one
    field the spec's own wins, unless it is null. Numbers become the ids that Segment's libraries make of them. A
    messageId over the limit is replaced by its hash: it serves only to recognise a repetition, and that still works.
    All else, null and nanoseconds included, stays as it came.
    """
    named: dict[str, Any] = {}
    for name, value in message.items():
        field = _spelled(name)
        if named.get(field) is None or (name == field and value is not None):
            named[field] = value
    for field in _ID_FIELDS:
        if field in named:
            named[field] = _id_text(named[field])
    own_id = named.get("messageId")
    if isinstance(own_id, str) and len(own_id) > MAX_MESSAGE_ID_CHARACTERS:
        named["messageId"] = message_id(own_id)
    return named


def is_normal(message: Mapping[str, Any]) -> bool:
    """Whether `normalise` would change nothing; nearly every message of an archive is, and this is fast to say."""
    if not message.keys() <= _FIELDS and any(_spelled(name) != name for name in message.keys() - _FIELDS):
        return False
    for field in _ID_FIELDS:
        value = message.get(field)
        if value is not None and type(value) is not str and _id_text(value) is not value:
            return False
    own_id = message.get("messageId")
    return not isinstance(own_id, str) or len(own_id) <= MAX_MESSAGE_ID_CHARACTERS


def _spelled(name: str) -> str:
    if name in _FIELDS or name.startswith("_"):  # _metadata and its like are nobody's misspelling
        return name
    return _SPELLING.get(name.translate(_NO_SEPARATORS).lower(), name)


def _id_text(value: Any) -> Any:
    """Return a number as JavaScript would print it (1.0 is "1"), anything else unchanged for `validate` to judge."""
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    return value


def validate(message: Mapping[str, Any], size_bytes: int | None = None) -> Refusal | None:
    """Say why Segment would refuse this message, or None; it is read as `normalise` leaves it.

    One reason is given, the first in the order type, ids, fields, limits. A field that is null counts as absent.
    `size_bytes` is the length of the JSON text it came as, when it is sent as that very text; else it is measured as
    `encode` writes it.
    """
    kind = message.get("type")
    if not kind:
        return Refusal.MISSING_TYPE
    call = _CALLS.get(kind) if isinstance(kind, str) else None
    if call is None:
        return Refusal.INVALID_TYPE
    return _id_refusal(call, message) or _field_refusal(call, message) or _limit_refusal(message, size_bytes)


def _id_refusal(call: Call, message: Mapping[str, Any]) -> Refusal | None:
    user_id, anonymous_id = message.get("userId"), message.get("anonymousId")
    if user_id is None and anonymous_id is None and call is not Call.ALIAS:
        return Refusal.NO_USER_ANON_ID
    given = [user_id, anonymous_id]
    for name in _REQUIRED_IDS.get(call, ()):
        if message.get(name) is None:
            return Refusal.ID_REQUIRED
        given.append(message[name])
    for value in given:
        if value is not None and not _is_text(value):
            return Refusal.ID_NOT_STRING
    return None


def _field_refusal(call: Call, message: Mapping[str, Any]) -> Refusal | None:
    if call is Call.TRACK and (refusal := _event_refusal(message.get("event"))):
        return refusal
    if call is Call.PAGE or call is Call.SCREEN:
        for field, refusal in _TITLE_FIELDS:
            if message.get(field) is not None and not _is_text(message[field]):
                return refusal
    for field, refusal in _OBJECT_FIELDS:
        value = message.get(field)
        if value is not None and type(value) is not dict and not isinstance(value, Mapping):
            return refusal
    if message.get("timestamp") is not None and not _is_timestamp(message["timestamp"]):
        return Refusal.TIMESTAMP_NOT_ISO8601
    return None


def _event_refusal(event: Any) -> Refusal | None:
    if event is None or event == "":
        return Refusal.EVENT_NOT_DEFINED
    return None if isinstance(event, str) else Refusal.EVENT_NOT_STRING


def _limit_refusal(message: Mapping[str, Any], size_bytes: int | None) -> Refusal | None:
    # Properties are as many as fit in: Segment's limit is 10,000 of them, and 32 KB have no room for those.
    if len(message.get("traits") or ()) > MAX_TRAITS:
        return Refusal.TOO_MANY_TRAITS
    own_id = message.get("messageId")
    if own_id is not None and not _is_text(own_id):
        return Refusal.MESSAGE_ID_NOT_STRING
    if own_id is not None and len(own_id) > MAX_MESSAGE_ID_CHARACTERS:
        return Refusal.MESSAGE_ID_TOO_LONG
    try:
        size = len(encode(message)) if size_bytes is None else size_bytes
    except (TypeError, ValueError, RecursionError):
        return Refusal.BAD_REQUEST
    return Refusal.MESSAGE_TOO_LARGE if size > MAX_MESSAGE_BYTES else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_timestamp(value: Any) -> bool:
    try:
        parse_timestamp(value)
    except (TypeError, ValueError):
        return False
    return True


def parse_timestamp(text: str) -> datetime:
    """Read an ISO-8601 time of a message, always with a zone: without one it is UTC.

    Segment writes up to nine fractional digits; what is finer than a microsecond is cut off. Raises ValueError.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:  # its text quotes the message
        raise ValueError("not an ISO-8601 time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def json_text(value: Any) -> str:
    """Write `value` as compact JSON; ValueError for what JSON cannot say (not a number, infinity)."""
    return _JSON.encode(value)


def utf8(text: str) -> bytes:
    """Encode JSON text; half a surrogate pair, which UTF-8 cannot hold, becomes its JSON escape and stays itself."""
    return text.encode("utf-8", "backslashreplace")


def encode(message: Mapping[str, Any]) -> bytes:
    """Write a message as it goes over the wire: compact JSON in UTF-8. Raises ValueError as `json_text` does."""
    return utf8(json_text(dict(message)))


def message_id(*parts: str) -> str:
    """Name a message by what it is about: the same parts give the same 77 characters in every process and release.

    Different parts give different ids, however they are cut: ("a", "bc") is not ("ab", "c").
    """
    return "windsor_sync_" + sha256(utf8(json_text(parts))).hexdigest()
