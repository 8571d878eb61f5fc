"""`why` and the rows of a run after a resync: in doubt is what was sent and not answered, and not all that is told again."""

import pytest

from tests.support.world import KEY, World
from windsor_sync.domain.change import Limits
from windsor_sync.sandbox import Faults
from windsor_sync.usecases.change_log import changes_of_run
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.why import Account, why

ENTRIES_LEFT_OUT = Limits(only="exited")
RESYNC_OF_NOBODY = Limits(is_resync=True, only="exited")


def account(world: World, user: str) -> Account:
    return next(one for one in why(world.workspace, user) if one.audience == KEY)


@pytest.fixture
def told(world: World) -> World:
    """A world in which Windsor was told that `ana` and `ben` are members."""
    world.destination |= {"give_up_after_s": 0.3, "timeout_s": 2}
    world.snapshot(["ana", "ben"])
    world.sync()
    return world


def test_what_a_resync_did_not_send_is_owed_and_not_in_doubt(told: World) -> None:
    run = told.sync(request=Request(limits=RESYNC_OF_NOBODY))
    assert [row.fate for row in changes_of_run(told.workspace, run.run_id, who="ana")] == ["owed", "owed"]
    told.sync(request=Request(limits=ENTRIES_LEFT_OUT))
    found = account(told, "ana")
    assert [step.fate for step in found.steps] == ["owed", "owed", "delivered"]
    assert found.sentence == "The user is in the newest snapshot; Windsor was told true."


def test_what_a_resync_did_not_send_is_sent_by_the_next_sync(told: World) -> None:
    told.sync(request=Request(limits=RESYNC_OF_NOBODY))
    assert told.sync().books.delivered == 2
    assert account(told, "ana").steps[0].fate == "delivered"


def test_what_was_sent_without_an_answer_stays_in_doubt_through_a_resync_that_sends_nothing(told: World) -> None:
    told.snapshot(["ben"])
    told.windsor.set_faults(Faults(lost_answer_rate=1))
    told.sync()
    told.windsor.set_faults(Faults())
    told.snapshot(["ana", "ben"])
    told.sync(request=Request(limits=Limits(is_resync=True, only="exited")))
    found = account(told, "ana")
    assert [step.fate for step in found.steps] == ["in doubt", "in doubt", "delivered"]
    assert "may have received a later message without answering" in found.sentence
    assert account(told, "ben").steps[0].fate == "owed"
    told.sync()
    assert (account(told, "ana").steps[0].fate, told.shown()) == ("delivered", {"ana": True, "ben": True})


def test_what_may_have_been_sent_by_a_run_that_is_not_kept_stays_in_doubt(told: World) -> None:
    told.snapshot(["ben"])
    told.windsor.set_faults(Faults(lost_answer_rate=1))
    lost = told.sync()
    told.windsor.set_faults(Faults())
    told.snapshot(["ana", "ben"])
    told.sync(request=Request(limits=RESYNC_OF_NOBODY))
    outbox = told.workspace.ledger.of_run(lost.run_id)
    assert outbox is not None
    assert outbox.outbox_path is not None
    told.workspace.files.delete(outbox.outbox_path)
    assert account(told, "ana").is_in_doubt


def test_what_a_resync_left_over_is_not_in_doubt_in_the_next_syncs_books_either(told: World) -> None:
    assert told.sync(request=Request(limits=RESYNC_OF_NOBODY)).books.in_doubt == 0
    run = told.sync(request=Request(limits=ENTRIES_LEFT_OUT))
    assert (run.books.owed, run.books.in_doubt) == (2, 0)
    assert [row.fate for row in changes_of_run(told.workspace, run.run_id, who="ana")] == ["owed", "owed"]


def test_what_was_sent_without_an_answer_is_in_doubt_in_the_books_of_the_resync_too(told: World) -> None:
    told.snapshot(["ben"])
    told.windsor.set_faults(Faults(lost_answer_rate=1))
    assert told.sync().books.in_doubt == 1
    told.windsor.set_faults(Faults())
    told.snapshot(["ana", "ben"])
    run = told.sync(request=Request(limits=RESYNC_OF_NOBODY))
    assert (run.books.owed, run.books.in_doubt) == (2, 1)
    fates = {row.user: row.fate for row in changes_of_run(told.workspace, run.run_id, who="ana")}
    assert fates == {"ana": "in doubt", "ben": "owed"}
