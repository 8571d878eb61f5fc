"""Which messages of the archive go to Windsor, and the code of the filter that stops the others."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windsor_sync.segment.calls import Call
from windsor_sync.segment.routing import Filtered, Routing

NO = Filtered.FILTERED_BY_INTEGRATIONS_OBJECT
EVERY_CALL = [call.value for call in Call]


def message(call: str = "track", **fields: Any) -> dict[str, Any]:
    return {"type": call, "userId": "u-1", **fields}


def engage(call: str = "identify", key: Any = "vip", **personas: Any) -> dict[str, Any]:
    """Engage's own call about a trait key."""
    content = {"traits": {"vip": True}} if call == "identify" else {"event": "Audience Entered", "properties": {}}
    context = {"personas": {"computation_key": key, "computation_class": "audience", **personas}}
    return message(call, **content, context=context, integrations={"All": False, "Windsor": True})


TRUTH_TABLE = [
    ({}, None),
    ({"All": True}, None),
    ({"All": False}, NO),
    ({"All": False, "Windsor": True}, None),
    ({"All": True, "Windsor": False}, NO),
    ({"Windsor": False}, NO),
    ({"All": False, "Windsor": {"list": "a"}}, None),
    ({"All": False, "Windsor": {}}, None),
    ({"All": False, "windsor": True}, NO),
    ({"All": False, "WINDSOR": True}, NO),
    ({"all": False}, NO),
    ({"ALL": False, "Windsor": {}}, None),
    ({"aLL": False, "All": True}, NO),
    ({"all": "false"}, None),
    ({"windsor": False}, None),
    ({"Salesforce": False}, None),
    ({"All": False, "Salesforce": True, "Warehouses": {"all": False}}, NO),
    ({"All": False, "Windsor": True, "Warehouses": {"all": False}}, None),
]


@pytest.mark.parametrize("call", EVERY_CALL)
@pytest.mark.parametrize(("integrations", "expected"), TRUTH_TABLE)
def test_the_integrations_object_decides_as_segment_says(
    call: str, integrations: dict[str, Any], expected: Filtered | None
) -> None:
    assert Routing().decide(message(call, integrations=integrations)) is expected


def test_a_message_without_an_integrations_object_goes_to_every_destination() -> None:
    assert Routing().decide(message()) is None
    assert Routing().decide(message(integrations=None)) is None


@pytest.mark.parametrize("odd", [True, 1, "none", ["Windsor"]])
def test_integrations_that_are_no_object_say_nothing(odd: Any) -> None:
    assert Routing().decide(message(integrations=odd)) is None


@pytest.mark.parametrize("odd", [None, 0, 1, "", "false", "true", [], ["x"], 0.0])
def test_a_value_that_is_neither_boolean_nor_options_says_nothing(odd: Any) -> None:
    assert Routing().decide(message(integrations={"Windsor": odd})) is None
    assert Routing().decide(message(integrations={"All": odd})) is None
    assert Routing().decide(message(integrations={"All": False, "Windsor": odd})) is NO
    assert Routing().decide(message(integrations={"All": odd, "Windsor": False})) is NO


@pytest.mark.parametrize("call", EVERY_CALL)
def test_a_call_that_the_wire_cannot_say_is_unsupported_even_when_it_is_switched_off_too(call: str) -> None:
    others = frozenset(EVERY_CALL) - {call}
    assert Routing(supported=others).decide(message(call)) is Filtered.UNSUPPORTED_EVENT_TYPE
    assert Routing(supported=others, calls=others).decide(message(call)) is Filtered.UNSUPPORTED_EVENT_TYPE
    assert Routing(calls=others).decide(message(call)) is Filtered.CALL_SWITCHED_OFF


@pytest.mark.parametrize("kind", ["delete", "Track", "", None, 1, [], {}])
def test_what_is_none_of_the_six_calls_is_unsupported(kind: Any) -> None:
    assert Routing().decide({"type": kind, "userId": "u-1"}) is Filtered.UNSUPPORTED_EVENT_TYPE
    assert Routing().decide({"userId": "u-1"}) is Filtered.UNSUPPORTED_EVENT_TYPE


def test_the_settings_own_enumeration_switches_calls_on() -> None:
    routing = Routing(calls=frozenset((Call.TRACK,)))
    assert routing.decide(message("track")) is None
    assert routing.decide(message("page")) is Filtered.CALL_SWITCHED_OFF


