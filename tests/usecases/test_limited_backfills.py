"""What a limited backfill leaves for later is owed, and nobody is told otherwise: not by its state, nor by what follows."""

from typing import Any

import pytest

from tests.support.world import KEY, World
from windsor_sync.cli import output
from windsor_sync.delivery.bounds import Delivery
from windsor_sync.domain.alert import AlertEvent
from windsor_sync.domain.change import Limits
from windsor_sync.domain.guard import Ceiling
from windsor_sync.domain.run import Run, RunState
from windsor_sync.sandbox import Faults
from windsor_sync.state.approvals import approve, unsettled_approval
from windsor_sync.usecases.alert_targets import AlertTarget
from windsor_sync.usecases.alerts import after_run, tell
from windsor_sync.usecases.backfill import Wish, plan
from windsor_sync.usecases.close_run import settle
from windsor_sync.usecases.request import Request

CROWD = [f"user-{number:03}" for number in range(200)]


def backfill(**limits: Any) -> Request:
    return Request("backfill", limits=Limits(**limits))


def news(world: World, run: Run) -> list[AlertEvent]:
    """Return what people are told after a run."""
    told: list[AlertEvent] = []
    after_run(world.workspace, run)
    tell(world.workspace, [AlertTarget("list", tuple(AlertEvent), lambda alert: told.append(alert.event))])
    return told


@pytest.fixture
def cut(world: World) -> World:
    """An audience of 200 whose newest snapshot has 20 of them and somebody new."""
    world.snapshot(CROWD)
    world.sync()
    world.snapshot([*CROWD[:20], "newcomer"])
    return world


def test_nobody_is_told_that_it_is_over_while_what_was_withheld_is_owed(cut: World) -> None:
    assert news(cut, cut.sync()) == [AlertEvent.WITHHELD]
    assert cut.sync(request=backfill(only="entered")).state is RunState.DONE
    run = cut.sync(request=backfill(only="entered"))
    assert (run.state, run.books.owed, news(cut, run)) == (RunState.DONE, 180, [])
    cut.snapshot([*CROWD, "newcomer"])
    assert news(cut, cut.sync()) == [AlertEvent.RECOVERED]


def test_an_approval_outlives_a_backfill_that_left_what_was_approved_for_later(cut: World) -> None:
    database, withheld = cut.workspace.database, cut.sync()
    approve(database, withheld, Ceiling(max_exited=180), who="ana", why=None)
    cut.sync(request=backfill(only="entered"))
    assert unsettled_approval(database, withheld.audience_id) is not None
    assert cut.sync().state is RunState.DONE
    assert cut.members_shown() == {*CROWD[:20], "newcomer"}
    assert unsettled_approval(database, withheld.audience_id) is None


def test_a_run_fails_by_the_share_of_what_it_tried_and_not_of_what_it_left(world: World) -> None:
    world.document["defaults"] = {"max_rejected_percent": 20}
    world.snapshot(CROWD)
    world.windsor.set_faults(Faults(rejected_users=frozenset(CROWD)))
    run = world.sync(request=backfill(count=10))
    assert (run.books.rejected, run.books.owed, run.state) == (10, 190, RunState.REJECTED)


def test_a_stop_after_all_that_was_asked_for_is_no_interruption(world: World) -> None:
    world.snapshot(CROWD)
    run = world.sync(request=backfill(count=30))
    with world.workspace.hold(world.computation().key, "test") as lease:
        assert settle(world.workspace, lease, run, Delivery(was_interrupted=True)).state is RunState.DONE


@pytest.mark.parametrize("limits", [{"count": 120}, {"only": "exited", "count": 100}, {"only": "exited"}, {}])
def test_a_plan_counts_as_withheld_what_the_run_withholds(cut: World, limits: dict[str, Any]) -> None:
    wish = Wish(only=limits.get("only"), limit=limits.get("count"))
    planned = plan(cut.workspace, cut.computation(), wish.request(cut.computation(), "test"))
    run = cut.sync(request=backfill(**limits))
    assert run.state is RunState.WITHHELD
    assert (planned["withheld"], planned["messages"]) == (run.books.withheld, run.books.delivered)


def test_progress_ends_where_what_is_asked_for_ends(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "LOG_EVERY_S", 0.0)
    world.snapshot(CROWD)
    world.sync(request=backfill(count=30), on_progress=output.ProgressView(None))
    assert capsys.readouterr().err.splitlines()[-1] == f"{KEY}: 30 of 30 changes answered"


def test_withheld_entries_are_approved_as_entries(world: World) -> None:
    world.document["defaults"] = {"max_entered_percent": 10}
    world.snapshot(CROWD[:100])
    world.sync()
    world.snapshot(CROWD[1:])
    run = world.sync()
    assert run.state is RunState.WITHHELD
    assert f"windsor-sync approve {run.run_id} --max-entered 100`" in (run.sentence or "")
    assert "; 1 other is delivered." in (run.sentence or "")


def test_one_change_is_no_plural(world: World) -> None:
    world.snapshot(["ana"])
    world.windsor.set_faults(Faults(revoked_after=0))
    assert (world.sync().sentence or "").startswith(
        "Windsor refused the API key (401). 0 of 1 change of Order Completed Last 30days is delivered and recorded"
    )
