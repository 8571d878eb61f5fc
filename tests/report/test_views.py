"""The view models: true to the state, without users, and as quick after thousands of runs as after three."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, select, update

from tests.support.history import HOSTILE, HOSTILE_KEY, REJECTED, USERS, repeat
from tests.support.world import AUDIENCE, KEY, TRAIT, World
from windsor_sync.domain.run import RunState
from windsor_sync.report.users import show_user
from windsor_sync.report.views import (
    AUDIENCES_A_PAGE,
    ROWS_A_PAGE,
    RUNS_A_PAGE,
    RUNS_CHARTED,
    list_audiences,
    view_audience,
    view_events,
    view_run,
)
from windsor_sync.state import rejections
from windsor_sync.state.database import Database
from windsor_sync.state.tables import audiences, audit_trail, runs, verdicts
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.retire import retire


def test_an_empty_state_names_what_was_never_synced(company: World) -> None:
    page = list_audiences(company.workspace)
    assert page.lines == ()
    assert page.never_synced == (AUDIENCE, HOSTILE, TRAIT)
    assert view_audience(company.workspace, KEY) is None
    assert view_run(company.workspace, "never") is None
    assert view_events(company.workspace).charted == ()


@pytest.mark.parametrize("name", ["\0", "a\0b", "x" * 10_000, "'; DROP TABLE runs; --", "%"])
def test_whatever_is_asked_for_by_name_is_found_or_not(lived: World, name: str) -> None:
    assert view_audience(lived.workspace, name) is None
    assert view_run(lived.workspace, name) is None


def test_the_list_says_how_each_audience_stands(lived: World) -> None:
    page = list_audiences(lived.workspace)
    lines = {line.key: line for line in page.lines}
    assert set(lines) == {KEY, HOSTILE_KEY}
    assert page.never_synced == (TRAIT,)
    vip, hostile = lines[KEY].last, lines[HOSTILE_KEY].last
    assert vip is not None
    assert hostile is not None
    assert (vip.state, vip.books.members, vip.books.withheld) == (RunState.WITHHELD, 20, vip.books.exited)
    assert (hostile.state, hostile.books.rejected, hostile.books.delivered) == (RunState.REJECTED, 1, 189)
    assert lines[HOSTILE_KEY].name == HOSTILE


def test_an_audience_has_its_size_and_changes_run_by_run(lived: World) -> None:
    view = view_audience(lived.workspace, KEY)
    assert view is not None
    assert [run.books.members for run in view.charted] == [120, 155, 200, 171, 20]
    assert [run.books.entered for run in view.charted][:4] == [120, 40, 45, 1]
    assert [run.number for run in view.runs] == [5, 4, 3, 2, 1]
    assert (view.before, view_audience(lived.workspace, "$events")) == (None, None)


def test_a_run_has_its_books_and_its_rejections_by_code_and_message(lived: World) -> None:
    run = list_audiences(lived.workspace).lines[0].last
    assert run is not None
    view = view_run(lived.workspace, run.run_id)
    assert view is not None
    (group,) = view.groups
    (row,) = view.rows
    assert (group.code, group.number, row.code, row.message) == (400, 1, 400, group.message)
    assert REJECTED not in str(view)


def test_event_forwarding_is_counted_by_step_and_code(lived: World) -> None:
    view = view_events(lived.workspace)
    assert view.steps["received"] == 8
    assert view.steps["delivered"] + view.steps["duplicates"] + view.steps["failed_on_ingest"] == 8
    assert view.failed_on_ingest == {"no_user_anon_id": 1}
    (run,) = view.runs
    found = view_run(lived.workspace, run.run_id)
    assert found is not None
    assert found.steps is not None
    assert found.steps["duplicates"] == 1


def test_a_run_of_another_destination_is_not_shown(living: World) -> None:
    run = view_events(living.workspace).runs[0]
    with living.workspace.database.write() as connection:
        connection.execute(update(audiences).values(destination="another"))
    assert view_run(living.workspace, run.run_id) is None
    assert list_audiences(living.workspace).lines == ()


def test_a_run_that_has_not_ended_shows_how_far_it_is(living: World) -> None:
    with living.workspace.database.write() as connection:
        values = {"state": "open", "finished_at": None, "delivered": 0, "owed": 0}
        connection.execute(update(runs).where(runs.c.number == 4).values(**values))
    view = view_audience(living.workspace, KEY)
    assert view is not None
    books = view.runs[1].books
    assert (books.delivered, books.owed) == (books.changes, 0)


SCHEDULED = datetime(2026, 11, 27, 6, tzinfo=UTC)
DAG = "airflow engage_audience_sync"


@pytest.mark.parametrize("since", ["command line", f"{DAG} manual__2026-11-27T07:00:00+00:00", None])
def test_the_next_run_follows_the_schedules_last_one_whoever_started_runs_since(
    company: World, since: str | None
) -> None:
    scheduled = f"{DAG} scheduled__{SCHEDULED.isoformat()}"
    company.snapshot(USERS)
    company.sync(request=Request(trigger=scheduled))
    company.snapshot(USERS[1:])
    company.sync(request=Request(trigger=since or f"{scheduled} approved"))  # approved two hours later, for example
    (line,) = list_audiences(company.workspace).lines
    assert line.next_at == SCHEDULED + timedelta(hours=2, minutes=30)
    view = view_audience(company.workspace, KEY)
    assert view is not None
    assert view.line == line


def test_a_run_of_the_schedule_that_is_cleared_after_a_later_one_does_not_move_the_next(company: World) -> None:
    for moment in (SCHEDULED, SCHEDULED - timedelta(hours=2, minutes=30)):
        company.snapshot(USERS)
        company.sync(request=Request(trigger=f"{DAG} scheduled__{moment.isoformat()}"))
    (line,) = list_audiences(company.workspace).lines
    assert line.next_at == SCHEDULED + timedelta(hours=2, minutes=30)


@pytest.mark.parametrize("trigger", ["command line", f"{DAG} manual__2026-11-27T07:00:00+00:00", f"{DAG} scheduled__x"])
def test_without_a_run_of_the_schedule_the_next_one_is_not_known(company: World, trigger: str) -> None:
    company.snapshot(USERS)
    company.sync(request=Request(trigger=trigger))
    (line,) = list_audiences(company.workspace).lines
    assert line.next_at is None


def test_after_a_schedule_has_been_off_for_long_the_next_run_is_not_known(company: World) -> None:
    company.snapshot(USERS)
    run = company.sync(request=Request(trigger=f"{DAG} scheduled__{SCHEDULED.isoformat()}"))
    with company.workspace.database.write() as connection:
        connection.execute(update(runs).values(started_at=run.started_at - timedelta(days=2)))
    (line,) = list_audiences(company.workspace).lines
    assert line.next_at is None


@pytest.mark.parametrize("is_gone", [False, True])
def test_an_audience_that_windsor_yaml_does_not_sync_any_more_says_so_and_has_no_next_run(
    company: World, is_gone: bool
) -> None:
    company.snapshot(USERS)
    company.sync(request=Request(trigger=f"{DAG} scheduled__{SCHEDULED.isoformat()}"))
    if is_gone:
        del company.document["audiences"][0]
    else:
        company.document["audiences"][0]["enabled"] = False
    company.reopen()
    (line,) = list_audiences(company.workspace).lines
    assert (line.is_off, line.next_at) == (True, None)


def test_an_audience_that_was_renamed_in_segment_is_still_synced(company: World) -> None:
    company.snapshot(USERS)
    company.sync()
    company.document["audiences"][0]["name"] = "Bought Lately"
    company.reopen()
    (line,) = list_audiences(company.workspace).lines
    assert not line.is_off


def test_a_retired_audience_says_so(company: World) -> None:
    company.snapshot(USERS)
    company.sync()
    retire(company.workspace, KEY, "a person", None, company.stop)
    (line,) = list_audiences(company.workspace).lines
    assert (line.is_retired, line.next_at) == (True, None)


def test_who_asks_for_a_user_is_written_down_before_anything_is_shown(lived: World) -> None:
    run = list_audiences(lived.workspace).lines[0].last
    assert run is not None
    view = view_run(lived.workspace, run.run_id)
    assert view is not None
    (row,) = view.rows
    assert show_user(lived.workspace, run, row.seq, who="ana in Airflow").user == REJECTED
    gone = replace(run, outbox="outboxes/gone.parquet")
    assert show_user(lived.workspace, gone, row.seq, who="ben in Airflow").user is None
    with lived.workspace.database.read() as connection:
        query = select(audit_trail).where(audit_trail.c.what == "show user").order_by(audit_trail.c.id)
        entries = connection.execute(query).all()
    assert [entry.who for entry in entries] == ["ana in Airflow", "ben in Airflow"]
    assert entries[0].details == {"run": run.run_id, "row": row.seq}
    assert REJECTED not in str(entries)


@contextmanager
def statements(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """The SQL that is executed in the block."""
    seen: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        seen.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    yield seen
    event.remove(database.engine, "before_cursor_execute", note)


def plans(database: Database, seen: list[tuple[str, Any]]) -> list[str]:
    """How SQLite goes about these statements, step by step."""
    with database.read() as connection:
        return [
            str(step.detail)
            for statement, parameters in seen
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]


def test_thousands_of_runs_come_in_pages_and_are_found_through_an_index(lived: World) -> None:
    workspace, database = lived.workspace, lived.workspace.database
    newest = view_audience(workspace, KEY)
    assert newest is not None
    repeat(database, newest.runs[0].run_id, 3_000)
    with database.write() as connection:
        connection.execute(update(audiences).where(audiences.c.trait_key == KEY).values(runs=4_004))
    with statements(database) as seen_by_list:
        list_audiences(workspace)
    with statements(database) as seen:
        view = view_audience(workspace, KEY)
    assert view is not None
    assert (len(view.runs), len(view.charted)) == (RUNS_A_PAGE, RUNS_CHARTED)
    older = view_audience(workspace, KEY, before=view.before)
    assert older is not None
    assert older.runs[0].number == view.runs[-1].number - 1
    if database.is_sqlite:
        assert not [step for step in plans(database, seen) if "TEMP B-TREE" in step]
        both = plans(database, seen_by_list + seen)
        assert not [step for step in both if step.startswith(("SCAN runs", "SCAN verdicts", "SCAN progress"))]


def test_a_run_with_many_rejections_shows_them_in_pages(lived: World) -> None:
    database = lived.workspace.database
    run = view_events(lived.workspace).runs[0]
    with database.write() as connection:
        rows = [
            {"run_id": run.run_id, "seq": 100 + number, "verdict": "rejected", "code": 400, "message": "no"}
            | {"in_doubt": False, "answered_at": run.started_at}
            for number in range(ROWS_A_PAGE + 7)
        ]
        connection.execute(insert(verdicts), rows)
    first = view_run(lived.workspace, run.run_id)
    assert first is not None
    second = view_run(lived.workspace, run.run_id, after=first.after or 0)
    assert second is not None
    assert (len(first.rows), len(second.rows), second.after) == (ROWS_A_PAGE, 7, None)
    assert [group.number for group in first.groups] == [ROWS_A_PAGE + 7]


def test_more_audiences_than_a_page_holds_follow_on_the_next(company: World) -> None:
    database, name = company.workspace.database, company.workspace.settings.destination.name
    with database.write() as connection:
        moment = company.workspace.database.now(connection)
        rows = [
            {"destination": name, "trait_key": f"key_{number:03}", "name": f"Audience {number}"}
            | {"computation_class": "audience", "created_at": moment}
            for number in range(AUDIENCES_A_PAGE + 3)
        ]
        connection.execute(insert(audiences), rows)
    first = list_audiences(company.workspace)
    second = list_audiences(company.workspace, after=first.after or 0)
    assert (len(first.lines), first.never_synced) == (AUDIENCES_A_PAGE, ())
    assert [line.key for line in second.lines] == ["key_100", "key_101", "key_102"]
    assert second.never_synced == (AUDIENCE, HOSTILE, TRAIT)


def test_what_is_asked_of_the_verdicts_is_bounded(monkeypatch: pytest.MonkeyPatch, lived: World) -> None:
    monkeypatch.setattr(rejections, "MOST_REJECTIONS", 0)
    run = list_audiences(lived.workspace).lines[0].last
    assert run is not None
    assert rejections.rejection_groups(lived.workspace.database, run.run_id) == []