CONSENT = [
    ({"advertising": True, "analytics": True}, True),
    ({"advertising": True, "analytics": True, "other": False}, True),
    ({"advertising": True, "analytics": False}, False),
    ({"advertising": True}, False),
    ({}, False),
    ({"advertising": True, "analytics": "true"}, False),
    ({"advertising": True, "analytics": 1}, False),
    ({"advertising": True, "analytics": None}, False),
    (None, False),
    ([], False),
]


@pytest.mark.parametrize(("preferences", "is_given"), CONSENT)
def test_every_category_of_windsor_needs_consent(preferences: Any, is_given: bool) -> None:
    routing = Routing(consent_categories=("advertising", "analytics"))
    decided = routing.decide(message(context={"consent": {"categoryPreferences": preferences}}))
    assert decided is (None if is_given else Filtered.FILTERED_BY_END_USER_CONSENT)


@pytest.mark.parametrize("context", [None, {}, {"consent": None}, {"ip": "::1"}, "text"])
def test_without_a_consent_object_nothing_is_enforced(context: Any) -> None:
    assert Routing(consent_categories=("advertising",)).decide(message(context=context)) is None


@pytest.mark.parametrize("consent", [{}, "yes", [], True, {"categoryPreferences": "all"}])
def test_consent_that_cannot_be_read_gives_none(consent: Any) -> None:
    decided = Routing(consent_categories=("advertising",)).decide(message(context={"consent": consent}))
    assert decided is Filtered.FILTERED_BY_END_USER_CONSENT


def test_a_destination_mapped_to_no_category_gets_everything() -> None:
    assert Routing().decide(message(context={"consent": {"categoryPreferences": {"advertising": False}}})) is None


def test_consent_does_not_overrule_the_integrations_object_nor_it_a_missing_consent() -> None:
    routing = Routing(consent_categories=("a",))
    given = {"consent": {"categoryPreferences": {"a": True}}}
    withheld = {"consent": {"categoryPreferences": {"a": False}}}
    windsor = {"All": False, "Windsor": True}
    assert routing.decide(message(context=given, integrations={"All": False})) is NO
    assert routing.decide(message(context=withheld, integrations=windsor)) is Filtered.FILTERED_BY_END_USER_CONSENT


@pytest.mark.parametrize("call", ["identify", "track"])
@pytest.mark.parametrize("kind", ["audience", "trait", "computed_trait", "journey_step"])
def test_engages_own_call_about_a_synced_key_is_not_sent_twice(call: str, kind: str) -> None:
    routing = Routing(synced_keys=frozenset(("vip", "revenue")))
    assert routing.decide(engage(call, computation_class=kind)) is Filtered.SYNCED_FROM_SNAPSHOTS
    assert routing.decide(engage(call, "another_audience", computation_class=kind)) is None
    assert Routing().decide(engage(call, computation_class=kind)) is None


def test_engages_own_call_is_known_by_its_id_too_where_the_key_here_is_another() -> None:
    routing = Routing(synced_ids=frozenset(("aud_1",)))
    assert routing.decide(engage(computation_id="aud_1")) is Filtered.SYNCED_FROM_SNAPSHOTS
    assert routing.decide(engage(computation_id="aud_2")) is None
    assert routing.decide(engage()) is None


@pytest.mark.parametrize("own_id", [None, 1, ["aud_1"], {"aud_1": True}])
def test_an_engage_call_without_a_readable_id_is_known_by_its_key_alone(own_id: Any) -> None:
    both = Routing(synced_keys=frozenset(("vip",)), synced_ids=frozenset(("aud_1",)))
    assert both.decide(engage(computation_id=own_id)) is Filtered.SYNCED_FROM_SNAPSHOTS
    assert both.decide(engage(key="other", computation_id=own_id)) is None


def test_engages_call_about_an_account_is_sent_because_snapshots_say_nothing_about_accounts() -> None:
    assert Routing(synced_keys=frozenset(("vip",))).decide({**engage(), "type": "group", "groupId": "g-1"}) is None


def test_a_customers_own_identify_with_a_trait_of_that_name_is_not_engages() -> None:
    assert Routing(synced_keys=frozenset(("vip",))).decide(message("identify", traits={"vip": True})) is None


def test_an_engage_call_for_other_destinations_is_counted_as_that() -> None:
    call = {**engage(), "integrations": {"All": False, "Braze": True}}
    assert Routing(synced_keys=frozenset(("vip",))).decide(call) is NO


@pytest.mark.parametrize("key", [None, 1, ["vip"], {"vip": True}])
def test_an_engage_call_without_a_readable_key_is_sent(key: Any) -> None:
    assert Routing(synced_keys=frozenset(("vip",))).decide(engage(key=key)) is None


