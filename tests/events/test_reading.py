"""One line of the archive: both ways to read it agree, and what needs no putting right is sent as it came."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windsor_sync.events.reading import Event, Malformed, Outcome, read_event, read_slowly
from windsor_sync.segment.calls import Refusal
from windsor_sync.segment.routing import Filtered, Routing

ROUTING = Routing()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
IDS = st.sampled_from(["u-1", "", "é", "\ud83d", None, 7, 1.0, 1.5, 2**70, True, [1], "m" * 99, "m" * 100])
MESSAGES = st.fixed_dictionaries(
    {"type": st.sampled_from(["track", "page", "identify", "group", "alias", "screen", "delete", None])},
    optional={
        **dict.fromkeys(("userId", "user_id", "anonymousId", "groupId", "previousId", "messageId", "UserID"), IDS),
        "event": st.sampled_from(["Order Completed", "", 7]),
        "timestamp": st.sampled_from(["2025-06-01T00:00:00.123456789Z", "2025-06-01", "yesterday", None, 1]),
        "sentAt": st.sampled_from(["2025-06-02T00:00:00Z", None, "soon"]),
        "traits": JSON,
        "properties": JSON,
        "context": JSON,
        "integrations": st.sampled_from([{}, {"All": False}, {"Windsor": {"option": 1}}, None, True]),
        "_metadata": JSON,
    },
)


def line(**fields: Any) -> bytes:
    return json.dumps({"type": "track", "event": "E", "userId": "u-1", "messageId": "m-1", **fields}).encode()


def read(text: bytes) -> Outcome:
    return read_event(text, ROUTING)


def sent(text: bytes) -> dict[str, Any]:
    outcome = read(text)
    assert isinstance(outcome, Event)
    found: dict[str, Any] = json.loads(outcome.message)
    return found


@given(MESSAGES, st.booleans())
def test_the_fast_way_reads_every_line_as_the_slow_one_does(message: dict[str, Any], is_ascii: bool) -> None:
    text = json.dumps(message, ensure_ascii=is_ascii).encode("utf-8", "backslashreplace")
    assert read_event(text, ROUTING) == read_slowly(text, ROUTING)


@given(st.binary(max_size=30) | st.text(max_size=30).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_end_in_one_bucket_on_both_ways(text: bytes) -> None:
    assert read_event(text, ROUTING) == read_slowly(text, ROUTING)
    assert isinstance(read_event(text, ROUTING), Malformed | Refusal)


@pytest.mark.parametrize(
    "text",
    [
        b'{"type": "page",  "userId":"u-1","messageId":"m","properties":{"big":123456789012345678901234567890}}',
        b'{"messageId":"m","properties":{"n":1.50,"e":1E2},"type":"page","anonymousId":"\\u0061"}',
        b'{"messageId":"m","type":"page","anonymousId":"a","_metadata":{"x":[]},"sentAt":null,"my_field":1}',
        b'{"messageId":"m","type":"page","anonymousId":"a","properties":{"half":"\\ud83d"}}',
    ],
)
def test_a_message_that_needs_no_putting_right_is_sent_as_the_very_text_it_came_as(text: bytes) -> None:
    outcome = read(text)
    assert isinstance(outcome, Event)
    assert outcome.message == text.decode()


def test_a_message_in_other_spellings_is_sent_in_the_specs() -> None:
    text = b'{"Type":"track","EVENT":"E","user_id":12345678901234567890123,"message-id":7,"sentAt":null}'
    assert sent(text) == {
        "type": "track",
        "event": "E",
        "userId": "12345678901234567890123",
        "messageId": "7",
        "sentAt": None,
    }


def test_a_missing_message_id_is_the_same_for_the_same_line_and_another_for_another() -> None:
    first, again, other = (sent(line(messageId=None, event=event))["messageId"] for event in ("A", "A", "B"))
    assert first == again != other


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"not json", Malformed.NOT_JSON),
        (b'{"type":"track"', Malformed.NOT_JSON),
        (b"[1]", Malformed.NOT_AN_OBJECT),
        (b"null", Malformed.NOT_AN_OBJECT),
        (b'{"type":"\xff"}', Malformed.NOT_UTF8),
        (b'{"a":' + b"[" * 5_000, Refusal.BAD_REQUEST),
        (line(properties={"x": float("nan")}), Refusal.BAD_REQUEST),
        (line(properties={"x": 7}).replace(b"7", b"1e999"), Refusal.BAD_REQUEST),
        (line(properties={"x": "y" * 33_000}), Refusal.MESSAGE_TOO_LARGE),
        (line(event=None), Refusal.EVENT_NOT_DEFINED),
        (line(integrations={"All": False}), Filtered.FILTERED_BY_INTEGRATIONS_OBJECT),
    ],
)
def test_what_goes_nowhere_says_why(text: bytes, code: str) -> None:
    assert read(text) is code


def test_a_large_text_of_a_small_message_is_sent_compact() -> None:
    text = json.dumps({"type": "page", "userId": "u", "messageId": "m", "properties": list(range(3))}, indent=20_000)
    assert read(text.encode()) is Refusal.PROPERTIES_NOT_OBJECT
    text = json.dumps({"type": "page", "userId": "u", "messageId": "m"}, indent=20_000)
    outcome = read(text.encode())
    assert isinstance(outcome, Event)
    assert outcome.message == '{"type":"page","userId":"u","messageId":"m"}'


@pytest.mark.parametrize(
    ("times", "moment_us"),
    [
        ({"timestamp": "1970-01-01T00:00:01.123456789Z"}, 1_123_456),
        ({"timestamp": "1970-01-01T01:00:00+01:00", "sentAt": "2025-06-01"}, 0),
        ({"originalTimestamp": "1970-01-01T00:00:02Z", "receivedAt": "1970-01-01T00:00:09Z"}, 2_000_000),
        ({"timestamp": None, "originalTimestamp": "soon", "receivedAt": "1970-01-01T00:00:03Z"}, 3_000_000),
        ({"sentAt": "1969-12-31T23:59:59Z"}, -1_000_000),
        ({"sentAt": None}, None),
    ],
)
def test_a_messages_place_is_its_timestamp_or_the_next_best_time(times: dict[str, Any], moment_us: int | None) -> None:
    outcome = read(line(**times))
    assert isinstance(outcome, Event)
    assert outcome.moment_us == moment_us


def test_only_an_alias_has_a_previous_id_and_half_a_pair_can_be_stored() -> None:
    outcome = read(line(previousId="a-1", userId="\ud83d"))
    assert isinstance(outcome, Event)
    assert (outcome.previous_id, outcome.user_id) == (None, "\\ud83d")
    alias = read(line(type="alias", previousId="a-1"))
    assert isinstance(alias, Event)
    assert alias.previous_id == "a-1"
