"""A person, not an id: merges that Windsor acknowledged never turn members into `false`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete

from tests.support.people import People
from tests.support.windsor import StartWindsor
from tests.support.world import World
from windsor_sync.domain.change import Limits, Retry
from windsor_sync.sandbox import Faults
from windsor_sync.sandbox.store import Store
from windsor_sync.state.tables import merges, stored_files


@pytest.fixture
def world(make_world: Callable[..., World], state_url: str) -> World:
    world = make_world()
    world.document["state"] = state_url
    return world


@pytest.fixture
def people(world: World) -> People:
    return People(world)


@pytest.fixture
def joining(tmp_path: Path, start_windsor: StartWindsor) -> Iterator[People]:
    """Visitors at a Windsor that merges the two ids of an identify, and a windsor.yaml that says so."""
    windsor = start_windsor(store=Store(identify_merges=True))
    people = People(World(tmp_path, windsor, identify_merges=True), identify_by="anonymous_id")
    yield people
    people.world.reopen()


@pytest.fixture
def visitors(world: World) -> People:
    return People(world, identify_by="anonymous_id")


def test_members_who_only_changed_ids_stay_true_and_are_told_once(people: People) -> None:
    olds, news = [[f"{age}-{i}" for i in range(200)] for age in ("old", "new")]
    people.snapshot(*olds)
    people.sync()
    people.alias(*zip(olds, news, strict=True))
    people.snapshot(*news)
    run = people.sync()
    assert (run.books.moved, run.books.entered, run.books.exited, run.books.members_before) == (200, 0, 0, 200)
    assert sorted(people.told_by(run)) == sorted((new, True) for new in news)
    assert set(people.show(news).values()) == {True}
    assert people.planned() == 0
    assert people.sync().books.changes == 0


def test_a_visitor_who_signs_up_stays_a_member(visitors: People) -> None:
    visitors.snapshot(("", "anon"))
    visitors.sync()
    visitors.alias(("anon", "ana"))
    visitors.snapshot(("ana", "anon"))
    run = visitors.sync()
    assert (run.books.moved, run.books.exited, visitors.shown("ana")) == (1, 0, True)
    assert visitors.planned() == 0


def test_an_alias_brings_the_truth_although_the_snapshot_is_the_same(people: People) -> None:
    people.snapshot("old", "other")
    people.sync()
    people.alias(("old", "new"))
    run = people.sync()
    assert run.books.moved == 1
    assert people.told_by(run) == [("new", True)]
    assert people.planned() == 0


def test_aliases_that_an_earlier_version_forwarded_are_known_whether_a_sync_or_a_forwarding_comes_first(
    people: People,
) -> None:
    people.snapshot("old", "other")
    people.sync()
    people.alias(("old", "new"))
    with people.world.workspace.database.write() as connection:  # an earlier version recorded no merges
        connection.execute(delete(merges))
        connection.execute(delete(stored_files).where(stored_files.c.path.startswith("merges")))
    people.alias(("else", "where"))
    run = people.sync()
    assert people.told_by(run) == [("new", True)]
    assert people.planned() == 0


def test_who_leaves_after_a_merge_is_told_false_under_the_surviving_id(people: People) -> None:
    people.snapshot("old", "other")
    people.sync()
    people.alias(("old", "new"))
    people.snapshot("other")
    run = people.sync()
    assert (run.books.exited, people.told_by(run)) == (1, [("new", False)])
    assert (people.shown("old"), people.shown("new"), people.shown("other")) == (False, False, True)
    assert people.planned() == 0


def test_two_rows_of_one_person_are_one_member(people: People) -> None:
    people.alias(("old", "new"))
    people.snapshot("old", "new", "other")
    run = people.sync()
    assert (run.books.members, run.books.left_out["merged"], run.books.entered) == (2, 1, 2)
    people.snapshot("old", "other")
    run = people.sync()
    assert (run.books.changes, run.books.members) == (0, 2)
    people.snapshot("other")
    run = people.sync()
    assert run.books.exited == 1
    assert people.told_by(run) == [("new", False)]


def test_chains_and_repetitions_and_merges_back_lead_to_one_survivor(people: People) -> None:
    people.snapshot("a")
    people.sync()
    people.alias(("b", "c"))
    people.alias(("a", "b"), ("a", "b"))
    people.snapshot("c")
    assert people.sync().books.moved == 1
    people.alias(("c", "a"))  # back: the newest alias wins
    people.snapshot("b")
    run = people.sync()
    assert people.told_by(run) == [("a", True)]
    assert set(people.show("abc").values()) == {True}
    assert people.planned() == 0


def test_a_mass_merge_is_no_mass_exit_and_a_mass_exit_behind_merges_is_one(people: People) -> None:
    olds, news = [[f"{age}-{i}" for i in range(200)] for age in ("old", "new")]
    people.snapshot(*olds)
    people.sync()
    people.alias(*zip(olds, news, strict=True))
    people.snapshot(*news[:100])
    run = people.sync()
    assert (run.books.exited, run.held, run.books.withheld, run.books.moved) == (100, ("exited",), 100, 100)


def test_where_windsor_may_have_merged_false_goes_to_the_old_id_before_true_to_the_new_one(visitors: People) -> None:
    visitors.snapshot(("", "anon"), ("ben", "b"))
    visitors.sync()
    visitors.snapshot(("ana", "anon"), ("ben", "b"))
    run = visitors.sync()
    assert (run.books.moved, run.books.moved_from, run.books.exited, run.books.entered) == (1, 1, 0, 0)
    assert visitors.told_by(run) == [("anon", False), ("ana", True)]
    assert visitors.planned() == 0


def test_an_alias_that_is_on_its_way_is_no_merge_yet(world: World) -> None:
    people = People(world)
    world.document["events"]["alias"] = "hold"
    people.snapshot("old")
    people.sync()
    people.alias(("old", "new"))
    people.snapshot("new")
    people.sync()
    assert people.show(["old", "new"]) == {"old": False, "new": True}
    people.forward(releases_aliases=True)
    people.sync()
    assert people.show(["old", "new"]) == {"old": True, "new": True}
    assert people.planned() == 0


def test_where_windsor_merges_on_an_identify_one_call_with_both_ids_moves_the_visitor(joining: People) -> None:
    joining.snapshot(("", "anon"))
    joining.sync()
    joining.snapshot(("ana", "anon"))
    run = joining.sync()
    assert (run.books.moved, run.books.moved_from, run.books.changes) == (1, 0, 1)
    assert joining.show(["anon", "ana"]) == {"anon": True, "ana": True}
    user = joining.world.windsor.store.user("ana")
    assert user is not None
    assert user.merged_ids == ["anon"]
    joining.snapshot(("", "anon"))  # the id that is merged away is the same person
    assert joining.sync().books.changes == 0
    joining.snapshot("ben")
    assert joining.told_by(joining.sync()) == [("ana", False), ("ben", True)]


def test_two_users_who_share_a_device_stay_two_where_windsor_merges_on_an_identify(joining: People) -> None:
    archive = joining.archive
    for user in ("ana", "ben"):
        archive.write([archive.message("identify", user, anonymousId="device")])
        joining.forward()
    joining.snapshot("ana", "ben", "cy")
    joining.sync()
    joining.snapshot("ana", "cy")
    joining.sync()
    assert joining.show(["ana", "ben", "device"]) == {"ana": True, "ben": False, "device": True}
    joining.alias(("device", "ben"))  # an alias of that device does merge the two
    joining.sync()
    assert joining.show(["ana", "ben"]) == {"ana": True, "ben": True}


def test_a_visitor_merged_with_somebody_else_meanwhile_is_told_under_that_id(joining: People) -> None:
    joining.snapshot(("", "anon"))
    joining.sync()
    joining.snapshot(("ana", "anon"))
    joining.world.windsor.set_faults(Faults(rejected_users=frozenset({"ana"})))
    joining.sync()
    joining.world.windsor.set_faults(Faults())
    joining.alias(("anon", "bea"))
    joining.sync(limits=Limits(retry=Retry()))
    assert joining.show(["ana", "anon", "bea"]) == {"ana": True, "anon": False, "bea": False}
    assert joining.planned() == 0
