"""People who go by another id are shown; an open run sends nothing to an id that was merged away since it was opened."""

import json

import pytest

from tests.cli.test_tables_and_words import call
from tests.support.people import People
from tests.support.world import KEY, World
from windsor_sync.airflow.plan_text import as_markdown
from windsor_sync.domain.labels import MOVED_WORDS
from windsor_sync.report.rendering import Links, render
from windsor_sync.report.views import view_run
from windsor_sync.sandbox import Faults
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.run_lifecycle import deliver_run, open_run, seal_newest
from windsor_sync.usecases.why import why


@pytest.fixture
def people(world: World) -> People:
    return People(world)


def test_moved_stands_in_plans_runs_and_words_where_it_is_not_zero(people: People) -> None:
    world = people.world
    people.snapshot("old", "other")
    assert "moved" not in call(world, "plan", KEY).out
    assert "moved" not in call(world, "sync", KEY).out
    people.alias(("old", "new"))
    people.snapshot("old", "new", "other")
    assert "updated  moved  withheld" in call(world, "plan", KEY).out
    plan = json.loads(call(world, "plan", KEY, "--json").out)["plans"][0]
    assert (plan["moved"], plan["members"], plan["left_out"]["merged"]) == (1, 2, 1)
    assert ", 1 moved |" in as_markdown([{**plan, "requests": 1, "seconds": 1.0}])
    said = call(world, "sync", KEY).out
    assert "updated  moved  delivered" in said
    listed = json.loads(call(world, "runs", "--json").out)["runs"][0]
    assert (listed["moved"], listed["moved_from"]) == (1, 0)
    assert listed["sentence"].endswith("1 change repeats a member's value, because ids were merged or replaced.")
    in_full = call(world, "runs", listed["run"]).out
    assert "1 change: 0 entered, 0 exited, 0 updated, 1 moved" in in_full
    assert "told again" in in_full
    assert "Windsor has merged their ids" in in_full
    assert "moved" in call(world, "runs").out
    page = render(
        "run.html",
        links=Links("", airflow=""),
        view=view_run(world.workspace, listed["run"]),
        shown=None,
        may_start=False,
    )
    assert MOVED_WORDS["moved"] in page
    assert MOVED_WORDS["moved_from"] not in page


def test_an_open_run_sends_nothing_to_an_id_that_was_merged_away_since_it_was_opened(people: People) -> None:
    world, workspace = people.world, people.world.workspace
    people.snapshot("old", "ben")
    people.sync()
    people.snapshot("new", "ben", "cy")  # Windsor is not known to have merged: false to `old`, true to `new`
    computation = world.computation()
    known = workspace.registry.register(computation)
    with workspace.hold(known.key, "a test") as lease:
        run = open_run(workspace, computation, known, seal_newest(workspace, computation, Request()), Request(), lease)
    people.alias(("old", "new"))
    sent = world.sent
    with workspace.hold(known.key, "a test") as lease:
        run = deliver_run(workspace, computation, run, lease, world.stop)
    run.books.check(run.run_id)
    assert sorted(message.user_id for message in world.windsor.store.accepted[sent:]) == ["cy", "new"]
    assert (run.books.delivered, run.books.withheld, run.books.exited) == (2, 1, 1)
    assert people.shown("old") is True
    [account] = why(workspace, "old")
    fates = [(step.user, step.fate) for step in account.steps]
    assert sorted(fates) == [("new", "delivered"), ("old", "delivered"), ("old", "merged")]
    run = people.sync()
    assert people.told_by(run) == [("new", True)]
    assert people.planned() == 0


def test_what_was_rejected_for_an_old_id_is_owed_no_more_once_the_person_was_told(people: People) -> None:
    world = people.world
    world.windsor.set_faults(Faults(rejected_users=frozenset({"old"})))
    people.snapshot("old", "ben")
    assert people.sync().books.rejected == 1
    people.alias(("old", "new"))
    run = people.sync()
    assert (people.told_by(run), run.books.rejected, run.books.owed) == ([("new", True)], 0, 0)
    assert people.sync().books.changes == 0
    assert [(step.user, step.fate) for step in why(world.workspace, "old")[0].steps] == [
        ("new", "delivered"),
        ("old", "merged"),
    ]
