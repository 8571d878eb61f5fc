"""Windsor's rules for users, groups, events and aliases."""

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windsor_sync.sandbox.records import User
from windsor_sync.sandbox.store import Merge, Store

IDS = st.sampled_from(["a", "b", "c", "d"])
TRAITS = st.dictionaries(st.sampled_from(["vip", "email", "plan"]), st.sampled_from([True, False, None, 1, "x"]))


class Told:
    """A store and a short way to tell it things, one second apart."""

    def __init__(self, **rules: Any) -> None:
        self.store = Store(**rules)
        self._clock = count(1_700_000_000.0)

    def __call__(self, call: str, **fields: Any) -> None:
        self.store.apply({"type": call, **fields}, next(self._clock))

    def user(self, user_id: str) -> User:
        found = self.store.user(user_id)
        assert found is not None
        return found


@pytest.fixture
def told() -> Told:
    return Told()


def test_identify_creates_the_user_and_merges_properties(told: Told) -> None:
    told("identify", userId="u-1", traits={"vip": True, "plan": "free"})
    told("identify", userId="u-1", traits={"plan": "pro"})
    assert told.user("u-1").properties == {"vip": True, "plan": "pro"}
    assert len(told.store.users()) == 1


def test_null_overwrites_a_property(told: Told) -> None:
    told("identify", userId="u-1", traits={"plan": "free"})
    told("identify", userId="u-1", traits={"plan": None})
    assert told.user("u-1").properties == {"plan": None}


def test_false_stays_false_and_is_not_forgotten(told: Told) -> None:
    told("identify", userId="u-1", traits={"vip": True})
    told("identify", userId="u-1", traits={"vip": False})
    assert told.store.values("vip") == {"u-1": False}


def test_an_anonymous_id_is_a_user_only_where_no_user_id_is_given(told: Told) -> None:
    told("identify", anonymousId="x", traits={"plan": "none"})
    told("identify", userId="u-1", anonymousId="x", traits={"plan": "pro"})
    assert told.user("x").is_anonymous
    assert told.user("x").properties == {"plan": "none"}
    assert told.user("u-1").properties == {"plan": "pro"}


def test_the_same_text_as_user_id_and_as_anonymous_id_is_two_users(told: Told) -> None:
    told("identify", anonymousId="x", traits={"who": "anonymous"})
    told("identify", userId="x", traits={"who": "known"})
    assert len(told.store.users()) == 2
    assert told.user("x").properties == {"who": "known"}


def test_a_new_group_replaces_the_old_one(told: Told) -> None:
    told("group", userId="u-1", groupId="g-1", traits={"name": "One"})
    told("group", userId="u-1", groupId="g-2")
    group = told.user("u-1").group
    assert group is not None
    assert (group.id, group.traits) == ("g-2", {})


@pytest.mark.parametrize(
    ("call", "fields", "name"),
    [
        ("track", {"event": "Order Completed"}, "Order Completed"),
        ("screen", {"name": "Home"}, "Home"),
        ("page", {"category": "Docs", "name": "Index"}, "Docs Index"),
        ("page", {}, ""),
    ],
)
def test_track_page_and_screen_become_events_of_the_user_and_feed_items(
    told: Told, call: str, fields: dict[str, str], name: str
) -> None:
    told(call, userId="u-1", properties={"price": 3}, **fields)
    (event,) = told.user("u-1").events
    assert (event.call, event.name, event.properties) == (call, name, {"price": 3})
    assert told.store.feed(show_hidden=True) == [event]


def test_page_events_are_hidden_until_asked_for(told: Told) -> None:
    told("page", userId="u-1", name="Pricing")
    told("track", userId="u-1", event="Signed Up")
    told("screen", userId="u-1", name="Home")
    assert [event.call for event in told.store.feed()] == ["screen", "track"]
    assert [event.call for event in told.store.feed(show_hidden=True)] == ["screen", "track", "page"]


def test_identify_group_and_alias_are_no_feed_items(told: Told) -> None:
    told("identify", userId="u-1")
    told("group", userId="u-1", groupId="g")
    told("alias", userId="u-2", previousId="u-1")
    assert told.store.feed(show_hidden=True) == []


