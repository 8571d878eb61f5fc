"""Entered, exited and updated are people who came, left or changed since the snapshot before, whatever waits to be told."""

import pytest

from tests.support.people import People
from tests.support.world import KEY, TRAIT_KEY, World
from windsor_sync.domain.change import Limits, Turnover
from windsor_sync.domain.guard import Ceiling
from windsor_sync.domain.run import Run
from windsor_sync.report.views import view_audience
from windsor_sync.sandbox import Faults
from windsor_sync.state.approvals import approve
from windsor_sync.usecases.request import Request

PEOPLE = [f"user-{number:04}" for number in range(200)]


def approved(world: World, run: Run, exits: int) -> Run:
    approve(world.workspace.database, run, Ceiling(max_exited=exits), who="ana", why=None)
    return world.sync()


def test_the_exits_of_an_audience_that_shrank_twice_are_the_people_who_left(company: World) -> None:
    runs = []
    for members in (PEOPLE, PEOPLE[:90], PEOPLE[:90], PEOPLE[:40]):
        company.snapshot(members)
        runs.append(company.sync())
    runs += [approved(company, runs[-1], 90)]
    runs += [approved(company, runs[-1], 160)]
    assert [run.books.turnover and run.books.turnover.exited for run in runs] == [0, 110, 0, 50, 0, 0]
    assert [run.books.told_true for run in runs] == [200, 200, 200, 200, 200, 40]
    assert [run.books.exited for run in runs] == [0, 110, 110, 160, 160, 160]
    assert in_windsor(company) == (40, 160)


def in_windsor(world: World) -> tuple[int | None, int | None]:
    view = view_audience(world.workspace, KEY, days=30)
    assert view is not None
    assert view.line.last is not None
    return view.line.last.books.told_true, view.told_false


def test_in_windsor_are_those_who_were_told_true_and_false_and_not_who_waits(company: World) -> None:
    """The numbers are Windsor's own, whoever came back or was rejected meanwhile."""
    company.document["defaults"] |= {"max_exited_percent": 100}
    shown = []
    for members, rejected in (
        (PEOPLE, ()),
        (PEOPLE[:120], ()),
        (PEOPLE[40:150], PEOPLE[:10]),
        (PEOPLE[:90], PEOPLE[:5]),
    ):
        company.snapshot(members)
        company.windsor.set_faults(Faults(rejected_users=frozenset(rejected)))
        company.sync()
        values = list(company.shown().values())
        shown.append((in_windsor(company), (values.count(True), values.count(False))))
    assert [ours for ours, _ in shown] == [truth for _, truth in shown]


def test_ids_that_left_and_were_merged_are_counted_as_one_user_as_in_windsor(world: World) -> None:
    people = People(world)
    world.document["defaults"] |= {"max_exited_percent": 100}
    shown = []
    for members, merged in (
        (("old", "visitor", "stays"), ()),
        (("stays",), ()),
        (("stays", "new"), (("old", "new"), ("visitor", "customer"))),
        (("stays",), (("customer", "stays"),)),
    ):
        if merged:
            people.alias(*merged)
        people.snapshot(*members)
        people.sync()
        values = list(world.shown().values())
        shown.append((in_windsor(world), (values.count(True), values.count(False))))
    assert [ours for ours, _ in shown] == [truth for _, truth in shown]


def test_a_user_who_left_and_a_visitor_of_the_same_id_are_two(world: World) -> None:
    people = People(world, identify_by="anonymous_id")
    world.document["defaults"] |= {"max_exited_percent": 100}
    for members in (("ana", "stays"), (("", "ana"), "stays")):
        people.snapshot(*members)
        people.sync()
    assert in_windsor(world) == (2, 1)


def test_users_with_false_are_counted_up_to_a_number_of_outboxes(
    company: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for members in (PEOPLE, PEOPLE[:180]):
        company.snapshot(members)
        company.sync()
    monkeypatch.setattr(
        "windsor_sync.usecases.stored_records.MOST_OUTBOXES", 1
    )  # for an object store; here is a folder
    assert in_windsor(company) == (180, 20)
    monkeypatch.setattr("windsor_sync.usecases.stored_records.MOST_OUTBOXES_IN_A_FOLDER", 1)
    assert in_windsor(company) == (180, None)


def test_size_is_the_size_before_with_who_entered_and_without_who_exited(company: World) -> None:
    """Whoever comes back before anybody was told has entered, although there is nothing to tell."""
    before = 0
    for members in (PEOPLE, PEOPLE[:60], PEOPLE[20:], PEOPLE[:199], [*PEOPLE[:150], "new"], PEOPLE):
        company.snapshot(members)
        books = company.sync().books
        assert books.turnover is not None
        assert books.members == before + books.turnover.entered - books.turnover.exited
        assert books.turnover.updated == 0
        before = books.members


def test_a_resync_tells_everybody_and_nobody_has_entered(company: World) -> None:
    company.snapshot(PEOPLE)
    company.sync()
    run = company.sync(request=Request(limits=Limits(is_resync=True)))
    assert (run.books.updated, run.books.turnover) == (len(PEOPLE), Turnover())


def test_what_a_resync_withholds_was_never_sent_and_is_not_in_doubt(company: World) -> None:
    company.snapshot(PEOPLE)
    company.sync()
    company.snapshot(PEOPLE[:20])
    run = company.sync(request=Request(limits=Limits(is_resync=True)))
    assert (run.books.withheld, run.books.in_doubt, run.books.told_true) == (180, 0, 200)


def test_a_computed_trait_counts_whose_value_changed(company: World) -> None:
    for values in ({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 5, "d": 4}):
        company.values(values)
        run = company.sync(TRAIT_KEY)
    assert run.books.turnover == Turnover(entered=1, exited=1, updated=1)


def test_members_who_only_changed_ids_have_moved(company: World) -> None:
    people = People(company)
    people.snapshot("old-1", "old-2", "stays")
    people.sync()
    people.alias(("old-1", "new-1"))
    people.snapshot("new-1", "old-2", "stays")
    books = people.sync().books
    assert (books.turnover, books.told_true) == (Turnover(moved=1), 3)
