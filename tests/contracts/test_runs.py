"""The history of runs: what a run came to is kept as it was, and found again."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.contracts.stage import MOMENT, Stage
from windsor_sync.domain.run import Books, Run, RunState, UnbalancedBooksError
from windsor_sync.state.runs import recent, run_of


def found(stage: Stage, run_id: str) -> Run:
    """A run that has to be there."""
    run = run_of(stage.database, run_id)
    assert run is not None
    return run


def test_an_open_run_shows_what_it_will_do(stage: Stage) -> None:
    audience_id = stage.audience("Big Spenders")
    run_id = stage.open(audience_id, rows=7, held=["exited"], options={"withheld_because": ["a third left"]})
    run = found(stage, run_id)
    assert (run.audience, run.name, run.number, run.kind) == ("big_spenders", "Big Spenders", 1, "sync")
    assert (run.state, run.finished_at, run.sentence) == (RunState.OPEN, None, None)
    assert (run.taken_at, run.started_at) == (MOMENT, MOMENT + timedelta(hours=1))
    assert (run.held, run.options) == (("exited",), {"withheld_because": ["a third left"]})
    assert run.outbox is not None
    assert run.books == Books(5, 3, {"missing_user_id": 2}, members_before=0, entered=7, exited=0, updated=0)


def test_a_closed_run_keeps_its_books_its_end_and_its_sentence(stage: Stage) -> None:
    run_id = stage.open(stage.audience(), rows=9)
    books = replace(found(stage, run_id).books, delivered=4, rejected=1, withheld=2, owed=2, in_doubt=1)
    moment = MOMENT + timedelta(hours=5, microseconds=7)
    stage.finish(run_id, RunState.WITHHELD, books, moment, "Two are withheld – approve them.")
    run = found(stage, run_id)
    assert (run.books, run.state, run.finished_at) == (books, RunState.WITHHELD, moment)
    assert run.sentence == "Two are withheld – approve them."


def test_closing_a_run_touches_no_other(stage: Stage) -> None:
    audience_id = stage.audience()
    first, second = (stage.open(audience_id, number=number) for number in (1, 2))
    stage.finish(second, RunState.DONE, found(stage, second).books, MOMENT, "done")
    assert found(stage, first).state is RunState.OPEN


def test_numbers_beyond_four_billion_are_kept(stage: Stage) -> None:
    run_id = stage.open(stage.audience(), entered=2**40, rows=0)
    books = replace(found(stage, run_id).books, owed=2**40)
    stage.finish(run_id, RunState.UNAVAILABLE, books, MOMENT, "later")
    assert found(stage, run_id).books.owed == 2**40


def test_the_newest_runs_come_first_and_can_be_narrowed_down(stage: Stage) -> None:
    vip, dormant = stage.audience("VIP"), stage.audience("Dormant")
    runs = [stage.open(audience, number=number) for number in (1, 2) for audience in (vip, dormant)]

    def ids(**narrowed: object) -> set[str]:
        return {run.run_id for run in recent(stage.database, **narrowed)}  # type: ignore[arg-type]

    newest = [run.number for run in recent(stage.database)]
    assert newest == sorted(newest, reverse=True)
    assert ids() == set(runs)
    assert ids(audience_ids=[vip]) == {runs[0], runs[2]}
    assert ids(limit=2) == {runs[2], runs[3]}
    assert ids(run_id=runs[1]) == {runs[1]}
    assert ids(destination="windsor") == set(runs)
    assert ids(destination="another") == set()


def test_a_run_that_never_was_is_not_found(stage: Stage) -> None:
    assert run_of(stage.database, "never") is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"members": 2}, "5 rows were read, 4 are accounted for"),
        ({"owed": 3}, "7 changes were found, 6 are accounted for"),
    ],
)
def test_books_that_do_not_balance_do_not_pass(wrong: dict[str, int], said: str) -> None:
    books = Books(5, 3, {"duplicate": 2}, 0, entered=4, exited=2, updated=1, delivered=3, owed=4)
    books.check("run-1")
    with pytest.raises(UnbalancedBooksError, match=said):
        replace(books, **wrong).check("run-1")
