"""Every way a sync can end: the tasks' colours, what XCom has, what the books say, and what Windsor received."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.person import Person
from tests.support.world import KEY, World
from windsor_sync.domain.run import Run, RunState
from windsor_sync.sandbox import Faults
from windsor_sync.sandbox.faults import Outage
from windsor_sync.segment.trait_keys import TraitKey
from windsor_sync.state.runs import recent

BEFORE = [f"user-{number:03}" for number in range(200)]
HALF = [*BEFORE[:100], "newcomer"]
GROWN = [*BEFORE, *(f"new-{number}" for number in range(10))]
ONE_OF_TEN = Faults(rejected_users=frozenset({"new-0"}))

TASKS = ("seal", "diff", "deliver", "approve", "deliver_approved")


@dataclass(frozen=True)
class Outcome:
    """What a sync after the initial one is given, and what has to come of it."""

    members: list[str] | None = None
    """of the new snapshot; None: no new one"""
    faults: Faults = field(default_factory=Faults)
    answer: str | None = None
    who: str | None = "Ana"
    """None: nobody answers in time"""
    allows: float | None = None
    """defaults.max_rejected_percent"""
    is_held: bool = False
    is_unusable: bool = False

    states: str = ""
    """of TASKS, by first letter: success, failed, Upstream failed, sKipped"""
    pushed: dict[str, Any] | None = None
    """of what `deliver` hands on; None: it hands on nothing"""
    runs: tuple[tuple[RunState, dict[str, int]], ...] = ()
    """this sync's, oldest first, and what their books say"""
    received: int = 0
    members_shown: list[str] = field(default_factory=lambda: BEFORE)


OUTCOMES = {
    "all delivered": Outcome(
        members=GROWN,
        states="sssKK",
        pushed={"state": "done", "entered": 10, "delivered": 10, "owed": 0},
        runs=((RunState.DONE, {"entered": 10, "delivered": 10}),),
        received=10,
        members_shown=GROWN,
    ),
    "nothing to do": Outcome(
        states="sssKK",
        pushed={"state": "done", "entered": 0, "exited": 0, "delivered": 0},
        runs=((RunState.DONE, {}),),
    ),
    "rejected below the threshold": Outcome(
        members=GROWN,
        faults=ONE_OF_TEN,
        allows=10,
        states="sssKK",
        pushed={"state": "done", "delivered": 9, "rejected": 1},
        runs=((RunState.DONE, {"entered": 10, "delivered": 9, "rejected": 1}),),
        received=9,
        members_shown=[user for user in GROWN if user != "new-0"],
    ),
    "rejected above the threshold": Outcome(
        members=GROWN,
        faults=ONE_OF_TEN,
        allows=9.9,
        states="ssfUU",
        runs=((RunState.REJECTED, {"entered": 10, "delivered": 9, "rejected": 1}),),
        received=9,
        members_shown=[user for user in GROWN if user != "new-0"],
    ),
    "withheld": Outcome(
        members=HALF,
        answer="Refuse",
        who=None,
        states="sssfU",
        pushed={"state": "withheld", "delivered": 1, "withheld": 100},
        runs=((RunState.WITHHELD, {"entered": 1, "exited": 100, "delivered": 1, "withheld": 100}),),
        received=1,
        members_shown=[*BEFORE, "newcomer"],
    ),
    "approved": Outcome(
        members=HALF,
        answer="Approve",
        states="sssss",
        pushed={"state": "withheld", "delivered": 1, "withheld": 100},
        runs=(
            (RunState.WITHHELD, {"entered": 1, "exited": 100, "delivered": 1, "withheld": 100}),
            (RunState.DONE, {"exited": 100, "delivered": 100}),
        ),
        received=101,
        members_shown=HALF,
    ),
    "refused": Outcome(
        members=HALF,
        answer="Refuse",
        states="ssssK",
        pushed={"state": "withheld", "delivered": 1, "withheld": 100},
        runs=((RunState.WITHHELD, {"entered": 1, "exited": 100, "delivered": 1, "withheld": 100}),),
        received=1,
        members_shown=[*BEFORE, "newcomer"],
    ),
    "401": Outcome(
        members=GROWN,
        faults=Faults(revoked_after=0),
        states="ssfUU",
        runs=((RunState.REFUSED, {"entered": 10, "owed": 10}),),
    ),
    "outage": Outcome(
        members=GROWN,
        faults=Faults(outage=Outage.UNAVAILABLE),
        states="ssfUU",
        runs=((RunState.UNAVAILABLE, {"entered": 10, "owed": 10, "in_doubt": 10}),),
    ),
    "lease held": Outcome(members=GROWN, is_held=True, states="sfUUU"),
    "unusable snapshot": Outcome(members=GROWN, is_unusable=True, states="fUUUU"),
}
WORDS = {"s": "success", "f": "failed", "U": "upstream_failed", "K": "skipped"}


