"""`why` finds out with one query what became of a user's changes in all runs, and agrees with what each run shows."""

from collections.abc import Callable
from typing import Any

import duckdb
import pytest

from tests.support.s3 import BUCKET
from tests.support.world import KEY, World
from windsor_sync.sandbox import Faults
from windsor_sync.state.runs import outboxes_of, recent
from windsor_sync.usecases import why as story
from windsor_sync.usecases.change_log import changes_of_run
from windsor_sync.usecases.why import Account, why

USERS = [f"user-{number:03}" for number in range(200)]
REJECTED, RETURNED = USERS[3], USERS[60]
HISTORY = (
    (Faults(rejected_users=frozenset({REJECTED})), USERS[:150]),
    (Faults(), USERS[:20]),
    (Faults(lost_answer_rate=0.5), USERS[10:180]),
    (Faults(outage="unavailable"), USERS[40:170]),
    (Faults(rejected_users=frozenset({REJECTED, RETURNED})), [*USERS[:30], *USERS[60:200]]),
)


def live(world: World) -> World:
    """Make runs whose changes are delivered, rejected, withheld or left without an answer."""
    for faults, members in HISTORY:
        world.snapshot(members)
        world.windsor.set_faults(faults)
        world.sync()
    return world


def account(world: World, user: str) -> Account:
    return next(one for one in why(world.workspace, user) if one.audience == KEY)


def told(world: World, user: str) -> list[tuple[object, ...]]:
    """Return the steps that `why` has to show: the user's rows of each run, newest run first."""
    return [
        (run.run_id, row.change, row.value, row.fate, row.code, row.message)
        for run in recent(world.workspace.database)
        for row in reversed(changes_of_run(world.workspace, run.run_id, who="ana"))
        if row.user == user
    ]


def shown(account: Account) -> list[tuple[object, ...]]:
    return [(step.run_id, step.change, step.value, step.fate, step.code, step.message) for step in account.steps]


def test_why_shows_the_users_rows_of_each_run(make_world: Callable[..., World]) -> None:
    world = live(make_world(give_up_after_s=0.1, timeout_s=0.5))
    fates = set()
    for user in (REJECTED, RETURNED, *USERS[::15]):
        steps = shown(account(world, user))
        assert steps == told(world, user)
        fates |= {step[3] for step in steps}
    assert {"delivered", "rejected", "withheld", "in doubt"} <= fates


def test_an_outbox_of_an_older_version_and_a_lost_one_change_no_step_of_another_run(world: World) -> None:
    for members in (["ana"], ["ben"], ["ana", "ben"]):
        world.snapshot(members)
        world.sync()
    steps = shown(account(world, "ana"))
    (_, _, first), (lost, _, second), _ = outboxes_of(world.workspace.database, 1)
    place = world.workspace.files.location(first)
    duckdb.execute(f"CREATE OR REPLACE TEMP TABLE older AS SELECT * EXCLUDE (was_sent) FROM '{place}'")
    duckdb.execute(f"COPY older TO '{place}' (FORMAT parquet)")
    assert shown(account(world, "ana")) == steps
    world.workspace.files.delete(second)
    assert shown(account(world, "ana")) == [step for step in steps if step[0] != lost]
    assert len(steps) == 3


@pytest.mark.thorough
def test_in_an_object_store_why_shows_the_same_from_copies_and_from_files_and_beside_a_lost_file(
    make_world: Callable[..., World], s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    world.document["files"] = f"s3://{BUCKET}/windsor"
    for members in (["ana"], ["ben"], ["ana", "ben"]):
        world.snapshot(members)
        world.sync()
    steps = shown(account(world, "ana"))
    assert [step[1] for step in steps] == ["entered", "exited", "entered"]
    with monkeypatch.context() as patched:
        patched.setattr(story, "FETCHED_BYTES", 0)
        assert shown(account(world, "ana")) == steps
    (_, _, first), (lost, _, second), _ = outboxes_of(world.workspace.database, 1)
    world.workspace.files.delete(second)
    assert shown(account(world, "ana")) == [step for step in steps if step[0] != lost]
    assert s3.exists(f"{BUCKET}/windsor/{first}")
