"""The six calls: what is refused and under which name, what is put right, and the bytes and ids that leave."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windsor_sync.segment.calls import (
    Call,
    Refusal,
    encode,
    is_normal,
    message_id,
    normalise,
    parse_timestamp,
    validate,
)

VALID: dict[Call, dict[str, Any]] = {
    Call.IDENTIFY: {"type": "identify", "userId": "u-1", "traits": {"email": "a@example.com"}},
    Call.TRACK: {"type": "track", "anonymousId": "a-1", "event": "Order Completed", "properties": {"revenue": 9.5}},
    Call.PAGE: {"type": "page", "userId": "u-1", "name": "Home", "category": "Docs", "properties": {"url": "/"}},
    Call.SCREEN: {"type": "screen", "userId": "u-1", "name": "Start"},
    Call.GROUP: {"type": "group", "userId": "u-1", "groupId": "g-1", "traits": {"plan": "pro"}},
    Call.ALIAS: {"type": "alias", "userId": "u-2", "previousId": "a-1"},
}
WITH_IDENTITY = [call for call in Call if call is not Call.ALIAS]
ABSENT = object()

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELD_NAMES = st.sampled_from(["type", "userId", "user_id", "UserID", "messageId", "message-id", "Event", "_type", "x"])
MESSAGES = st.dictionaries(FIELD_NAMES | st.text(), JSON, max_size=6)


def changed(call: Call, **fields: Any) -> dict[str, Any]:
    return {name: value for name, value in {**VALID[call], **fields}.items() if value is not ABSENT}


@pytest.mark.parametrize("call", Call)
def test_a_complete_call_is_accepted(call: Call) -> None:
    assert validate(VALID[call]) is None


@pytest.mark.parametrize("call", WITH_IDENTITY)
def test_either_id_is_enough_except_for_an_alias(call: Call) -> None:
    assert validate(changed(call, userId="u-1", anonymousId=ABSENT)) is None
    assert validate(changed(call, userId=None, anonymousId="a-1")) is None
    assert validate(changed(call, userId="u-1", anonymousId="a-1")) is None


@pytest.mark.parametrize("call", Call)
def test_what_is_optional_may_be_absent_or_null(call: Call) -> None:
    for field in ("traits", "properties", "context", "integrations", "name", "category", "timestamp", "messageId"):
        assert validate(changed(call, **{field: ABSENT})) is None
        assert validate(changed(call, **{field: None})) is None
    assert validate(changed(call, sentAt=None)) is None


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ({"userId": "u-1"}, Refusal.MISSING_TYPE),
        ({"type": None, "userId": "u-1"}, Refusal.MISSING_TYPE),
        ({"type": "", "userId": "u-1"}, Refusal.MISSING_TYPE),
        ({"type": "delete", "userId": "u-1"}, Refusal.INVALID_TYPE),
        ({"type": ["track"], "userId": "u-1"}, Refusal.INVALID_TYPE),
        *((changed(call, userId=ABSENT, anonymousId=ABSENT), Refusal.NO_USER_ANON_ID) for call in WITH_IDENTITY),
        *((changed(call, userId=None, anonymousId=None), Refusal.NO_USER_ANON_ID) for call in WITH_IDENTITY),
        (changed(Call.GROUP, groupId=ABSENT), Refusal.ID_REQUIRED),
        (changed(Call.GROUP, groupId=None), Refusal.ID_REQUIRED),
        (changed(Call.ALIAS, previousId=ABSENT), Refusal.ID_REQUIRED),
        (changed(Call.ALIAS, userId=ABSENT), Refusal.ID_REQUIRED),
        (changed(Call.ALIAS, userId=ABSENT, anonymousId="a-2"), Refusal.ID_REQUIRED),
        *((changed(call, userId=""), Refusal.ID_NOT_STRING) for call in Call),
        *((changed(call, userId=True), Refusal.ID_NOT_STRING) for call in Call),
        (changed(Call.TRACK, userId=["u"]), Refusal.ID_NOT_STRING),
        (changed(Call.IDENTIFY, userId={}), Refusal.ID_NOT_STRING),
        (changed(Call.TRACK, anonymousId=False), Refusal.ID_NOT_STRING),
        (changed(Call.TRACK, userId="", anonymousId="a-1"), Refusal.ID_NOT_STRING),
        (changed(Call.GROUP, groupId=""), Refusal.ID_NOT_STRING),
        (changed(Call.ALIAS, previousId=[]), Refusal.ID_NOT_STRING),
        (changed(Call.TRACK, event=ABSENT), Refusal.EVENT_NOT_DEFINED),
        (changed(Call.TRACK, event=None), Refusal.EVENT_NOT_DEFINED),
        (changed(Call.TRACK, event=""), Refusal.EVENT_NOT_DEFINED),
        (changed(Call.TRACK, event=7), Refusal.EVENT_NOT_STRING),
        (changed(Call.TRACK, event=False), Refusal.EVENT_NOT_STRING),
        (changed(Call.PAGE, name=""), Refusal.NAME_NOT_STRING),
        (changed(Call.SCREEN, name=1), Refusal.NAME_NOT_STRING),
        (changed(Call.PAGE, category=""), Refusal.CATEGORY_NOT_STRING),
        (changed(Call.SCREEN, category=["a"]), Refusal.CATEGORY_NOT_STRING),
        (changed(Call.IDENTIFY, traits=[]), Refusal.TRAITS_NOT_OBJECT),
        (changed(Call.GROUP, traits="plan"), Refusal.TRAITS_NOT_OBJECT),
        (changed(Call.TRACK, properties="x"), Refusal.PROPERTIES_NOT_OBJECT),
        (changed(Call.PAGE, properties=[1]), Refusal.PROPERTIES_NOT_OBJECT),
        (changed(Call.SCREEN, properties=0), Refusal.PROPERTIES_NOT_OBJECT),
        (changed(Call.TRACK, context=[]), Refusal.CONTEXT_NOT_OBJECT),
        (changed(Call.TRACK, integrations=True), Refusal.INTEGRATIONS_NOT_OBJECT),
        (changed(Call.TRACK, timestamp="yesterday"), Refusal.TIMESTAMP_NOT_ISO8601),
        (changed(Call.TRACK, timestamp=1700000000), Refusal.TIMESTAMP_NOT_ISO8601),
        (changed(Call.TRACK, messageId=["m"]), Refusal.MESSAGE_ID_NOT_STRING),
        (changed(Call.TRACK, messageId=""), Refusal.MESSAGE_ID_NOT_STRING),
        (changed(Call.TRACK, messageId="m" * 100), Refusal.MESSAGE_ID_TOO_LONG),
        (changed(Call.IDENTIFY, traits=dict.fromkeys(map(str, range(300)))), Refusal.TOO_MANY_TRAITS),
        (changed(Call.TRACK, properties={"text": "x" * 32_768}), Refusal.MESSAGE_TOO_LARGE),
        (changed(Call.TRACK, properties={"ratio": float("nan")}), Refusal.BAD_REQUEST),
        (changed(Call.TRACK, properties={"ratio": float("inf")}), Refusal.BAD_REQUEST),
    ],
)
def test_a_call_that_segment_would_refuse_is_refused_under_segments_name(
    message: dict[str, Any], refusal: Refusal
) -> None:
    assert validate(message) is refusal


def test_every_refusal_has_a_case_in_this_table() -> None:
    (table,) = test_a_call_that_segment_would_refuse_is_refused_under_segments_name.pytestmark
    assert {refusal for _, refusal in table.args[1]} == set(Refusal)


def test_the_codes_are_spelled_as_segments_delivery_overview_spells_them() -> None:
    assert {str(code) for code in Refusal} >= {
        *("no_user_anon_id", "id_required", "id_not_string", "event_not_defined", "event_not_string"),
        *("properties_not_object", "traits_not_object", "name_not_string", "category_not_string", "bad_request"),
        *("missing_type", "invalid_type"),
    }


def test_a_nesting_too_deep_for_json_is_refused_not_raised() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert validate(changed(Call.TRACK, properties={"deep": deep})) is Refusal.BAD_REQUEST


@pytest.mark.parametrize("letter", ["x", "é", "🎉"])
def test_a_message_of_32_kilobytes_is_refused_and_one_of_a_byte_less_is_sent(letter: str) -> None:
    def filled_to(size: int) -> dict[str, Any]:
        room = size - len(encode(changed(Call.TRACK, properties={"text": ""})))
        letters, rest = divmod(room, len(letter.encode()))
        return changed(Call.TRACK, properties={"text": letter * letters + "x" * rest})

    assert len(encode(filled_to(32_768))) == 32_768
    assert validate(filled_to(32_768)) is Refusal.MESSAGE_TOO_LARGE
    assert validate(filled_to(32_767)) is None


def test_299_traits_and_a_message_id_of_99_characters_are_accepted() -> None:
    assert validate(changed(Call.IDENTIFY, traits=dict.fromkeys(map(str, range(299))), messageId="m" * 99)) is None


@pytest.mark.parametrize("call", [Call.TRACK, Call.PAGE, Call.SCREEN])
def test_an_event_may_have_as_many_properties_as_fit_into_it(call: Call) -> None:
    """Segment takes 10,000 of them; the limit of 300 is one of traits."""
    most = changed(call, properties={f"{number:x}": 0 for number in range(4_000)})
    assert 30_000 < len(encode(most)) < 32_768
    assert validate(most) is None


@given(MESSAGES)
def test_any_object_gets_an_answer(message: dict[str, Any]) -> None:
    refusal = validate(normalise(message))
    assert refusal is None or refusal in Refusal


@given(MESSAGES)
def test_normalising_twice_is_normalising_once(message: dict[str, Any]) -> None:
    assert normalise(normalise(message)) == normalise(message)


@pytest.mark.parametrize("spelling", ["userId", "user_id", "UserID", "userid", "USER_ID", "User ID", "user-id"])
def test_a_field_is_known_in_any_casing(spelling: str) -> None:
    assert normalise({"Type": "track", spelling: "u-1", "EVENT": "E"}) == {
        "type": "track",
        "userId": "u-1",
        "event": "E",
    }


FIELDS = (
    *("type", "event", "name", "category", "traits", "properties", "context", "integrations", "version", "channel"),
    *("userId", "anonymousId", "groupId", "previousId", "projectId", "messageId"),
    *("timestamp", "originalTimestamp", "sentAt", "receivedAt"),
)


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_the_spec_is_known_with_underscores_and_in_capitals(field: str) -> None:
    with_underscores = re.sub("([A-Z])", r"_\1", field).lower()
    for spelling in (field, with_underscores, field.upper(), field.capitalize()):
        assert normalise({spelling: "x"}) == {field: "x"}


def test_only_the_top_level_is_respelled() -> None:
    message = {"type": "identify", "userId": "u-1", "traits": {"user_id": 1, "First_Name": "A"}, "my_field": 2}
    assert normalise(message) == message


def test_the_specs_spelling_wins_over_another_unless_it_is_null() -> None:
    assert normalise({"user_id": "other", "userId": "own"}) == {"userId": "own"}
    assert normalise({"userId": "own", "user_id": "other"}) == {"userId": "own"}
    assert normalise({"user_id": "other", "userId": None}) == {"userId": "other"}
    assert normalise({"userId": None, "user_id": "other"}) == {"userId": "other"}


def test_a_private_field_is_no_misspelling() -> None:
    assert normalise({"_type": "doc", "_metadata": {}}) == {"_type": "doc", "_metadata": {}}


@pytest.mark.parametrize("field", ["userId", "anonymousId", "previousId", "groupId", "messageId"])
@pytest.mark.parametrize(
    ("given_id", "text"),
    [
        *((1, "1"), (1.0, "1"), (0, "0"), (-0.0, "0"), (-7, "-7"), (1.5, "1.5"), (2**63, "9223372036854775808")),
        *((1e20, "100000000000000000000"), (1e21, "1e+21"), ("00123", "00123"), ("1e5", "1e5"), ("NA", "NA")),
    ],
)
def test_an_id_becomes_text_and_a_text_stays_itself(field: str, given_id: object, text: str) -> None:
    assert normalise({field: given_id}) == {field: text}


@pytest.mark.parametrize("bad", [True, False, [1], {"id": 1}, float("nan"), float("inf")])
def test_an_id_that_is_neither_text_nor_number_is_refused(bad: object) -> None:
    assert validate(normalise(changed(Call.TRACK, userId=bad))) is Refusal.ID_NOT_STRING


def test_a_message_id_over_the_limit_is_replaced_by_the_same_shorter_one_every_time() -> None:
    first, again, other = (normalise({"messageId": text})["messageId"] for text in ("m" * 100, "m" * 100, "n" * 100))
    assert first == again != other
    assert len(first) <= 99
    assert normalise({"messageId": "m" * 99}) == {"messageId": "m" * 99}


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2024-05-01T12:00:00.123456789Z", "2024-05-01T12:00:00.123456+00:00"),
        ("2024-05-01T12:00:00.1Z", "2024-05-01T12:00:00.100000+00:00"),
        ("2024-05-01T12:00:00+02:00", "2024-05-01T12:00:00+02:00"),
        ("2024-05-01T12:00:00", "2024-05-01T12:00:00+00:00"),
        ("2024-05-01", "2024-05-01T00:00:00+00:00"),
    ],
)
def test_a_timestamp_has_up_to_nine_fractional_digits_and_is_utc_without_a_zone(text: str, iso: str) -> None:
    assert parse_timestamp(text).isoformat() == iso
    assert validate(normalise(changed(Call.TRACK, timestamp=text))) is None
    assert normalise({"timestamp": text, "sentAt": None}) == {"timestamp": text, "sentAt": None}


def test_an_unreadable_timestamp_is_not_repeated_in_the_error() -> None:
    with pytest.raises(ValueError, match=r"^not an ISO-8601 time$"):
        parse_timestamp("someone@example.com")


@pytest.mark.parametrize("user_id", ["🎉", "a\x00b", 'say "hi"', "back\\slash", "line\nbreak", "\u2028", "00123", "é"])
def test_any_id_survives_the_wire(user_id: str) -> None:
    assert json.loads(encode(changed(Call.TRACK, userId=user_id)))["userId"] == user_id


@given(st.dictionaries(st.text(), JSON))
def test_what_is_sent_says_what_was_meant(message: dict[str, Any]) -> None:
    assert json.loads(encode(message).decode("utf-8")) == message


def test_a_message_is_compact_utf_8() -> None:
    assert encode({"a": "é", "b": [1, {"c": None}]}) == '{"a":"é","b":[1,{"c":null}]}'.encode()


def test_half_a_surrogate_pair_survives_as_its_json_escape() -> None:
    assert encode({"a": "\ud83d x"}) == b'{"a":"\\ud83d x"}'
    assert json.loads(encode({"a": "\ud83d x"})) == {"a": "\ud83d x"}


@pytest.mark.parametrize(
    ("parts", "pinned"),
    [
        (("a",), "0eb5b8d6f81bc677da8a08567cc4fa9a06a57e9ec8da85ed73a7f62727996002"),
        (
            ("vip", "u-1", "2025-06-01T03:00:00Z", "true"),
            "0406ff916be0d24d7fe4291bbf761cdf50a9f60d1f2677bcbc04eb9fda585d27",
        ),
        (("é🎉", '"', "\x00", ""), "9c2f8af8114b9c67ead8b99f7c84da9ac8298b1ad04e9829b5c522abe1055a55"),
        (("\ud83d",), "87492487d9849ebeb956b38f62bac51c8e1de46588a6d200a8dde4eeae10165f"),
    ],
)
def test_an_id_is_the_same_in_every_release(parts: tuple[str, ...], pinned: str) -> None:
    assert message_id(*parts) == "windsor_sync_" + pinned


@given(st.lists(st.text(max_size=4)), st.lists(st.text(max_size=4)))
def test_ids_are_equal_only_for_equal_parts(some: list[str], others: list[str]) -> None:
    assert (message_id(*some) == message_id(*others)) == (some == others)


def test_parts_cannot_be_cut_differently() -> None:
    ids = {
        message_id(*parts) for parts in [("a", "bc"), ("ab", "c"), ("abc",), ("a,b", "c"), ('a","b', "c"), ("abc", "")]
    }
    assert len(ids) == 6


@given(st.lists(st.text()))
def test_an_id_fits_segments_limit(parts: list[str]) -> None:
    assert len(message_id(*parts)) <= 99


@given(MESSAGES | st.dictionaries(FIELD_NAMES, st.text() | st.integers() | st.floats() | st.booleans()))
def test_a_message_is_normal_when_normalising_changes_nothing(message: dict[str, Any]) -> None:
    assert is_normal(message) == (repr(normalise(message)) == repr(message))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"type": "track", "userId": "u-1", "messageId": "m" * 99, "my_field": 1, "_private": 2}, True),
        ({"userId": None, "messageId": None}, True),
        ({"userId": True, "groupId": ["g"]}, True),  # no text can be made of them
        ({}, True),
        ({"user_id": "u-1"}, False),
        *(({field: 7}, False) for field in ("userId", "anonymousId", "previousId", "groupId", "messageId")),
        ({"userId": 1.5}, False),
        ({"userId": "u-1", "messageId": "m" * 100}, False),
    ],
)
def test_a_message_is_normal_when_its_names_and_ids_are_as_the_spec_has_them(
    message: dict[str, Any], expected: bool
) -> None:
    assert is_normal(message) is expected
    assert (normalise(message) == message) is expected


def test_a_message_that_is_sent_as_the_text_it_came_as_is_measured_by_that_text() -> None:
    message = VALID[Call.TRACK]
    assert validate(message, 32_767) is None
    assert validate(message, 32_768) is Refusal.MESSAGE_TOO_LARGE
    too_large_when_written_anew = changed(Call.TRACK, properties={"text": "x" * 32_768})
    assert validate(too_large_when_written_anew, 32_000) is None


@given(MESSAGES)
def test_a_size_that_is_known_spares_only_the_measuring(message: dict[str, Any]) -> None:
    assert validate(message, len(encode(message))) == validate(message)
