"""What people decide: approvals, backfills, retries, retirements, forgetting; and what they ask: why, audit."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.world import AUDIENCE, KEY, TRAIT_KEY, World
from windsor_sync.domain.change import Limits, Retry
from windsor_sync.domain.guard import Ceiling
from windsor_sync.domain.run import RunState
from windsor_sync.errors import ConfigError, SnapshotError
from windsor_sync.sandbox import Faults
from windsor_sync.segment.trait_keys import TraitKey
from windsor_sync.state.approvals import approve, unsettled_approval
from windsor_sync.state.runs import recent
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.forget import forget
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.retire import retire
from windsor_sync.usecases.seal import path_as_of
from windsor_sync.usecases.why import why

CROWD = [f"user-{number:03}" for number in range(200)]


@pytest.fixture
def world(make_world: Callable[..., World], state_url: str) -> World:
    """A world on each database the state can live in."""
    world = make_world()
    world.document["state"] = state_url
    return world


# -- the guard ---------------------------------------------------------------------------------------------------


def test_a_snapshot_cut_to_a_tenth_sends_the_entries_and_withholds_every_exit(world: World) -> None:
    world.snapshot(CROWD)
    world.sync()
    world.snapshot([*CROWD[:20], "newcomer"])
    run = world.sync()
    assert run.state is RunState.WITHHELD
    assert (run.books.delivered, run.books.withheld) == (1, 180)
    assert world.members_shown() == {*CROWD, "newcomer"}
    assert "180 of 200 members exited (90 %; 30 % are allowed)" in (run.sentence or "")


def test_withheld_changes_are_asked_about_again_until_a_healthy_snapshot_lifts_them(world: World) -> None:
    world.snapshot(CROWD)
    world.sync()
    world.snapshot(CROWD[:20])
    assert world.sync().state is RunState.WITHHELD
    assert world.sync().state is RunState.WITHHELD
    world.snapshot(CROWD[10:])
    assert world.sync().state is RunState.DONE
    assert world.members_shown() == set(CROWD[10:])
    assert world.sync().books.changes == 0


def test_an_approval_is_a_ceiling_used_by_the_next_run(world: World) -> None:
    world.snapshot(CROWD)
    world.sync()
    world.snapshot(CROWD[:20])
    withheld = world.sync()
    database = world.workspace.database
    approve(database, withheld, Ceiling(max_exited=179), who="ana", why="sale ended")
    again = world.sync()
    assert (again.state, again.books.delivered) == (RunState.WITHHELD, 0)
    approve(database, again, Ceiling(max_exited=180), who="ana", why="sale ended")
    assert world.sync().state is RunState.DONE
    assert world.members_shown() == set(CROWD[:20])
    assert unsettled_approval(database, withheld.audience_id) is None


def test_an_approval_is_spent_by_the_run_that_used_it(world: World) -> None:
    world.snapshot(CROWD)
    world.sync()
    world.snapshot(CROWD[:20])
    approve(world.workspace.database, world.sync(), Ceiling(max_exited=1000), who="ana", why=None)
    world.sync()
    world.snapshot(CROWD)
    world.sync()
    world.snapshot(CROWD[:20])
    assert world.sync().state is RunState.WITHHELD


def test_only_the_newest_withheld_run_can_be_approved(world: World) -> None:
    world.snapshot(CROWD)
    done = world.sync()
    world.snapshot(CROWD[:20])
    first = world.sync()
    world.sync()
    for run in (done, first):
        with pytest.raises(ConfigError, match="Nothing was approved"):
            approve(world.workspace.database, run, Ceiling(max_exited=1000), who="ana", why=None)


def test_a_snapshot_without_a_row_is_refused_where_the_audience_had_members(world: World) -> None:
    world.snapshot([])
    assert world.sync().state is RunState.DONE  # an audience may begin empty
    world.snapshot(["ana"])
    world.sync()
    world.snapshot([])
    with pytest.raises(SnapshotError, match="no rows at all, but Windsor was told 1 member"):
        world.sync()
    assert world.members_shown() == {"ana"}


def test_an_empty_snapshot_withholds_everyone_even_in_a_small_audience(world: World) -> None:
    world.snapshot(["ana"])
    world.sync()
    empty = world.snapshot([])
    run = world.sync(request=Request("backfill", snapshot_path=str(empty)))
    assert (run.state, run.books.withheld, world.members_shown()) == (RunState.WITHHELD, 1, {"ana"})
    approve(world.workspace.database, run, Ceiling(max_exited=1), who="ana", why=None)
    assert world.sync(request=Request("backfill", snapshot_path=str(empty))).state is RunState.DONE
    assert world.shown() == {"ana": False}


# -- backfills and retries ---------------------------------------------------------------------------------------


def test_an_older_snapshot_is_refused_unless_a_backfill_names_it(world: World) -> None:
    old = world.snapshot(["ana"])
    world.sync()
    new = world.snapshot(["ben"])
    world.sync()
    new.unlink()
    with pytest.raises(SnapshotError, match="Nothing was sent"):
        world.sync()
    assert world.sync(request=Request("backfill", snapshot_path=str(old))).state is RunState.DONE
    assert world.shown() == {"ana": True, "ben": False}


def test_as_of_finds_the_snapshot_that_was_newest_then(world: World) -> None:
    first = world.snapshot(["ana"])
    world.snapshot(["ben"])
    moment = datetime.fromtimestamp(first.stat().st_mtime + 60, UTC)
    assert Path(path_as_of(world.computation(), moment)) == first
    with pytest.raises(SnapshotError, match="was taken by"):
        path_as_of(world.computation(), datetime(2020, 1, 1, tzinfo=UTC))


def test_a_resync_tells_every_member_true_and_everyone_ever_told_true_false(world: World) -> None:
    for members in (["ana", "ben"], ["ben", "cy"], ["cy"]):
        world.snapshot(members)
        world.sync()
    world.windsor.reset()
    run = world.sync(request=Request("backfill", limits=Limits(is_resync=True)))
    assert world.shown() == {"ana": False, "ben": False, "cy": True}
    assert (run.state, run.books.delivered) == (RunState.DONE, 3)
    assert len(world.windsor.store.accepted) == 3
    assert world.sync().books.changes == 0


def test_a_resync_that_was_interrupted_is_completed_by_the_next_sync(make_world: Callable[..., World]) -> None:
    world = make_world(give_up_after_s=0.2)
    world.snapshot(["ana", "ben"])
    world.sync()
    world.windsor.reset()
    world.windsor.set_faults(Faults.parse({"outage": "unavailable"}))
    world.sync(request=Request("backfill", limits=Limits(is_resync=True)))
    world.windsor.set_faults(Faults())
    world.sync()
    assert world.shown() == {"ana": True, "ben": True}


@pytest.mark.parametrize(("only", "told"), [("entered", {"ana", "ben", "cy"}), ("exited", {"ben"})])
def test_a_backfill_of_one_side_leaves_the_other_owed(world: World, only: str, told: set[str]) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    world.snapshot(["ben", "cy"])
    run = world.sync(request=Request("backfill", limits=Limits(only=only)))
    assert run.state is RunState.DONE
    assert (run.books.delivered, run.books.owed, world.members_shown()) == (1, 1, told)
    assert world.sync().state is RunState.DONE
    assert world.members_shown() == {"ben", "cy"}


def test_a_limited_backfill_sends_so_many_and_owes_the_rest(world: World) -> None:
    world.snapshot(CROWD)
    run = world.sync(request=Request("backfill", limits=Limits(count=30)))
    assert (run.books.delivered, run.books.owed) == (30, 170)
    assert (run.state, run.sentence) == (
        RunState.DONE,
        "Windsor was told 30 changes. What was not asked for (170 changes) stays owed, and the next sync sends it.",
    )
    assert len(world.members_shown()) == 30
    world.sync()
    assert world.members_shown() == set(CROWD)


def test_retry_sends_what_is_not_due_and_only_what_was_rejected_so(world: World) -> None:
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ben"})))
    world.snapshot(["ben"])
    world.sync()
    world.sync()
    world.windsor.set_faults(Faults())
    assert world.sync(request=Request("retry", limits=Limits(retry=Retry(code=404)))).books.delivered == 0
    assert world.sync(request=Request("retry", limits=Limits(retry=Retry(code=400)))).books.delivered == 1
    assert world.members_shown() == {"ben"}


# -- names, retirement, forgetting -------------------------------------------------------------------------------


def test_a_renamed_audience_keeps_its_key(world: World) -> None:
    world.snapshot(["ana"])
    world.sync()
    world.document["audiences"][0]["name"] = "Ordered in the Last Month"
    world.reopen()
    world.snapshot(["ben"])
    world.sync("ordered_in_the_last_month")
    assert world.shown() == {"ana": False, "ben": True}
    assert world.shown("ordered_in_the_last_month") == {}


def test_retire_sends_false_to_exactly_those_told_true(world: World) -> None:
    world.windsor.set_faults(Faults(rejected_users=frozenset({"cy"})))
    world.snapshot(["ana", "ben", "cy"])
    world.sync()
    world.snapshot(["ben", "cy"])
    world.sync()
    world.windsor.set_faults(Faults())
    before = world.sent
    run = retire(world.workspace, KEY, "ana", "no longer used", world.stop)
    assert (run.state, world.sent - before) == (RunState.DONE, 1)
    assert world.shown() == {"ana": False, "ben": False}


def test_a_retired_key_is_refused_unless_it_is_reused_on_purpose(world: World) -> None:
    world.snapshot(["ana"])
    world.sync()
    retire(world.workspace, AUDIENCE, "ana", None, world.stop)
    with pytest.raises(ConfigError, match="reuse_key"):
        world.sync()
    world.document["audiences"][0]["reuse_key"] = True
    world.reopen()
    assert world.sync().state is RunState.DONE
    assert world.shown() == {"ana": True}
    assert len({one.message_id for one in world.windsor.store.accepted}) == 3


def test_a_key_that_is_used_again_may_begin_with_an_old_snapshot_and_ends_with_the_newest(world: World) -> None:
    old = world.snapshot(["ana", "ben"])
    world.sync()
    world.snapshot(["ben", "cy"])
    world.sync()
    retire(world.workspace, KEY, "ana", None, world.stop)
    world.document["audiences"][0]["reuse_key"] = True
    world.reopen()
    assert world.sync(request=Request("backfill", snapshot_path=str(old))).state is RunState.DONE
    assert world.shown() == {"ana": True, "ben": True, "cy": False}
    assert world.sync().state is RunState.DONE
    assert world.shown() == {"ana": False, "ben": True, "cy": True}
    accepted = [one.message_id for one in world.windsor.store.accepted]
    assert len(set(accepted)) == len(accepted)
    assert world.sync().books.changes == 0


def test_a_retirement_that_was_interrupted_is_finished_by_repeating_it(make_world: Callable[..., World]) -> None:
    world = make_world(give_up_after_s=0.2)
    world.snapshot(["ana", "ben"])
    world.sync()
    world.windsor.set_faults(Faults.parse({"outage": "unavailable"}))
    assert retire(world.workspace, KEY, "ana", None, world.stop).state is RunState.UNAVAILABLE
    world.windsor.set_faults(Faults())
    assert retire(world.workspace, KEY, "ana", None, world.stop).state is RunState.DONE
    assert world.shown() == {"ana": False, "ben": False}


def test_a_retired_computed_trait_becomes_null(world: World) -> None:
    world.values({"ana": 5})
    world.sync(TRAIT_KEY)
    retire(world.workspace, TRAIT_KEY, "ana", None, world.stop)
    assert world.shown(TRAIT_KEY) == {"ana": None}


def test_a_forgotten_user_is_never_sent_anything_again_and_stored_nowhere(world: World) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    done = forget(world.workspace, "ana", who="cy", why="asked")
    assert (done.is_new, done.snapshots, done.outboxes) == (True, 1, 1)
    before = world.sent
    world.snapshot(["ana", "ben", "dee"])
    world.sync()
    world.snapshot(["ben"])
    run = world.sync()
    assert "ana" not in {one.user_id for one in world.windsor.store.accepted[before:]}
    run.books.check(run.run_id)
    stored = (world.folder / ".windsor" / "files").rglob("*")
    assert not [path for path in stored if path.is_file() and b"ana@example.com" in path.read_bytes()]


def test_a_user_suppressed_while_a_change_is_owed_is_not_told_it(make_world: Callable[..., World]) -> None:
    world = make_world(give_up_after_s=0.2)
    world.windsor.set_faults(Faults.parse({"outage": "unavailable"}))
    world.snapshot(["ana", "ben"])
    world.sync()
    forget(world.workspace, "ana", who="cy", why=None)
    world.windsor.set_faults(Faults())
    run = world.sync()
    assert (run.state, world.shown()) == (RunState.DONE, {"ben": True})


# -- questions ---------------------------------------------------------------------------------------------------


def test_why_tells_the_whole_story_and_ends_in_what_windsor_holds(world: World) -> None:
    for members in (["ana", "ben"], ["ben"], ["ana", "ben"]):
        world.snapshot(members)
        world.sync()
    (account,) = why(world.workspace, "ana")
    assert [(step.change, step.value, step.fate) for step in account.steps] == [
        ("entered", True, "delivered"),
        ("exited", False, "delivered"),
        ("entered", True, "delivered"),
    ]
    assert account.told is world.shown()["ana"] is True
    assert account.sentence == "The user is in the newest snapshot; Windsor was told true."


def test_why_names_the_refusal(world: World) -> None:
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ana"})))
    world.snapshot(["ana"])
    world.sync()
    (account,) = why(world.workspace, "ana")
    assert [(step.fate, step.code) for step in account.steps] == [("rejected", 400)]
    assert account.sentence == "The user is in the newest snapshot; Windsor was never told anything about them."


def test_why_knows_a_stranger(world: World) -> None:
    world.snapshot(["ana"])
    world.sync()
    (account,) = why(world.workspace, "nobody")
    assert account.sentence == "The user is not in the newest snapshot; Windsor was never told anything about them."


def test_audit_finds_a_run_that_died_and_closes_its_books(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.snapshot(["ana", "ben"])
    with monkeypatch.context() as patched:
        patched.setattr(
            "windsor_sync.usecases.deliver.deliver", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            world.sync()
    with world.workspace.hold(TraitKey(KEY.upper()), "a delivery of another audience", shard=1):
        (died,) = audit(world.workspace, repair=False)
    assert not died.is_going
    assert [one.is_mended for one in audit(world.workspace, repair=True)] == [True]
    assert audit(world.workspace, repair=False) == []
    (run,) = recent(world.workspace.database)
    assert (run.state, run.books.owed) == (RunState.INTERRUPTED, 2)


def test_audit_finds_a_lost_snapshot_and_names_what_mends_it(world: World) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    (sealed,) = (world.folder / ".windsor" / "files" / "snapshots").rglob("*.parquet")
    sealed.unlink()
    (found,) = audit(world.workspace, repair=False)
    assert "missing" in found.text
    assert f"windsor-sync recover {KEY}" in found.remedy


def test_an_approval_in_the_state_names_who_when_and_why(world: World) -> None:
    world.snapshot(CROWD)
    world.sync()
    world.snapshot(CROWD[:20])
    given = approve(world.workspace.database, world.sync(), Ceiling(max_exited=200), who="ana", why="sale ended")
    found = unsettled_approval(world.workspace.database, recent(world.workspace.database)[0].audience_id)
    assert found is not None
    assert replace(found, at=given.at) == given
