"""The messages that this Windsor accepts on its two protocols, checked independently of the sender.

The sender validates too (`windsor_sync.segment`). A receiver that shared its code would share its mistakes.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn, TypeAlias

Message: TypeAlias = dict[str, Any]

CALLS = frozenset({"identify", "track", "page", "screen", "group", "alias"})

MAX_MESSAGE_BYTES = 32_767  # Segment's libraries keep a message strictly below 32,768 bytes
HOOK_ADDS_BYTES = 512  # Windsor's own library measures a message first, and then adds its name, a time and an id
MAX_BATCH_BYTES = 500 * 1024  # Windsor publishes no limit for its hook; this is Segment's own for a batch
MAX_MESSAGE_ID_CHARACTERS = 100

_HOOK_CALLS = {"user": "identify", "event": "track"}


class RefusedMessage(Exception):
    """Windsor does not take this request; none of its messages was applied."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def read_message(body: bytes) -> Message:
    """Return the one message of a `POST /`; raises Refusal (400, 413, 501)."""
    if len(body) > MAX_MESSAGE_BYTES:
        raise RefusedMessage(
            413, f"a message must be smaller than {MAX_MESSAGE_BYTES + 1} bytes, this one has {len(body)}"
        )
    message = _object(_json(body), "the body")
    _check(message)
    return message


def read_batch(body: bytes) -> list[Message]:
    """Return the messages of a `POST /hook/{token}` as the calls they stand for; raises Refusal (400, 413, 501).

    All or nothing, because one answer speaks for the whole batch. Windsor's own library puts 20 messages into a
    request by default but may be told any number, and sends what is still on its way along: only size is limited.
    """
    if len(body) > MAX_BATCH_BYTES:
        raise RefusedMessage(413, f"a batch may have {MAX_BATCH_BYTES} bytes at most, this one has {len(body)}")
    batch = _object(_json(body), "the body").get("batch")
    if not isinstance(batch, list) or not batch:
        raise RefusedMessage(400, "batch must be a list with at least one message")
    return [_hook_message(place, message, small=len(body) <= MAX_MESSAGE_BYTES) for place, message in enumerate(batch)]


def user_id_of(message: Mapping[str, Any]) -> str:
    """Return the id under which the message's user is known: the user id where there is one, else the anonymous id."""
    user_id: str = message.get("userId") or message["anonymousId"]
    return user_id


def _hook_message(place: int, given: object, *, small: bool) -> Message:
    """Return message `place` of a batch as an identify or track; `small`: the batch itself fits into one message."""
    try:
        message = _object(given, "it")
        call = message.get("type")
        if isinstance(call, str) and call not in _HOOK_CALLS:
            raise RefusedMessage(501, f"type {call[:40]!r} is not supported here, only user and event are")
        message = {**message, "type": _HOOK_CALLS.get(call) if isinstance(call, str) else call}
        _check(message)
    except RefusedMessage as refusal:
        raise RefusedMessage(refusal.status, f"message {place} of the batch: {refusal.message}") from None
    if not small and _size(message) > MAX_MESSAGE_BYTES + HOOK_ADDS_BYTES:
        raise RefusedMessage(
            413, f"message {place} of the batch has more than {MAX_MESSAGE_BYTES + HOOK_ADDS_BYTES} bytes"
        )
    return message


def _size(message: Message) -> int:
    """Return the bytes of a message that came as part of a batch, written without blanks."""
    return len(json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass"))


def _json(body: bytes) -> object:
    try:
        return _STRICT_JSON.decode(body.decode())
    except UnicodeDecodeError:
        raise RefusedMessage(400, "the body is not UTF-8") from None
    except (ValueError, RecursionError):
        raise RefusedMessage(400, "the body is not JSON") from None


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is Python's, not JSON's")


_STRICT_JSON = json.JSONDecoder(parse_constant=_not_json)


def _object(value: object, what: str) -> Message:
    if not isinstance(value, dict):
        raise RefusedMessage(400, f"{what} must be a JSON object")
    return value


def _check(message: Message) -> None:
    call = message.get("type")
    if not isinstance(call, str):
        raise RefusedMessage(400, "type is required and must be a string")
    if call not in CALLS:
        raise RefusedMessage(501, f"type {call[:40]!r} is not supported")
    _check_ids(message)
    _check_time(message)
    if call == "track":
        _require_text(message, "event")
    elif call == "group":
        _require_text(message, "groupId")
    elif call == "alias":
        _require_text(message, "userId")
        _require_text(message, "previousId")
    elif call != "identify":
        _allow(message, "name", str, "a string")
        _allow(message, "category", str, "a string")
    _allow(message, "traits" if call in {"identify", "group"} else "properties", dict, "an object")


def _check_ids(message: Message) -> None:
    for field in ("userId", "anonymousId", "messageId"):
        _allow(message, field, str, "a string")
    if not message.get("userId") and not message.get("anonymousId"):
        raise RefusedMessage(400, "userId or anonymousId is required")
    if len(message.get("messageId") or "") > MAX_MESSAGE_ID_CHARACTERS:
        raise RefusedMessage(400, f"messageId may have {MAX_MESSAGE_ID_CHARACTERS} characters at most")


def _check_time(message: Message) -> None:
    _allow(message, "timestamp", str, "a string")
    timestamp = message.get("timestamp")
    if timestamp is not None:
        try:
            datetime.fromisoformat(timestamp)
        except ValueError:
            raise RefusedMessage(400, "timestamp must be a time by ISO 8601") from None


def _require_text(message: Message, field: str) -> None:
    value = message.get(field)
    if not isinstance(value, str) or not value:
        raise RefusedMessage(400, f"{field} is required and must be a string")


def _allow(message: Message, field: str, kind: type, expected: str) -> None:
    """Refuse `field` when it is there and of another kind; null counts as absent."""
    value = message.get(field)
    if value is not None and not isinstance(value, kind):
        raise RefusedMessage(400, f"{field} must be {expected}")
