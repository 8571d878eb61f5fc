"""`delivery_shards` becomes tasks side by side, and one that closes the books."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.world import World
from windsor_sync.domain.run import RunState
from windsor_sync.sandbox import Faults
from windsor_sync.state.runs import recent

Run = Callable[[], Any]
USERS = [f"user-{number:03}" for number in range(60)]
GROUP = "sync_audience_in_3"
TASKS = {f"{GROUP}.deliver_{number}_of_3" for number in (1, 2, 3)}


@pytest.fixture
def shared(configured: World) -> World:
    """An audience that three tasks deliver, beside one that needs a single task."""
    configured.document["audiences"][0]["delivery_shards"] = 3
    configured.snapshot(USERS)
    configured.values({"ana": 1})
    return configured


def states(dag_run: Any) -> dict[str, str]:
    return {one.task_id: str(one.state) for one in dag_run.get_task_instances()}


def test_each_task_delivers_its_share_and_one_closes_the_books(shared: World, run_sync: Run) -> None:
    dag_run = run_sync()
    found = states(dag_run)
    assert {task for task, state in found.items() if state == "success"} >= {*TASKS, f"{GROUP}.close_books"}
    shares = [dag_run.get_task_instance(task, map_index=0).xcom_pull(task_ids=task, map_indexes=0) for task in TASKS]
    assert sorted(share["delivered"] for share in shares) == [20, 20, 20]
    assert (shared.members_shown(), shared.sent) == (set(USERS), 61)
    assert {run.state for run in recent(shared.workspace.database)} == {RunState.DONE}


def test_one_task_tells_who_left_before_the_others_tell_who_came(shared: World, run_sync: Run) -> None:
    shared.document["defaults"] |= {"max_exited_percent": None}
    shared.sync()
    shared.windsor.store.reset()
    left, came = set(USERS[:25]), {f"new-{number:02}" for number in range(30)}
    shared.snapshot([*USERS[25:], *came])
    dag_run = run_sync()
    found = states(dag_run)
    assert {found[task] for task in (f"{GROUP}.deliver_exits", *TASKS, f"{GROUP}.close_books")} == {"success"}
    arrived = [accepted.user_id for accepted in shared.windsor.store.accepted if accepted.user_id != "ana"]
    assert (set(arrived[:25]), set(arrived[25:])) == (left, came)


def test_nobody_is_told_true_when_the_task_before_fails(shared: World, run_sync: Run) -> None:
    shared.document["defaults"] |= {"max_exited_percent": None}
    shared.sync()
    shared.windsor.store.reset()
    shared.snapshot([*USERS[25:], "new"])
    shared.windsor.set_faults(Faults(revoked_after=0))
    found = states(run_sync())
    assert found[f"{GROUP}.deliver_exits"] == "failed"
    assert {found[task] for task in TASKS} == {"upstream_failed"}
    assert found[f"{GROUP}.close_books"] == "failed"
    shared.windsor.set_faults(Faults())
    shared.sync()
    arrived = [accepted.user_id for accepted in shared.windsor.store.accepted if accepted.user_id != "ana"]
    assert (set(arrived[:-1]), arrived[-1]) == (set(USERS[:25]), "new")


def test_the_closing_task_has_the_colour_of_the_run(shared: World, run_sync: Run) -> None:
    shared.windsor.set_faults(Faults(rejected_users=frozenset(USERS[:1])))
    dag_run = run_sync()
    found = states(dag_run)
    assert {found[task] for task in TASKS} == {"success"}
    assert (found[f"{GROUP}.close_books"], str(dag_run.state)) == ("failed", "failed")


@pytest.mark.thorough
def test_a_refused_key_fails_the_tasks_and_closes_the_books(shared: World, run_sync: Run) -> None:
    shared.windsor.set_faults(Faults(revoked_after=0))
    found = states(run_sync())
    assert {found[task] for task in (*TASKS, f"{GROUP}.close_books")} == {"failed"}
    assert {run.state for run in recent(shared.workspace.database)} == {RunState.REFUSED}
    shared.windsor.set_faults(Faults())
    assert str(run_sync().state) == "success"
    assert shared.members_shown() == set(USERS)


def test_a_snapshot_that_cannot_be_used_leaves_nothing_green(shared: World, run_sync: Run) -> None:
    (shared.folder / "snapshots/audience").rename(shared.folder / "snapshots/elsewhere")
    dag_run = run_sync()
    found = states(dag_run)
    assert found[f"{GROUP}.close_books"] == "upstream_failed"
    assert str(dag_run.state) == "failed"
