"""Faults between us and Windsor: nothing is lost, nothing stays stale, and doubt is told the truth."""

import pytest

from tests.support.world import KEY, World
from windsor_sync.delivery.bounds import EngineLimits
from windsor_sync.domain.run import RunState
from windsor_sync.errors import LeaseHeld
from windsor_sync.sandbox import Faults
from windsor_sync.state.runs import run_of
from windsor_sync.usecases.request import Request

MANY = [f"user-{number:03}" for number in range(300)]


@pytest.fixture
def hasty(world: World) -> World:
    """A world whose destination gives up after a second."""
    world.destination["give_up_after_s"] = 0.3
    world.destination["timeout_s"] = 2
    return world


def test_a_rejected_change_stays_owed_and_is_sent_as_soon_as_windsor_takes_it(world: World) -> None:
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ben"})))
    world.snapshot(["ana", "ben"])
    run = world.sync()
    assert (run.state, run.books.delivered, run.books.rejected) == (RunState.REJECTED, 1, 1)
    world.windsor.set_faults(Faults())
    assert world.sync().state is RunState.DONE
    assert world.members_shown() == {"ana", "ben"}
    assert world.sync().books.changes == 0


def test_a_change_that_is_rejected_again_and_again_waits_1_2_4_runs(world: World) -> None:
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ben"})))
    world.snapshot(["ana", "ben"])
    tried = []
    for number in range(1, 13):
        before = world.windsor.store.stats()["answers"].get("400", 0)
        world.sync()
        if world.windsor.store.stats()["answers"].get("400", 0) > before:
            tried.append(number)
    assert tried == [1, 2, 4, 8]


def test_a_waiting_change_is_sent_at_once_when_its_content_changes(world: World) -> None:
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ben"})))
    world.snapshot({"ben": "bad"})
    for _ in range(2):
        world.sync()
    world.windsor.set_faults(Faults())
    assert world.sync().books.rejected == 1  # not due yet
    world.snapshot({"ben": "ben@example.com"})
    assert world.sync().state is RunState.DONE
    assert world.members_shown() == {"ben"}


def test_the_same_change_keeps_its_message_id_on_every_try(world: World) -> None:
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ben"})))
    world.snapshot(["ben"])
    first = world.plan()
    world.sync()
    world.snapshot(["ben", "cy"])
    again = [message for message in world.plan() if message["userId"] == "ben"]
    assert [message["messageId"] for message in again] == [message["messageId"] for message in first]
    assert again == first


def test_what_is_withheld_is_not_promised_to_the_next_run_but_to_a_person(hasty: World) -> None:
    hasty.snapshot(MANY)
    hasty.sync()
    hasty.windsor.set_faults(Faults.parse({"outage": "unavailable"}))
    hasty.snapshot([*MANY[:100], "new-1", "new-2"])
    run = hasty.sync()
    assert (run.state, run.books.owed, run.books.withheld) == (RunState.UNAVAILABLE, 2, 200)
    words = "the other 202 are not yet in Windsor: the next run sends 2, 200 go out once a person approves"
    assert words in (run.sentence or "")


def test_rejections_are_named_beside_what_is_withheld(world: World) -> None:
    world.snapshot(MANY)
    world.sync()
    world.windsor.set_faults(Faults(rejected_users=frozenset({"new"})))
    world.snapshot([*MANY[:100], "new"])
    run = world.sync()
    assert (run.state, run.books.rejected, run.books.withheld) == (RunState.WITHHELD, 1, 200)
    assert "Windsor rejected 1 of 201 changes" in (run.sentence or "")


def test_an_outage_owes_every_change_and_the_next_run_sends_them(hasty: World) -> None:
    hasty.windsor.set_faults(Faults.parse({"outage": "unavailable"}))
    hasty.snapshot(MANY)
    run = hasty.sync()
    assert (run.state, run.books.delivered, run.books.owed) == (RunState.UNAVAILABLE, 0, 300)
    hasty.windsor.set_faults(Faults())
    assert hasty.sync().state is RunState.DONE
    assert hasty.members_shown() == set(MANY)


def test_a_refused_key_stops_at_once_and_owes_the_rest(hasty: World) -> None:
    hasty.windsor.set_faults(Faults(revoked_after=50))
    hasty.snapshot(MANY)
    run = hasty.sync()
    assert run.state is RunState.REFUSED
    assert run.books.delivered + run.books.owed == 300
    assert hasty.windsor.store.stats()["answers"].get("401", 0) <= 64
    hasty.windsor.set_faults(Faults())
    assert hasty.sync().state is RunState.DONE
    assert hasty.members_shown() == set(MANY)


