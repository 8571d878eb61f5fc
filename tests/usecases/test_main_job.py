"""The main job: audiences become true/false, computed traits their value; changes only; nothing for nothing."""

from datetime import datetime

import pytest

from tests.support.world import FIRST_DAY, KEY, TRAIT_KEY, World
from windsor_sync.domain.run import RunState
from windsor_sync.state.runs import recent
from windsor_sync.usecases import run_lifecycle

NASTY_IDS = [
    "00123",
    "NA",
    "null",
    "nan",
    "1e5",
    "TRUE",
    "a,b",
    'say "hi"',
    "two\nlines",
    "🦆",
    " padded ",
    "None",
    "0",
]


def test_an_initial_sync_tells_windsor_of_every_member(world: World) -> None:
    world.snapshot(["ana", "ben", "cy"])
    run = world.sync()
    assert run.state is RunState.DONE
    assert world.shown() == {"ana": True, "ben": True, "cy": True}
    assert (run.books.entered, run.books.delivered, run.books.owed) == (3, 3, 0)


def test_a_later_sync_sends_only_what_changed(world: World) -> None:
    world.snapshot(["ana", "ben", "cy"])
    world.sync()
    world.snapshot(["ben", "cy", "dee"])
    run = world.sync()
    assert world.shown() == {"ana": False, "ben": True, "cy": True, "dee": True}
    assert (run.books.entered, run.books.exited, run.books.delivered) == (1, 1, 2)
    assert world.sent == 5


def test_an_unchanged_audience_sends_nothing(world: World) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    again = world.sync()
    assert (again.state, again.books.changes, world.sent) == (RunState.DONE, 0, 2)
    world.snapshot(["ben", "ana"])  # a newer file, the same members in another order
    assert world.sync().books.changes == 0
    assert world.sent == 2


def test_someone_who_left_and_came_back_is_told_true_again_with_a_new_message_id(world: World) -> None:
    for members in (["ana", "ben"], ["ben"], ["ana", "ben"]):
        world.snapshot(members)
        world.sync()
    assert world.shown() == {"ana": True, "ben": True}
    assert len({accepted.message_id for accepted in world.windsor.store.accepted}) == 4


def test_a_user_who_was_never_told_true_is_never_told_false(world: World) -> None:
    world.snapshot(["ana"])
    world.sync()
    world.snapshot(["ben"])
    world.sync()
    world.snapshot(["cy"])
    world.sync()
    assert world.shown() == {"ana": False, "ben": False, "cy": True}
    assert world.sent == 5


def test_a_changed_email_is_sent_again(world: World) -> None:
    world.snapshot({"ana": "ana@old.example"})
    world.sync()
    world.snapshot({"ana": "ana@new.example"})
    run = world.sync()
    assert (run.books.updated, run.books.entered) == (1, 0)
    user = world.windsor.store.user("ana")
    assert user is not None
    assert user.properties == {KEY: True, "email": "ana@new.example"}


def test_a_user_who_leaves_keeps_the_identifiers_of_the_previous_snapshot(world: World) -> None:
    world.snapshot({"ana": "ana@example.com", "ben": None})
    world.sync()
    world.snapshot([])
    world.snapshot({"ben": None})
    assert [message["traits"] for message in world.plan()] == [{KEY: False, "email": "ana@example.com"}]


def test_a_computed_trait_is_sent_only_when_its_value_changed(world: World) -> None:
    world.values({"ana": 11.77, "ben": 29.33, "cy": "gold"})
    world.sync(TRAIT_KEY)
    world.values({"ana": 11.77, "ben": 30, "cy": "gold"})
    run = world.sync(TRAIT_KEY)
    assert (run.books.updated, run.books.delivered) == (1, 1)
    assert world.shown(TRAIT_KEY) == {"ana": 11.77, "ben": 30, "cy": "gold"}


def test_a_computed_trait_that_is_absent_sends_nothing_unless_asked_to(world: World) -> None:
    world.values({"ana": 1, "ben": 2})
    world.sync(TRAIT_KEY)
    world.values({"ben": 2})
    assert world.sync(TRAIT_KEY).books.changes == 0
    assert world.shown(TRAIT_KEY) == {"ana": 1, "ben": 2}


def test_on_missing_null_sends_null_once(world: World) -> None:
    world.document["computed_traits"][0]["on_missing"] = None
    world.values({"ana": 1, "ben": 2})
    world.sync(TRAIT_KEY)
    world.values({"ben": 2})
    assert world.sync(TRAIT_KEY).books.exited == 1
    assert world.shown(TRAIT_KEY) == {"ana": None, "ben": 2}
    assert world.sync(TRAIT_KEY).books.changes == 0


def test_ids_arrive_exactly_as_they_stand_in_the_file(world: World) -> None:
    world.snapshot(dict.fromkeys(NASTY_IDS))
    world.sync()
    assert world.members_shown() == set(NASTY_IDS)


def test_an_audience_and_a_trait_of_the_same_users_do_not_disturb_each_other(world: World) -> None:
    world.snapshot(["ana"])
    world.values({"ana": 5, "ben": 6})
    world.sync()
    world.sync(TRAIT_KEY)
    assert world.shown() == {"ana": True}
    assert world.shown(TRAIT_KEY) == {"ana": 5, "ben": 6}


def test_a_plan_lists_exactly_the_messages_a_sync_sends(world: World) -> None:
    world.snapshot([f"user-{number}" for number in range(50)])
    world.sync()
    world.snapshot([f"user-{number}" for number in range(10, 60)])
    planned = world.plan()
    before = world.sent
    world.sync()
    arrived = world.windsor.store.accepted[before:]
    assert sorted(message["messageId"] for message in planned) == sorted(one.message_id for one in arrived)
    assert len(planned) == 20


def test_a_plan_sends_and_records_nothing(world: World) -> None:
    world.snapshot(["ana"])
    world.plan()
    assert world.sent == 0
    assert recent(world.workspace.database) == []


def test_the_books_of_every_run_are_kept_and_balance(world: World) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    world.sync()
    runs = recent(world.workspace.database)
    assert [run.books.changes for run in runs] == [0, 2]
    for run in runs:
        run.books.check(run.run_id)


@pytest.mark.parametrize("shards", [1, 3, 64])
def test_an_outbox_in_several_shards_is_delivered_whole(world: World, shards: int) -> None:
    world.document["audiences"][0]["delivery_shards"] = shards
    members = {f"user-{number}" for number in range(40)}
    world.snapshot(members)
    run = world.sync()
    assert (run.state, run.books.delivered) == (RunState.DONE, 40)
    assert world.members_shown() == members


def test_two_destinations_of_one_state_may_begin_a_run_in_the_same_second(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedClock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return FIRST_DAY

    monkeypatch.setattr(run_lifecycle, "datetime", StoppedClock)
    world.snapshot(["ana", "ben"])
    first = world.sync()
    world.destination["name"] = "staging"
    world.reopen()
    second = world.sync()
    assert (first.books.delivered, second.books.delivered) == (2, 2)
    assert first.run_id != second.run_id