@pytest.mark.parametrize("call", [*EVERY_CALL, "delete"])
def test_nothing_about_a_suppressed_user_is_sent_whatever_else_stops_it(call: str) -> None:
    routing = Routing(frozenset(), frozenset(), ("a",), frozenset(("vip",)), frozenset({"u-1"}))
    theirs = message(call, integrations={"All": False}, context={"consent": {}})
    assert routing.decide(theirs) is Filtered.SUPPRESSED
    assert routing.decide({**theirs, "userId": "u-2"}) is not Filtered.SUPPRESSED


def test_a_suppressed_anonymous_id_is_a_users_own_only_where_there_is_no_user_id() -> None:
    routing = Routing(suppressed=frozenset({"a-1"}))
    assert routing.decide(message(userId=None, anonymousId="a-1")) is Filtered.SUPPRESSED
    assert routing.decide(message(userId="u-1", anonymousId="a-1")) is None


def test_an_alias_of_a_suppressed_user_is_not_sent_to_either_side() -> None:
    routing = Routing(suppressed=frozenset({"u-old"}))
    assert routing.decide(message("alias", userId="u-new", previousId="u-old")) is Filtered.SUPPRESSED
    assert routing.decide(message("alias", userId="u-old", previousId="a-1")) is Filtered.SUPPRESSED
    assert routing.decide(message("alias", userId="u-new", previousId="a-1")) is None
    assert routing.decide(message("track", previousId="u-old")) is None


def test_a_suppressed_id_counts_as_written_case_and_zeros_included() -> None:
    routing = Routing(suppressed=frozenset({"0aB"}))
    assert routing.decide(message(userId="0aB")) is Filtered.SUPPRESSED
    assert [routing.decide(message(userId=other)) for other in ("0ab", "aB", " 0aB", None)] == [None] * 4


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
VERDICTS = st.sampled_from([True, False, None, {}, {"a": 1}, 0, "x"])
INTEGRATIONS = st.dictionaries(st.sampled_from(["All", "all", "Windsor", "windsor", "Other"]), VERDICTS)
PERSONAS = st.fixed_dictionaries({}, optional={"computation_key": st.just("vip") | JSON, "computation_class": JSON})
PREFERENCES = st.dictionaries(st.sampled_from(["a", "b"]), st.booleans() | JSON)
CONSENTS = st.fixed_dictionaries({}, optional={"categoryPreferences": PREFERENCES | JSON})
CONTEXTS = st.fixed_dictionaries({}, optional={"consent": CONSENTS | JSON, "personas": PERSONAS | JSON})
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(EVERY_CALL) | JSON,
        "userId": st.sampled_from(["u-1", "\ud800"]) | JSON,
        "previousId": st.just("u-1") | JSON,
        "integrations": INTEGRATIONS | JSON,
        "context": CONTEXTS | JSON,
    },
)
CALL_SETS = st.frozensets(st.sampled_from(EVERY_CALL))
ROUTINGS = st.builds(
    Routing,
    calls=CALL_SETS,
    supported=CALL_SETS,
    consent_categories=st.lists(st.sampled_from(["a", "b"]), unique=True).map(tuple),
    synced_keys=st.frozensets(st.just("vip")),
    suppressed=st.frozensets(st.sampled_from(["u-1", "\ud800"])),
)


@given(ROUTINGS, MESSAGES)
def test_any_message_gets_a_decision_that_depends_on_the_message_alone(routing: Routing, found: dict[str, Any]) -> None:
    before = repr(found)
    decided = routing.decide(found)
    assert decided is None or isinstance(decided, Filtered)
    assert routing.decide(found) is decided
    assert repr(found) == before


@given(st.sampled_from(EVERY_CALL), INTEGRATIONS, st.booleans())
def test_windsors_own_key_beats_all(call: str, integrations: dict[str, Any], is_wanted: bool) -> None:
    decided = Routing().decide(message(call, integrations={**integrations, "Windsor": is_wanted}))
    assert decided is (None if is_wanted else NO)


@given(ROUTINGS, MESSAGES, st.sampled_from(["a", "b"]))
def test_a_stricter_routing_never_lets_more_through(routing: Routing, found: dict[str, Any], category: str) -> None:
    stricter = Routing(
        calls=routing.calls - {"page"},
        supported=routing.supported - {"alias"},
        consent_categories=(*routing.consent_categories, category),
        synced_keys=routing.synced_keys | {"vip"},
        suppressed=routing.suppressed | {"u-1"},
    )
    if routing.decide(found) is not None:
        assert stricter.decide(found) is not None