def test_alias_merges_the_previous_user_into_the_new_one(told: Told) -> None:
    told("identify", userId="old", traits={"email": "old@example.com", "plan": "free"})
    told("group", userId="old", groupId="g-old")
    told("track", userId="old", event="Before")
    told("identify", userId="new", traits={"plan": "pro"})
    told("track", userId="new", event="Between")
    told("alias", userId="new", previousId="old")
    merged = told.user("new")
    assert merged.properties == {"email": "old@example.com", "plan": "pro"}
    assert merged.group is not None
    assert merged.group.id == "g-old"
    assert [event.name for event in merged.events] == ["Before", "Between"]
    assert [user.id for user in told.store.users()] == ["new"]


def test_alias_creates_the_new_user_if_missing(told: Told) -> None:
    told("identify", anonymousId="visitor", traits={"plan": "free"})
    told("alias", userId="u-1", previousId="visitor")
    assert told.user("u-1").properties == {"plan": "free"}
    assert not told.user("u-1").is_anonymous


def test_alias_cannot_be_undone(told: Told) -> None:
    told("identify", userId="old", traits={"plan": "free"})
    told("alias", userId="new", previousId="old")
    told("alias", userId="old", previousId="new")
    told("identify", userId="old", traits={"plan": "pro"})
    assert told.user("old") == told.user("new")
    assert told.user("new").id == "new"
    assert told.user("new").properties == {"plan": "pro"}


def test_an_alias_that_comes_before_its_previous_user_still_holds(told: Told) -> None:
    told("alias", userId="new", previousId="old")
    told("identify", userId="old", traits={"plan": "free"})
    assert told.user("new").properties == {"plan": "free"}
    assert len(told.store.users()) == 1


@pytest.mark.parametrize(
    ("rule", "properties", "group"),
    [
        (Merge.KEEPS_NEW, {"vip": False, "plan": "pro", "email": "x", "city": "Bonn"}, "g-new"),
        (Merge.KEEPS_OLD, {"vip": True, "plan": "pro", "email": "x", "city": "Bonn"}, "g-old"),
        (Merge.KEEPS_NEITHER, {"email": "x", "city": "Bonn"}, None),
    ],
)
def test_the_rule_says_whose_property_a_merged_user_has_where_both_had_it(
    rule: Merge, properties: dict[str, Any], group: str | None
) -> None:
    told = Told(merge=rule)
    told("identify", userId="old", traits={"vip": True, "plan": "pro", "email": "x"})
    told("group", userId="old", groupId="g-old")
    told("identify", userId="new", traits={"vip": False, "plan": "pro", "city": "Bonn"})
    told("group", userId="new", groupId="g-new")
    told("alias", userId="new", previousId="old")
    merged = told.user("old")
    assert (merged.id, merged.properties, merged.group and merged.group.id) == ("new", properties, group)


@pytest.mark.parametrize("rule", Merge)
def test_what_is_told_after_a_merge_stands_under_every_rule(rule: Merge) -> None:
    told = Told(merge=rule)
    for user_id in ("old", "new"):
        told("identify", userId=user_id, traits={"vip": user_id == "old"})
    told("alias", userId="new", previousId="old")
    told("identify", userId="old", traits={"vip": True})
    told("alias", userId="new", previousId="old")
    assert told.store.values("vip") == {"new": True}


@pytest.mark.parametrize("rule", Merge)
def test_an_identify_with_both_ids_makes_one_user_where_it_is_said_to(rule: Merge) -> None:
    told = Told(merge=rule, identify_merges=True)
    told("identify", anonymousId="x", traits={"vip": True, "city": "Bonn"})
    told("track", anonymousId="x", event="Seen")
    told("identify", userId="u-1", anonymousId="x", traits={"vip": False})
    told("track", anonymousId="x", event="Seen again")
    assert [(user.id, user.merged_ids, user.properties) for user in told.store.users()] == [
        ("u-1", ["x"], {"vip": False, "city": "Bonn"})
    ]
    assert [event.name for event in told.user("x").events] == ["Seen", "Seen again"]


def test_an_anonymous_id_of_nobody_yet_belongs_to_the_first_user_who_comes_with_it() -> None:
    told = Told(identify_merges=True)
    told("identify", userId="u-1", anonymousId="x", traits={"vip": True})
    told("identify", userId="u-2", anonymousId="x", traits={"vip": False})
    told("identify", anonymousId="x", traits={"plan": "pro"})
    assert told.store.values("vip") == {"u-1": True, "u-2": False}
    assert told.store.values("plan") == {"u-1": "pro"}


def test_only_an_identify_merges_its_ids() -> None:
    told = Told(identify_merges=True)
    told("track", anonymousId="x", event="Seen")
    told("track", userId="u-1", anonymousId="x", event="Seen")
    assert [user.id for user in told.store.users()] == ["x", "u-1"]


