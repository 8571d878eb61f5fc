"""Runs tell how they ended up: whoever looks later finds who decided what, and nothing waits that nobody can answer."""

from collections.abc import Callable

from tests.support.world import KEY, World
from windsor_sync.domain.guard import Ceiling
from windsor_sync.domain.labels import for_browser
from windsor_sync.domain.run import Run
from windsor_sync.report.views import list_audiences, view_audience, view_run
from windsor_sync.state.approvals import approve, refuse
from windsor_sync.usecases.close_run import error_of

PEOPLE = [f"user-{number:04}" for number in range(200)]


def shrink(world: World) -> list[Run]:
    """Refused, then approved too low, then approved and sent."""
    runs = []
    for members in (PEOPLE, PEOPLE[:90]):
        world.snapshot(members)
        runs.append(world.sync())
    refuse(world.workspace.database, runs[-1], who="ana", why="looks like half a file")
    world.snapshot(PEOPLE[:40])
    runs.append(world.sync())
    approve(world.workspace.database, runs[-1], Ceiling(max_exited=110), who="ben", why=None)
    runs.append(world.sync())
    approve(world.workspace.database, runs[-1], Ceiling(max_exited=160), who="cleo", why="the sale is over")
    return [*runs, world.sync()]


def test_each_run_of_the_shrink_story_says_who_decided_and_what_came_of_it(company: World) -> None:
    runs = shrink(company)
    view = view_audience(company.workspace, KEY)
    assert view is not None
    assert [view.endings[run.run_id].text for run in runs] == [
        "done",
        "refused by ana, replaced by run 3",
        "approved by ben, replaced by run 4",
        "approved by cleo, sent in run 5",
        "done",
    ]
    assert not any(ending.can_be_answered for ending in view.endings.values())
    refused, too_low, sent = (view.endings[run.run_id].decisions for run in runs[1:4])
    assert [(one.text, one.note) for one in refused] == [
        ("Refused by ana: no withheld change was sent.", "looks like half a file"),
        ("Run 3 took over the withheld changes.", None),
    ]
    assert [one.text for one in too_low] == [
        "Approved by ben: at most 110 exits.",
        "Run 4 found 160 exits, more than approved, and sent none of them.",
    ]
    assert [(one.text, one.note, one.run_id) for one in sent] == [
        ("Approved by cleo: at most 160 exits.", "the sale is over", None),
        ("Sent in run 5.", None, runs[4].run_id),
    ]
    last = view_run(company.workspace, runs[4].run_id)
    assert last is not None
    assert [one.text for one in last.decisions] == ["Approved by cleo: at most 160 exits."]


def test_the_newest_run_waits_until_it_is_answered(company: World) -> None:
    for members in (PEOPLE, PEOPLE[:90]):
        company.snapshot(members)
        run = company.sync()
    found = []
    for answer in (
        lambda: None,
        lambda: refuse(company.workspace.database, run, who="ana", why=None),
        approval(company, run),
    ):
        answer()
        (line,) = list_audiences(company.workspace).lines
        assert line.ending is not None
        found.append((line.ending.text, line.ending.can_be_answered, line.needs_person))
    assert found == [
        ("waits for approval", True, True),
        ("refused by ana", True, False),
        ("approved by ben, waits for the next run", True, False),
    ]


def approval(world: World, run: Run) -> Callable[[], object]:
    return lambda: approve(world.workspace.database, run, Ceiling(max_exited=110), who="ben", why=None)


def test_a_sentence_for_the_browser_has_no_command_and_keeps_the_rest(company: World) -> None:
    for members in (PEOPLE, PEOPLE[:90]):
        company.snapshot(members)
        run = company.sync()
    error = error_of(run)
    assert error is not None
    assert "windsor-sync" in str(error)
    assert for_browser(str(error)).endswith(
        "if it is right, approve it; if not, a healthy snapshot lifts this by itself."
    )
    assert for_browser("Held: 3 alias messages; `windsor-sync forward` sends what is held. So it is.") == (
        "Held: 3 alias messages. So it is."
    )
    assert for_browser("See it with `windsor-sync runs x`.") == ""
