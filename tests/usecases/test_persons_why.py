"""`why` tells of a person: what Windsor was told under any of the ids that it has merged."""

import json

import pytest

from tests.cli.test_tables_and_words import call
from tests.support.people import People
from tests.support.world import KEY, TRAIT_KEY, World
from windsor_sync.usecases.why import Account, why


@pytest.fixture
def people(world: World) -> People:
    return People(world)


def account(people: People, user: str, key: str = KEY) -> Account:
    return next(one for one in why(people.world.workspace, user) if one.audience == key)


def test_why_follows_merges_both_ways_and_says_which_id_became_which(people: People) -> None:
    people.snapshot("old", "other")
    people.sync()
    people.alias(("old", "new"))
    people.snapshot("new", "other")
    people.sync()
    for asked_for in ("old", "new"):
        found = account(people, asked_for)
        assert found.sentence == "The user is in the newest snapshot; Windsor was told true."
        assert [(step.user, step.change, step.value, step.fate) for step in found.steps] == [
            ("new", "moved", True, "delivered"),
            ("old", "entered", True, "delivered"),
        ]
        said = call(people.world, "why", asked_for).out
        assert said.startswith(f"old became new on {found.ids[0].since:%Y-%m-%d}.\n")
        assert "new: moved (told again, because ids of this person were merged) → true  delivered" in said
    assert account(people, "other").ids == ()


def test_the_ids_of_the_person_are_in_the_json(people: People) -> None:
    people.snapshot("a")
    people.sync()
    people.alias(("a", "b"), ("b", "c"))
    [document] = json.loads(call(people.world, "why", "b", "--json").out)["accounts"]
    assert {(one["id"], one["survivor"]) for one in document["ids"]} == {("a", "c"), ("b", "c"), ("c", "c")}
    assert document["sentence"] == (
        "The user is in the newest snapshot; Windsor was told true, and has merged ids of this person since: the next sync "
        "tells Windsor again."
    )
    people.sync()
    assert account(people, "a").sentence == "The user is in the newest snapshot; Windsor was told true."


def test_false_to_the_old_id_of_a_member_is_shown_as_false(world: World) -> None:
    people = People(world, identify_by="anonymous_id")
    people.snapshot(("", "anon"), ("ben", "b"))
    people.sync()
    people.snapshot(("ana", "anon"), ("ben", "b"))
    people.sync()
    found = account(people, "anon")
    assert [(step.change, step.value) for step in found.steps] == [("moved_from", False), ("entered", True)]
    assert found.told is False
    assert account(people, "ana").told is True
    said = call(world, "why", "anon").out
    assert "moved_from (the member has another id now, which is told after this) → false" in said


def test_a_value_that_was_told_under_an_old_id_is_the_persons(people: People) -> None:
    people.world.values({"old": 5, "other": 1})
    people.world.sync(TRAIT_KEY)
    people.alias(("old", "new"))
    people.world.values({"new": 7, "other": 1})
    assert account(people, "new", TRAIT_KEY).told == 5
    people.world.sync(TRAIT_KEY)
    assert account(people, "old", TRAIT_KEY).told == 7