def test_a_chain_of_aliases_ends_at_the_last_user(told: Told) -> None:
    told("identify", userId="a", traits={"from": "a"})
    told("alias", userId="b", previousId="a")
    told("alias", userId="c", previousId="b")
    assert {told.user(name).id for name in "abc"} == {"c"}


def test_a_repeated_message_is_counted_and_applied_again_but_is_no_second_event(told: Told) -> None:
    told("identify", userId="u-1", traits={"vip": True}, messageId="m-1")
    told("identify", userId="u-1", traits={"vip": False}, messageId="m-2")
    told("identify", userId="u-1", traits={"vip": True}, messageId="m-1")
    told("track", userId="u-1", event="Signed Up", messageId="m-3")
    told("track", userId="u-1", event="Signed Up", messageId="m-3")
    assert told.store.values("vip") == {"u-1": True}
    assert len(told.user("u-1").events) == len(told.store.feed()) == 1
    stats = told.store.stats()
    assert (stats["accepted"], stats["distinct_message_ids"], stats["duplicates"]) == (5, 3, 2)


def test_accepted_messages_are_kept_in_order_of_arrival(told: Told) -> None:
    told("identify", userId="u-1", messageId="m-1")
    told("track", anonymousId="x", event="Seen", messageId="m-2")
    assert told.store.accepted == [
        ("m-1", "identify", "u-1", 1_700_000_000.0),
        ("m-2", "track", "x", 1_700_000_001.0),
    ]


def test_users_are_found_by_id_email_name_and_property(told: Told) -> None:
    told("identify", userId="u-1", traits={"email": "Ada@example.com", "vip": True})
    told("identify", userId="u-2", traits={"name": "Ada L.", "vip": 1})
    told("identify", userId="u-3", traits={"vip": False})
    assert [user.id for user in told.store.users("ADA")] == ["u-1", "u-2"]
    assert [user.id for user in told.store.users("u-3")] == ["u-3"]
    assert [user.id for user in told.store.users(where={"vip": True})] == ["u-1"]
    assert told.store.booleans() == {"vip": {True: 1, False: 1}}


def test_what_a_reader_holds_does_not_change_under_its_hands(told: Told) -> None:
    told("identify", userId="u-1", traits={"vip": True})
    before = told.user("u-1")
    told("identify", userId="u-1", traits={"vip": False})
    told("track", userId="u-1", event="Left")
    assert before.properties == {"vip": True}
    assert before.events == []


def test_reset_forgets_everything(told: Told) -> None:
    empty = told.store.stats()
    told("track", userId="u-1", event="Seen", messageId="m")
    told.store.reset()
    assert told.store.stats() == empty
    assert told.store.user("u-1") is None


@given(st.lists(st.tuples(IDS, TRAITS), max_size=30))
def test_each_property_has_the_value_that_came_last(calls: list[tuple[str, dict[str, Any]]]) -> None:
    told = Told()
    expected: dict[str, dict[str, Any]] = {}
    for user_id, traits in calls:
        told("identify", userId=user_id, traits=traits)
        expected.setdefault(user_id, {}).update(traits)
    assert {user.id: user.properties for user in told.store.users()} == expected


@given(
    st.lists(st.tuples(st.sampled_from(["identify", "both", "track", "alias", "anonymous"]), IDS, IDS), max_size=40),
    st.sampled_from(Merge),
    st.booleans(),
)
def test_no_merge_loses_an_event_or_gives_one_to_two_users(
    calls: list[tuple[str, str, str]], rule: Merge, identify_merges: bool
) -> None:
    told = Told(merge=rule, identify_merges=identify_merges)
    for call, user_id, other in calls:
        match call:
            case "identify":
                told("identify", userId=user_id, traits={})
            case "both":
                told("identify", userId=user_id, anonymousId=f"anonymous {other}", traits={})
            case "track":
                told("track", userId=user_id, event="Seen")
            case "anonymous":
                told("track", anonymousId=f"anonymous {user_id}", event="Seen")
            case "alias":
                told("alias", userId=user_id, previousId=other)
                told("alias", userId=other, previousId=f"anonymous {user_id}")
    users = told.store.users()
    held = [id(event) for user in users for event in user.events]
    assert sorted(held) == sorted(id(event) for event in told.store.feed(show_hidden=True))
    for user in users:
        for name in (user.id, *user.merged_ids):
            assert told.user(name).id == user.id
