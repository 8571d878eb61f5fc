"""A key that Windsor was told is never left behind without a word, whatever became of its entry in windsor.yaml."""

from typing import Any

import pytest

from tests.cli.test_remedies import run
from tests.support.world import AUDIENCE, KEY, World
from windsor_sync.domain.guard import Ceiling
from windsor_sync.domain.run import RunState
from windsor_sync.report.document import report
from windsor_sync.report.finding import FILTERS, SORTS, AudienceSearch, find_audiences
from windsor_sync.report.rendering import Links, render
from windsor_sync.report.views import view_audience
from windsor_sync.sandbox import Faults
from windsor_sync.state.approvals import approve
from windsor_sync.usecases.orphans import orphans
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.retire import retire

MEMBERS = [f"user-{number:03}" for number in range(40)]
NEW = "bought_lately"


@pytest.fixture
def told(world: World) -> World:
    """An audience without an id, whose members Windsor was told."""
    del world.document["audiences"][0]["id"]
    world.document["computed_traits"] = []
    world.reopen()
    world.snapshot(MEMBERS)
    world.sync()
    return world


def rename(world: World, **more: Any) -> None:
    world.document["audiences"] = [world.entry("Bought Lately", "audience", **more)]
    world.reopen()


def orphaned(world: World) -> list[str]:
    return [orphan.key for orphan in orphans(world.workspace)]


@pytest.mark.parametrize("how", ["renamed", "removed", "disabled"])
def test_a_key_that_is_not_configured_any_more_is_orphaned_until_it_is_retired(told: World, how: str) -> None:
    assert orphaned(told) == []
    if how == "renamed":
        rename(told)
    elif how == "removed":
        told.document["audiences"] = []
    else:
        told.document["audiences"][0]["enabled"] = False
    told.reopen()
    (orphan,) = orphans(told.workspace)
    assert (orphan.key, orphan.is_disabled) == (KEY, how == "disabled")
    retire(told.workspace, KEY, "a test", None, told.stop)
    assert orphaned(told) == []
    assert told.members_shown() == set()


def test_an_orphaned_key_is_named_wherever_audiences_are_shown(told: World) -> None:
    rename(told)
    for words in ("check", "audit", "plan --all", "audiences"):
        status, text = run(told, *words.split())
        assert (status, f"Windsor was told {KEY} of users" in text) == (0, True), words
        assert f"set `trait: {KEY}` in its new entry; if it is over, run `windsor-sync retire {KEY}`." in text
    links, found = Links(""), find_audiences(told.workspace, AudienceSearch())
    view = view_audience(told.workspace, KEY)
    for html in (
        render("audiences.html", found=found, links=links, filters=FILTERS, sorts=SORTS),
        render("audience.html", view=view, links=links),
    ):
        assert f"<code>trait: {KEY}</code> in its new entry; if it is over, have it retired." in html
    html = report(told.workspace)
    assert f"<code>trait: {KEY}</code>" in html
    assert f"<code>windsor-sync retire {KEY}</code>" in html


def test_a_key_under_which_nobody_is_true_is_not_orphaned(told: World) -> None:
    told.windsor.set_faults(Faults(rejected_users=frozenset(MEMBERS)))
    rename(told, trait="third")
    told.sync("third")
    told.windsor.set_faults(Faults())
    told.document["audiences"] = [told.entry(AUDIENCE, "audience", max_exited_percent=None)]
    told.reopen()
    nobody = told.snapshot([])
    told.sync(request=Request(kind="backfill", snapshot_path=str(nobody)))
    told.document["audiences"] = []
    told.reopen()
    assert orphaned(told) == []


def test_an_audience_whose_id_is_known_keeps_its_key_when_it_is_renamed(world: World) -> None:
    world.snapshot(MEMBERS)
    world.sync()
    rename(world, id="aud_test")
    assert orphaned(world) == []
    world.snapshot(MEMBERS[1:])
    assert [message["traits"][KEY] for message in world.plan(NEW)] == [False]


@pytest.mark.parametrize(
    "members", [MEMBERS, MEMBERS[:25], [*MEMBERS, *(f"new-{number}" for number in range(30))]], ids=len
)
def test_a_new_audience_with_mostly_the_members_of_a_vanished_one_is_withheld(told: World, members: list[str]) -> None:
    rename(told)
    told.snapshot(members)
    assert told.plan(NEW) == []
    for _ in range(2):
        run = told.sync(NEW)
        assert (run.state, run.books.withheld, run.books.delivered) == (RunState.WITHHELD, len(members), 0)
        assert run.sentence is not None
        assert f"If {AUDIENCE} was renamed, set `trait: {KEY}` in the entry of Bought Lately." in run.sentence
        told.reopen()
    assert told.shown(NEW) == {}


def test_trait_in_the_new_entry_goes_on_with_the_old_key(told: World) -> None:
    rename(told)
    told.snapshot(MEMBERS[2:])
    told.sync(NEW)
    rename(told, trait=KEY)
    run = told.sync(KEY)
    assert (run.state, run.books.delivered) == (RunState.DONE, 2)
    assert told.members_shown() == set(MEMBERS[2:])
    assert orphaned(told) == []  # of the new key nobody was told anything


def test_trait_with_a_key_of_its_own_says_that_it_is_another_audience(told: World) -> None:
    rename(told, trait=NEW)
    assert told.sync(NEW).state is RunState.DONE


def test_an_approval_says_that_it_is_another_audience(told: World) -> None:
    rename(told)
    run = told.sync(NEW)
    approve(told.workspace.database, run, Ceiling(max_entered=run.books.entered), who="a test", why=None)
    run = told.sync(NEW)
    assert (run.state, run.books.delivered) == (RunState.DONE, len(MEMBERS))
    told.snapshot([*MEMBERS, "ana"])
    assert told.sync(NEW).books.delivered == 1  # it is not new any more
    assert orphaned(told) == [KEY]


@pytest.mark.parametrize(
    ("members", "more"),
    [
        (MEMBERS[:15], {}),  # less than half of the vanished one
        ([*MEMBERS[:15], *(f"new-{number}" for number in range(20))], {}),
        ([*MEMBERS, *(f"new-{number}" for number in range(50))], {}),
    ],
    ids=["a part", "others", "many more"],
)
def test_a_new_audience_with_other_members_is_nobodys_new_name(
    told: World, members: list[str], more: dict[str, Any]
) -> None:
    rename(told, **more)
    told.snapshot(members)
    assert told.sync(NEW).state is RunState.DONE


def test_two_audiences_that_segment_tells_apart_are_two(world: World) -> None:
    world.snapshot(MEMBERS)
    world.sync()
    rename(world, id="aud_other")
    assert world.sync(NEW).state is RunState.DONE


def test_a_vanished_audience_whose_file_is_lost_holds_nobody_up(told: World) -> None:
    for path in (told.folder / ".windsor" / "files" / "snapshots").rglob("*.parquet"):
        path.unlink()
    rename(told)
    assert told.sync(NEW).state is RunState.DONE
