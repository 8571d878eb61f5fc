"""PostgreSQL finds what a command asks for through an index, in a state with the runs of many audiences."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from benchmarks.plans import Plan, Recorder
from benchmarks.state_rows import Size, fill_tables
from tests.support.postgres import Postgres
from windsor_sync.state.database import Database, open_database
from windsor_sync.state.ledger import Ledger
from windsor_sync.state.runs import history, newest_books, newest_of_each, outlines, recent
from windsor_sync.state.snapshots import leave_out_user, spare_paths, told_taken_at
from windsor_sync.state.stored_files import Named, Placed, take_place_of
from windsor_sync.storage.file_store import FileStore

LARGE = {"runs", "snapshots", "stored_files", "verdicts"}
"""The tables that grow with every run. In `progress` 500 rows of 5,000 are a tenth, for which no index is worth its while."""

ONE = 7
SIZE = Size(audiences=50, runs=5_000, verdicts=50_000)


@pytest.fixture(scope="module")
def large(postgres: Postgres) -> Iterator[Database]:
    with postgres.state() as url:
        database = open_database(url)
        fill_tables(database, SIZE, 1_000, [1_000])
        yield database
        database.close()


def _runs(database: Database) -> list[str]:
    return [run.run_id for run in outlines(database, ONE, 1_000)]


def _answers(database: Database) -> None:
    found = Ledger(database, FileStore("memory://")).answers([(run_id, 7) for run_id in _runs(database)])
    assert len(found) == SIZE.rounds
    assert all(len(answers.verdicts) == 1 for answers in found.values())


def _forgets(database: Database) -> None:
    """Do what `forget` does for a snapshot and an outbox that hold the user."""
    with database.write() as connection:
        newest = text("SELECT path FROM snapshots WHERE audience_id = 7 ORDER BY id DESC LIMIT 1")
        outbox = text("SELECT outbox FROM runs WHERE audience_id = 7 ORDER BY number DESC LIMIT 1")
        for query, is_snapshot in ((newest, True), (outbox, False)):
            path = connection.execute(query).scalar_one()
            leave_out_user(connection, path, 2, "checksum", 999)
            new = f"{path}.again"
            take_place_of(connection, Named(path, path, ONE, is_snapshot, 1), Placed(new, new, 1, 999, "checksum"))


def _prunes(database: Database) -> None:
    with database.read() as connection:
        newest = text("SELECT path FROM snapshots WHERE audience_id = 7 ORDER BY id DESC LIMIT 5")
        stored = set(connection.execute(newest).scalars())
    assert len(spare_paths(database, ONE, datetime.now(UTC), stored)) == 2


CALLS: dict[str, Callable[[Database], object]] = {
    "the newest runs": lambda database: recent(database, destination="windsor"),
    "the newest runs of an audience": lambda database: recent(database, audience_ids=[ONE]),
    "every run of an audience": lambda database: recent(database, audience_ids=[ONE], limit=1_000),
    "the books of an audience": lambda database: newest_books(database, ONE, 1_000),
    "a page of runs": lambda database: history(database, ONE, before=50),
    "90 days of runs": lambda database: history(database, ONE, since=datetime(2026, 1, 1, tzinfo=UTC), limit=3_000),
    "the newest run of each audience": lambda database: newest_of_each(database, "windsor"),
    "when each audience's snapshot was taken": lambda database: told_taken_at(database, "windsor"),
    "what why asks of runs": lambda database: outlines(database, ONE, 1_000),
    "what why asks of verdicts": _answers,
    "the head of the ledger": lambda database: Ledger(database, FileStore("memory://")).of_run(_runs(database)[0]),
    "snapshots that may go": _prunes,
    "files written without a user": _forgets,
}


@pytest.mark.parametrize("name", CALLS)
def test_no_statement_reads_a_large_table_from_end_to_end(name: str, large: Database) -> None:
    recorder = Recorder(large.engine)
    with recorder.recording() as recorded:
        CALLS[name](large)
    found = {statement.text: recorder.plan(statement) for statement in recorded.by_text.values()}
    plans = [(query, plan) for query, plan in found.items() if isinstance(plan, Plan)]
    assert any(plan.indexes for _, plan in plans)
    assert [(query, plan.scanned) for query, plan in plans if LARGE & {each.split()[0] for each in plan.scanned}] == []


def test_verdicts_of_500_runs_are_planned_quickly(large: Database) -> None:
    recorder = Recorder(large.engine)
    with recorder.recording() as recorded:
        Ledger(large, FileStore("memory://")).answers([(f"run-{number}", number) for number in range(500)])
    (statement,) = (each for each in recorded.by_text.values() if "FROM verdicts" in each.text)
    plan = recorder.plan(statement)
    assert plan is not None
    assert plan.nodes < 10  # with a condition for each pair there is a node for each, and planning takes 0.3 s