@pytest.fixture
def told(configured: World) -> World:
    """Windsor has been told 200 members."""
    configured.document["computed_traits"] = []
    configured.destination["give_up_after_s"] = 0.3
    configured.snapshot(BEFORE)
    configured.sync()
    return configured


def prepare(told: World, outcome: Outcome, answer: Person) -> AbstractContextManager[Any]:
    """Let everything be as the outcome says, until the end of the block."""
    if outcome.members is not None:
        path = told.snapshot(outcome.members)
        if outcome.is_unusable:
            path.write_text("this,is,not\nan,engage,download\n", encoding="utf-8")
    if outcome.answer is not None:
        answer(outcome.answer, who=outcome.who)
    if outcome.allows is not None:
        told.document["defaults"] = {"max_rejected_percent": outcome.allows}
    told.windsor.set_faults(outcome.faults)
    return told.workspace.hold(TraitKey(KEY), "another run") if outcome.is_held else nullcontext()


def pushed_by(dag_run: Any, task_id: str) -> Any:
    return dag_run.get_task_instance(task_id, map_index=0).xcom_pull(task_ids=task_id, map_indexes=0)


def books_of(run: Run) -> dict[str, int]:
    """What is not zero, but for the members."""
    names = ("entered", "exited", "updated", "delivered", "rejected", "withheld", "owed", "in_doubt")
    return {name: number for name in names if (number := getattr(run.books, name))}


@pytest.mark.forms(6)
@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES.keys())
def test_a_sync_ends_in_the_colours_the_xcom_the_books_and_the_messages_that_are_its_own(
    told: World, run_sync: Callable[[], Any], answer: Person, outcome: Outcome
) -> None:
    sent, runs = told.sent, len(recent(told.workspace.database))
    with prepare(told, outcome, answer):
        dag_run = run_sync()
    found = {one.task_id.removeprefix("sync_audience."): str(one.state) for one in dag_run.get_task_instances()}
    assert found == {task: WORDS[letter] for task, letter in zip(TASKS, outcome.states, strict=True)}
    assert str(dag_run.state) == ("failed" if "f" in outcome.states else "success")
    pushed = pushed_by(dag_run, "sync_audience.deliver")
    assert (pushed is None) == (outcome.pushed is None)
    assert {name: pushed[name] for name in outcome.pushed or ()} == (outcome.pushed or {})
    new = recent(told.workspace.database)[: len(recent(told.workspace.database)) - runs][::-1]
    assert tuple((run.state, books_of(run)) for run in new) == outcome.runs
    for run in new:
        run.books.check(run.run_id)
    assert told.sent - sent == outcome.received
    assert told.members_shown() == set(outcome.members_shown)


def test_what_was_rejected_below_the_threshold_is_said_and_stays_owed(told: World) -> None:
    told.document["defaults"] = {"max_rejected_percent": 10}
    told.reopen()
    told.snapshot(GROWN)
    told.windsor.set_faults(ONE_OF_TEN)
    run = told.sync()
    assert run.state is RunState.DONE
    assert "Windsor was told 9 changes. Windsor rejected 1 of 10 changes" in (run.sentence or "")
    told.windsor.set_faults(Faults())
    assert told.sync().books.delivered == 1
    assert told.members_shown() == set(GROWN)
