"""What the guard withheld waits for a person, in Airflow's form; our state decides what goes out."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest

from tests.support.person import Person
from tests.support.world import KEY, World
from windsor_sync.airflow import approval
from windsor_sync.airflow.approval import ApproveOperator
from windsor_sync.domain.guard import Ceiling
from windsor_sync.domain.run import RunState
from windsor_sync.state.approvals import approve, refusals_of
from windsor_sync.state.runs import recent
from windsor_sync.state.tables import approvals
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.sync_approved import sync_approved

Run = Callable[[], Any]

BEFORE = [f"user-{number:03}" for number in range(200)]
AFTER = [*BEFORE[:50], "newcomer"]
EXITS = 150


@pytest.fixture
def tripped(configured: World) -> World:
    """150 of 200 members have left, and one has come."""
    configured.document["computed_traits"] = []
    configured.snapshot(BEFORE)
    configured.sync()
    configured.snapshot(AFTER)
    return configured


def states(dag_run: Any) -> dict[str, str]:
    return {one.task_id.removeprefix("sync_audience."): str(one.state) for one in dag_run.get_task_instances()}


def test_approved_changes_go_out_and_the_books_say_who_approved(tripped: World, run_sync: Run, answer: Person) -> None:
    answer(note="the sale is over")
    dag_run = run_sync()
    assert states(dag_run) == dict.fromkeys(("seal", "diff", "deliver", "approve", "deliver_approved"), "success")
    assert tripped.members_shown() == set(AFTER)
    newest, withheld, _ = recent(tripped.workspace.database)
    assert (withheld.state, withheld.books.delivered, withheld.books.withheld) == (RunState.WITHHELD, 1, EXITS)
    assert (newest.state, newest.books.delivered) == (RunState.DONE, EXITS)
    with tripped.workspace.database.read() as connection:
        kept = connection.execute(approvals.select()).one()
    assert (kept.who, kept.why, kept.max_exited, kept.run_id) == (
        "Ana in Airflow",
        "the sale is over",
        EXITS,
        withheld.run_id,
    )
    assert kept.settled_at is not None
    assert tripped.sync().books.changes == 0


def test_the_form_shows_counts_and_proposes_what_is_withheld(tripped: World, run_sync: Run, answer: Person) -> None:
    answer()
    run_sync()
    (form,) = answer.asked
    assert "150 of 200 members exited" in form.body
    assert "Members: 200 before, 51 now. 150 exits would be sent: all or none." in form.body
    assert dict(form.params) == {"max_exited": EXITS, "note": None}
    assert all(form.params.get_param(name).serialize()["description"] for name in form.params)
    assert form.subject == "Order Completed Last 30days: 150 changes are withheld"
    assert "user-" not in form.body


def test_the_question_is_over_before_the_next_run_is_due(tripped: World, run_sync: Run, answer: Person) -> None:
    answer("Refuse")
    run_sync()
    (form,) = answer.asked
    assert timedelta(hours=2) < form.response_timeout < timedelta(hours=2, minutes=15)


def test_a_run_by_hand_asks_no_longer_than_until_the_schedule_s_next_one(
    tripped: World, run_sync: Run, answer: Person
) -> None:
    scheduled = datetime.now(UTC) - timedelta(hours=2)
    tripped.sync(request=Request(trigger=f"airflow engage_audience_sync scheduled__{scheduled.isoformat()}"))
    answer("Refuse")
    run_sync()
    (form,) = answer.asked
    assert timedelta(minutes=5) < form.response_timeout <= timedelta(minutes=15)


def test_a_paused_schedule_shortens_no_question(tripped: World, run_sync: Run, answer: Person) -> None:
    scheduled = datetime.now(UTC) - timedelta(hours=20)
    tripped.sync(request=Request(trigger=f"airflow engage_audience_sync scheduled__{scheduled.isoformat()}"))
    answer("Refuse")
    run_sync()
    (form,) = answer.asked
    assert timedelta(hours=2) < form.response_timeout


def test_an_approval_of_one_side_is_spent_though_the_other_stays_withheld(
    tripped: World, run_sync: Run, answer: Person
) -> None:
    tripped.document["defaults"] = {"max_entered_percent": 10, "guard_floor": 10}
    grown = [*AFTER, *(f"new-{number}" for number in range(99))]
    tripped.snapshot(grown)
    answer(max_entered=None)
    assert states(run_sync())["deliver_approved"] == "failed"
    tripped.reopen()
    assert tripped.members_shown() == set(BEFORE[:50])
    tripped.snapshot(["somebody else"])
    answer("Refuse")
    run_sync()
    assert len(answer.asked) == 2
    assert tripped.members_shown() == {*BEFORE[:50], "somebody else"}


def test_nobody_is_asked_about_a_run_that_a_newer_one_has_replaced(
    tripped: World, run_sync: Run, answer: Person
) -> None:
    from windsor_sync.airflow.operators.windsor import DeliverOperator

    deliver = DeliverOperator.execute

    def then_replaced(task: Any, context: Any) -> Any:
        counts = deliver(task, context)
        tripped.sync()
        return counts

    answer()
    with mock.patch.object(DeliverOperator, "execute", then_replaced):
        found = states(run_sync())
    assert (found["approve"], found["deliver_approved"], answer.asked) == ("skipped", "skipped", [])
    assert tripped.members_shown() == {*BEFORE, "newcomer"}


def test_a_refusal_sends_nothing_and_the_next_run_asks_again(tripped: World, run_sync: Run, answer: Person) -> None:
    answer("Refuse", note="no")
    for _ in range(2):
        assert states(run_sync()) == {
            "seal": "success",
            "diff": "success",
            "deliver": "success",
            "approve": "success",
            "deliver_approved": "skipped",
        }
    assert tripped.members_shown() == {*BEFORE, "newcomer"}
    assert recent(tripped.workspace.database, limit=1)[0].books.withheld == EXITS
    assert len(answer.asked) == 2
    assert [(one.who, one.why) for one in refusals_of(tripped.workspace.database, KEY)] == [
        ("Ana in Airflow", "no")
    ] * 2


def test_without_an_answer_the_audience_is_red_and_nothing_goes_out(
    tripped: World, run_sync: Run, answer: Person
) -> None:
    answer("Refuse", who=None)
    dag_run = run_sync()
    assert str(dag_run.state) == "failed"
    found = states(dag_run)
    assert (found["approve"], found["deliver_approved"]) == ("failed", "upstream_failed")
    assert tripped.members_shown() == {*BEFORE, "newcomer"}


def test_after_a_wrong_or_too_low_number_the_same_run_asks_again(tripped: World, run_sync: Run, answer: Person) -> None:
    answer(max_exited=-1)
    answer.then(max_exited="many")
    answer.then(max_exited=10**20)
    answer.then(max_exited=None)
    answer.then(max_exited=EXITS - 1)
    answer.then(max_exited=EXITS)
    assert states(run_sync())["deliver_approved"] == "success"
    assert len(answer.asked) == 6
    assert tripped.members_shown() == set(AFTER)


def test_a_wrong_number_in_the_last_minute_fails_and_says_that_the_next_run_asks(
    tripped: World, run_sync: Run, answer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(max_exited=EXITS - 1)
    answer.meanwhile = lambda: monkeypatch.setattr(approval, "SHORTEST", timedelta(days=1))
    assert states(run_sync())["approve"] == "failed"
    assert len(answer.asked) == 1
    assert tripped.members_shown() == {*BEFORE, "newcomer"}


def test_a_ceiling_that_is_too_low_when_it_is_used_lets_nothing_out(
    tripped: World, run_sync: Run, answer: Person
) -> None:
    answer(max_exited=EXITS)
    answer.meanwhile = lambda: tripped.snapshot(AFTER[1:])
    found = states(run_sync())
    assert (found["approve"], found["deliver_approved"]) == ("success", "failed")
    assert tripped.members_shown() == {*BEFORE, "newcomer"}


def test_a_task_that_is_cleared_after_a_higher_ceiling_was_approved_sends_what_that_allows(
    tripped: World, run_sync: Run, answer: Person
) -> None:
    answer(max_exited=EXITS)
    answer.meanwhile = lambda: tripped.snapshot(AFTER[1:])
    dag_run = run_sync()
    too_low = recent(tripped.workspace.database, limit=1)[0]
    assert (too_low.state, too_low.trigger) == (
        RunState.WITHHELD,
        f"airflow engage_audience_sync {dag_run.run_id} approved",
    )
    # What the red task's sentence says: `windsor-sync approve`, and then "Clear" in Airflow.
    approve(tripped.workspace.database, too_low, Ceiling(max_exited=EXITS + 1), who="Ana", why=None)
    request = Request(trigger=too_low.trigger)
    sent = sync_approved(tripped.workspace, tripped.computation(), request, tripped.stop)
    assert (sent.state, sent.books.delivered) == (RunState.DONE, EXITS + 1)
    assert tripped.members_shown() == set(AFTER[1:])
    again = sync_approved(tripped.workspace, tripped.computation(), request, tripped.stop)
    assert again.run_id == sent.run_id


def test_airflow_alone_cannot_release_what_is_withheld(tripped: World, run_sync: Run) -> None:
    with mock.patch.object(ApproveOperator, "execute", return_value={"approved": True}):
        found = states(run_sync())
    assert (found["approve"], found["deliver_approved"]) == ("success", "failed")
    assert tripped.members_shown() == {*BEFORE, "newcomer"}


def test_what_waits_for_a_person_holds_no_other_audience(tripped: World, run_sync: Run, answer: Person) -> None:
    tripped.document["audiences"].append(tripped.entry("VIP", "vip"))
    tripped.snapshot(["ana"], folder="vip")
    answer("Refuse")
    dag_run = run_sync()
    by_index = {
        one.map_index: str(one.state) for one in dag_run.get_task_instances() if one.task_id.endswith(".deliver")
    }
    assert by_index == {0: "success", 1: "success"}
    assert tripped.members_shown("vip") == {"ana"}
    assert str(tripped.computation(KEY).key) == KEY