def test_an_entry_that_was_applied_without_an_answer_is_told_false_when_the_user_has_left(hasty: World) -> None:
    hasty.windsor.set_faults(Faults(lost_answer_rate=1))
    hasty.snapshot(["ana", "ben"])
    run = hasty.sync()
    assert (run.books.owed, run.books.in_doubt) == (2, 2)
    assert hasty.members_shown() == {"ana", "ben"}  # applied, though we do not know
    hasty.windsor.set_faults(Faults())
    hasty.snapshot(["ben"])
    assert hasty.sync().state is RunState.DONE
    assert hasty.shown() == {"ana": False, "ben": True}
    assert hasty.sync().books.changes == 0


def test_an_exit_that_was_applied_without_an_answer_is_told_true_when_the_user_came_back(hasty: World) -> None:
    hasty.snapshot(["ana", "ben"])
    hasty.sync()
    hasty.windsor.set_faults(Faults(lost_answer_rate=1))
    hasty.snapshot(["ben"])
    hasty.sync()
    assert hasty.shown() == {"ana": False, "ben": True}
    hasty.windsor.set_faults(Faults())
    hasty.snapshot(["ana", "ben"])
    assert hasty.sync().state is RunState.DONE
    assert hasty.shown() == {"ana": True, "ben": True}
    assert hasty.sync().books.changes == 0


def test_doubt_outlives_a_run_that_could_not_send_either(hasty: World) -> None:
    hasty.windsor.set_faults(Faults(lost_answer_rate=1))
    hasty.snapshot(["ana", "ben"])
    hasty.sync()
    hasty.windsor.set_faults(Faults.parse({"outage": "unavailable"}))
    hasty.snapshot(["ben"])
    hasty.sync()
    hasty.windsor.set_faults(Faults())
    hasty.snapshot(["cy"])
    hasty.sync()
    assert hasty.shown() == {"ana": False, "ben": False, "cy": True}


def test_a_user_whose_entry_was_refused_is_never_told_false(world: World) -> None:
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ana"})))
    world.snapshot(["ana", "ben"])
    world.sync()
    world.windsor.set_faults(Faults())
    world.snapshot(["ben"])
    assert world.sync().books.changes == 0
    assert world.shown() == {"ben": True}


def test_a_run_that_died_half_way_is_taken_up_by_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    world.snapshot(MANY)
    with monkeypatch.context() as patched:
        patched.setattr("windsor_sync.usecases.deliver.deliver", die)
        with pytest.raises(KeyboardInterrupt):
            world.sync()
    world.reopen()
    run = world.sync()
    assert (run.state, run.books.delivered) == (RunState.DONE, 300)
    assert world.members_shown() == set(MANY)
    assert run.number == 2
    dead = run_of(world.workspace.database, f"{KEY}-1-{run.started_at:%Y%m%dT%H%M%SZ}")
    assert dead is None or dead.state is RunState.INTERRUPTED


def test_a_second_run_is_refused_and_names_the_holder(world: World) -> None:
    world.snapshot(["ana"])
    with (
        world.workspace.hold(world.computation().key, "the nightly run"),
        pytest.raises(LeaseHeld, match=r"the nightly run.*since"),
    ):
        world.sync()
    assert world.sent == 0


def test_a_pressed_stop_drains_and_leaves_the_rest_owed(world: World) -> None:
    world.windsor.set_faults(Faults(latency_ms=(20, 40)))
    world.snapshot(MANY)
    run = world.sync(on_progress=lambda *_: world.stop.press())
    assert run.state is RunState.INTERRUPTED
    assert run.books.delivered + run.books.owed == 300
    assert run.books.in_doubt == 0
    assert run.books.delivered == len(world.members_shown())
    world.reopen()
    assert world.sync().state is RunState.DONE
    assert world.members_shown() == set(MANY)
    assert world.sent == 300


def test_any_mixture_of_faults_ends_in_the_snapshot(hasty: World) -> None:
    hasty.destination["give_up_after_s"] = 5
    mixed = Faults(
        seed=7, busy_rate=0.1, retry_after_s=0.05, error_rate=0.1, reset_rate=0.05, lost_answer_rate=0.1,
        false_error_rate=0.05, garbage_rate=0.05, latency_ms=(0, 5),
    )  # fmt: skip
    hasty.windsor.set_faults(mixed)
    for members in (MANY[:60], MANY[30:90], MANY[15:75]):
        hasty.snapshot(members)
        hasty.sync(request=Request(is_beyond_guard=True))
    hasty.windsor.set_faults(Faults())
    assert hasty.sync(request=Request(is_beyond_guard=True)).state is RunState.DONE
    assert hasty.members_shown() == set(MANY[15:75])
    assert hasty.sync().books.changes == 0


def test_the_engine_is_told_how_patient_to_be(hasty: World) -> None:
    assert hasty.workspace.engine_limits == EngineLimits(max_in_flight=64, give_up_after_s=0.3)
