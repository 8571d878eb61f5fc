"""The identify that Engage would send, and the template that writes it quickly."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windsor_sync.segment.calls import encode, message_id, validate
from windsor_sync.segment.identify import ComputationClass, EngageComputation, IdentifyTemplate, Identity, identify
from windsor_sync.segment.trait_keys import TraitKey, key_problem

DORMANT = EngageComputation(TraitKey("dormant_shoppers"), "aud_1aB", ComputationClass.AUDIENCE, "spa_2hZq")
REVENUE = EngageComputation(TraitKey("total_revenue_180_days"), "tra_7xY", ComputationClass.TRAIT, "spa_2hZq")
KNOWN = Identity("u-1", None, "a@example.com")
NOON = datetime(2025, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ANY_TEXT = st.text(min_size=1) | st.text(st.characters(), min_size=1)  # half surrogate pairs included
IDENTITIES = st.builds(
    lambda ids, email: Identity(ids[0], ids[1], email),
    st.tuples(ANY_TEXT, st.none() | ANY_TEXT) | st.tuples(st.none(), ANY_TEXT),
    st.none() | st.text(),
)
KEYS = ANY_TEXT.filter(lambda key: key_problem(key) is None).map(TraitKey)
MOMENTS = st.datetimes(
    datetime(1900, 1, 1),  # noqa: DTZ001
    datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-11))]),
)


def sent(computation: EngageComputation, identity: Identity, value: Any) -> dict[str, Any]:
    return identify(computation, identity, value, message_id="m-1", timestamp=NOON)


@pytest.mark.parametrize("is_member", [True, False])
def test_a_membership_change_is_the_identify_that_engage_sends(is_member: bool) -> None:
    assert sent(DORMANT, KNOWN, is_member) == {
        "type": "identify",
        "userId": "u-1",
        "traits": {"dormant_shoppers": is_member, "email": "a@example.com"},
        "context": {
            "personas": {
                "computation_class": "audience",
                "computation_id": "aud_1aB",
                "computation_key": "dormant_shoppers",
                "namespace": "spa_2hZq",
                "space_id": "spa_2hZq",
            },
            "library": {"name": "windsor_sync"},
        },
        "integrations": {"All": False, "Windsor": True},
        "messageId": "m-1",
        "timestamp": "2025-06-01T12:00:00.123Z",
    }


@pytest.mark.parametrize("value", [450.0, 5, "shoes", ["a", "b"], {"sku": "x"}, True, 0, "", None])
def test_a_computed_trait_carries_its_value_and_null_overwrites(value: Any) -> None:
    message = sent(REVENUE, KNOWN, value)
    assert message["traits"] == {"total_revenue_180_days": value, "email": "a@example.com"}
    assert message["context"]["personas"]["computation_class"] == "trait"


@pytest.mark.parametrize(
    ("value", "kind"), [("true", "str"), (1, "int"), (0, "int"), (None, "NoneType"), ([], "list"), ({}, "dict")]
)
def test_a_membership_that_is_not_a_boolean_is_never_sent(value: Any, kind: str) -> None:
    what = rf"'dormant_shoppers'.* boolean, not {kind}$"
    with pytest.raises(TypeError, match=what):
        sent(DORMANT, KNOWN, value)
    with pytest.raises(TypeError, match=what):
        IdentifyTemplate(DORMANT).render(KNOWN, value, message_id="m-1", timestamp=NOON)


@pytest.mark.parametrize(
    ("identity", "ids", "email"),
    [
        (Identity("u-1", None, None), {"userId": "u-1"}, {}),
        (Identity(None, "a-1", None), {"anonymousId": "a-1"}, {}),
        (Identity("u-1", "a-1", "a@example.com"), {"userId": "u-1", "anonymousId": "a-1"}, {"email": "a@example.com"}),
        (Identity("u-1", None, ""), {"userId": "u-1"}, {}),
    ],
)
def test_only_what_is_known_of_a_user_is_sent(identity: Identity, ids: dict[str, str], email: dict[str, str]) -> None:
    message = sent(DORMANT, identity, True)
    assert {name: message[name] for name in ("userId", "anonymousId") if name in message} == ids
    assert message["traits"] == {"dormant_shoppers": True, **email}


@pytest.mark.parametrize("ids", [(None, None), ("", None), ("", "a-1"), ("u-1", "")])
def test_an_identity_without_an_id_or_with_an_empty_one_cannot_exist(ids: tuple[str | None, str | None]) -> None:
    user_id, anonymous_id = ids
    with pytest.raises(ValueError, match="needs a user id or an anonymous id") as refused:
        Identity(user_id, anonymous_id, "someone@example.com")
    assert "someone" not in str(refused.value)


@pytest.mark.parametrize("key", ["email", "Email", "userId", ""])
def test_a_computation_on_a_key_that_none_may_have_cannot_exist(key: str) -> None:
    with pytest.raises(ValueError, match="trait key"):
        EngageComputation(TraitKey(key), "tra_1", ComputationClass.TRAIT, "spa_1")


def test_a_timestamp_is_utc_in_milliseconds_and_never_guessed() -> None:
    nepal = timezone(timedelta(hours=5, minutes=45))
    message = identify(DORMANT, KNOWN, True, message_id="m", timestamp=datetime(2025, 1, 1, 0, 0, tzinfo=nepal))
    assert message["timestamp"] == "2024-12-31T18:15:00.000Z"
    with pytest.raises(ValueError, match="time zone"):
        identify(DORMANT, KNOWN, True, message_id="m", timestamp=datetime(2025, 1, 1))  # noqa: DTZ001


@given(KEYS, st.text(), st.text(), IDENTITIES, JSON, st.text(), MOMENTS)
def test_the_template_writes_the_bytes_of_the_identify_for_a_trait(
    key: TraitKey, computation_id: str, space: str, identity: Identity, value: Any, own_id: str, moment: datetime
) -> None:
    computation = EngageComputation(key, computation_id, ComputationClass.TRAIT, space)
    written = IdentifyTemplate(computation).render(identity, value, message_id=own_id, timestamp=moment)
    message = identify(computation, identity, value, message_id=own_id, timestamp=moment)
    assert written == encode(message)
    assert json.loads(written) == json.loads(encode(message))


@given(KEYS, IDENTITIES, st.booleans(), MOMENTS)
def test_the_template_writes_the_bytes_of_the_identify_for_an_audience(
    key: TraitKey, identity: Identity, is_member: bool, moment: datetime
) -> None:
    computation = EngageComputation(key, "aud_1", ComputationClass.AUDIENCE, "spa_1")
    own_id = message_id(key, str(is_member))
    written = IdentifyTemplate(computation).render(identity, is_member, message_id=own_id, timestamp=moment)
    message = identify(computation, identity, is_member, message_id=own_id, timestamp=moment)
    assert written == encode(message)
    assert json.loads(written)["traits"][key] is is_member
    assert validate(message) is None
