"""Copying a state: everything arrives, or nothing does; what is in use, or somebody else's, is left alone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Integer, Table, func, insert, null, select, update

from tests.contracts.stage import MOMENT, Wanted
from tests.support.postgres import Postgres
from windsor_sync.errors import ConfigError, LeaseHeld, StateUnavailable
from windsor_sync.state import connections, copying
from windsor_sync.state.audiences import Registry
from windsor_sync.state.audit_log import trail
from windsor_sync.state.copying import Copied, copy_state, reopen
from windsor_sync.state.database import Database, open_database, opened_as_it_is, upgrade_database
from windsor_sync.state.leases import acquire
from windsor_sync.state.tables import (
    UtcDateTime,
    audiences,
    audit_trail,
    installation,
    leases,
    metadata,
    suppressions,
)
from windsor_sync.state.upgrading import VERSION_TABLE, version_of

ROOT = Path(__file__).parents[2]
ROWS = 3
"""Of each table: one has null wherever a column takes it."""


@pytest.fixture(params=["sqlite to postgresql", "postgresql to sqlite"])
def pair(request: pytest.FixtureRequest, tmp_path: Path, postgres: Postgres) -> Iterator[tuple[str, str]]:
    """The URLs of a state that is ready for use and of a database without tables, each way round."""
    file = f"sqlite:///{tmp_path}/somewhere else/state.db"
    if request.param == "sqlite to postgresql":
        with postgres.nothing() as url:
            open_database(file).close()
            yield file, url
    else:
        with postgres.state() as url:
            yield url, file


@pytest.fixture
def source(pair: tuple[str, str]) -> str:
    """The state's URL."""
    return pair[0]


@pytest.fixture
def target(pair: tuple[str, str]) -> str:
    """The other database's URL."""
    return pair[1]


def value_for(column: Column[Any], number: int) -> Any:
    """Something for a column that another database could spoil."""
    if column.foreign_keys:
        return value_for(next(iter(column.foreign_keys)).column, number)
    if column.nullable and number == ROWS:
        return null()
    if isinstance(column.type, JSON):
        return {"ü": [number, 0.1, None, "1e5", True], "deep": {"'": '"\\'}}
    if isinstance(column.type, UtcDateTime):
        return MOMENT + timedelta(days=number, microseconds=number)
    if isinstance(column.type, Boolean):
        return number % 2 == 0
    if isinstance(column.type, BigInteger):
        return 2**62 + number
    if isinstance(column.type, Integer):
        return number
    return number / 3 if isinstance(column.type, Float) else f"00{number} ä'\"%(x)s {{}} :y \n🎉"


def fill(url: str) -> None:
    """Put rows into every table there is."""
    with closing(open_database(url)) as database, database.write() as connection:
        for table in metadata.sorted_tables:
            if table is not installation:
                for number in range(1, ROWS + 1):
                    values = {column.name: value_for(column, number) for column in table.columns}
                    connection.execute(insert(table).values(values))


def content(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, as the code reads them, but for the mark."""
    with closing(open_database(url, may_have_moved=True)) as database, database.read() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(select(*_compared(table)))), key=repr)
            for table in metadata.sorted_tables
        }


def _compared(table: Table) -> list[Column[Any]]:
    return [column for column in table.columns if not column.name.startswith("moved_")]


def empty(url: str) -> bool:
    """Whether nothing was ever synced there."""
    return not content(url)["audiences"]


def write(url: str, statement: Any) -> None:
    """One write as any command would make it."""
    with closing(open_database(url)) as database, database.write() as connection:
        connection.execute(statement)


def audience(url: str, name: str) -> int | None:
    """A new audience; the database numbers it."""
    with closing(open_database(url)) as database:
        return Registry(database, "windsor").register(Wanted(name)).audience_id


def test_every_row_of_every_table_arrives_as_it_was(source: str, target: str) -> None:
    fill(source)
    before = content(source)
    done = copy_state(source, target)
    assert content(target) == before == content(source)
    assert done.rows == {table.name: 1 if table is installation else ROWS for table in metadata.sorted_tables}
    assert not done.has_replaced


def test_json_that_is_null_and_a_column_without_json_stay_two_things(source: str, target: str) -> None:
    from windsor_sync.state.tables import runs

    fill(source)
    write(source, update(runs).where(runs.c.number == 1).values(intake=JSON.NULL))
    copy_state(source, target)
    with closing(open_database(target)) as database, database.read() as connection:
        found = connection.execute(select(runs.c.number).where(runs.c.intake.is_(null()))).scalars().all()
    assert found == [ROWS]


def test_the_next_row_of_a_copy_gets_a_number_that_no_row_has(source: str, target: str) -> None:
    fill(source)
    copy_state(source, target)
    assert audience(target, "newcomer") == ROWS + 1
    with closing(open_database(target)) as database, database.write() as connection:
        trail(connection, who="cy", what="approve", subject="vip", why=None)
        assert connection.execute(select(func.max(audit_trail.c.id))).scalar_one() == ROWS + 1


def test_rows_are_copied_in_pieces(source: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "CHUNK_ROWS", 7)
    rows = [{"user_hash": f"{number:064}", "origin": "test", "at": MOMENT} for number in range(100)]
    with closing(open_database(source)) as database, database.write() as connection:
        connection.execute(insert(suppressions), rows)
    reports: list[tuple[str, int, int]] = []
    copy_state(source, target, lambda *report: reports.append(report))
    copied = [done for title, done, total in reports if title == "copying suppressions" and total == 100]
    assert copied == [*range(7, 100, 7), 100]
    assert reports.count(("comparing suppressions", 100, 100)) == 1


def test_the_old_state_is_refused_to_every_command_and_says_where_it_went(source: str, target: str) -> None:
    fill(source)
    copy_state(source, target)
    with pytest.raises(ConfigError, match=r"was moved to .*Write the new URL as `state` into windsor.yaml") as refused:
        open_database(source)
    assert connections.shown_url(connections.make_engine(target).url) in str(refused.value)
    open_database(target).close()


def test_a_process_that_opened_the_old_state_before_cannot_write_to_it_any_more(source: str, target: str) -> None:
    with closing(open_database(source)) as opened_before:
        copy_state(source, target)
        with pytest.raises(ConfigError, match="was moved to"):
            acquire(opened_before, "vip at windsor", "a run that waited")


def test_a_state_can_be_used_again_when_a_person_says_so(source: str, target: str) -> None:
    audience(source, "first")
    copy_state(source, target)
    taken_back = reopen(source, "cy")
    assert taken_back is not None
    assert reopen(source, "cy") is None
    open_database(source).close()
    assert ("cy", "state reopen", taken_back.to) in {row[2:5] for row in content(source)["audit_trail"]}


def test_a_copy_can_be_repeated_and_replaces_the_earlier_one(source: str, target: str) -> None:
    audience(source, "first")
    copy_state(source, target)
    assert copy_state(source, target).has_replaced
    reopen(source, "cy")
    newest = audience(source, "second")
    assert copy_state(source, target).has_replaced
    assert content(target) == content(source)
    assert newest is not None
    assert audience(target, "third") == newest + 1


def test_there_and_back_again_ends_with_what_the_new_state_knew(source: str, target: str) -> None:
    audience(source, "first")
    copy_state(source, target)
    with closing(open_database(target)) as database:
        acquire(database, "vip at windsor", "a run").release()
    audience(target, "second")
    copy_state(target, source)
    assert len(content(source)["audiences"]) == 2
    open_database(source).close()
    with pytest.raises(ConfigError, match="was moved to"):
        open_database(target)


def used_by_a_run(url: str) -> None:
    """A run held a lease there."""
    with closing(open_database(url)) as database:
        acquire(database, "vip at windsor", "a run").release()


def used_by_a_person(url: str) -> None:
    """Somebody approved something there."""
    with closing(open_database(url)) as database, database.write() as connection:
        trail(connection, who="cy", what="forget", subject="a user", why=None)


@pytest.mark.parametrize("use", [used_by_a_run, used_by_a_person])
def test_a_copy_that_was_used_since_is_not_replaced(source: str, target: str, use: Any) -> None:
    audience(source, "first")
    copy_state(source, target)
    use(target)
    before = content(target)
    with pytest.raises(ConfigError, match="has been used since it was made"):
        copy_state(source, target)
    reopen(source, "cy")
    with pytest.raises(ConfigError, match="has been used since it was made"):
        copy_state(source, target)
    assert content(target) == before
    open_database(source).close()  # a refused copy marks nothing


def test_another_installations_state_is_left_alone(source: str, target: str) -> None:
    audience(source, "ours")
    upgrade_database(target)
    write(target, update(installation).values(id="somebody else's"))
    audience(target, "theirs")
    before = content(target)
    with pytest.raises(ConfigError, match="holds the state of another installation"):
        copy_state(source, target)
    assert content(target) == before
    open_database(source).close()


def test_another_installations_older_state_is_not_even_upgraded(source: str, target: str) -> None:
    upgrade_database(target)
    write(target, update(installation).values(id="somebody else's"))
    audience(target, "theirs")
    with closing(open_database(target)) as database, database.write() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '0001'")
    with pytest.raises(ConfigError, match="holds the state of another installation"):
        copy_state(source, target)
    with opened_as_it_is(target) as engine:
        assert version_of(engine) == "0001"


def test_a_database_that_was_made_ready_and_never_used_is_filled(source: str, target: str) -> None:
    audience(source, "first")
    upgrade_database(target)
    assert not copy_state(source, target).has_replaced
    assert content(target) == content(source)


def test_a_state_is_not_copied_to_itself(source: str, target: str, tmp_path: Path) -> None:
    same = f"{source}&application_name=other" if "postgresql" in source else f"sqlite:///{tmp_path}/link.db"
    if "sqlite" in source:
        Path(tmp_path, "link.db").symlink_to(source.removeprefix("sqlite:///"))
    with pytest.raises(ConfigError, match="is the database that holds the state now"):
        copy_state(source, same)


def test_a_state_that_was_moved_is_copied_to_no_third_place(source: str, target: str, tmp_path: Path) -> None:
    copy_state(source, target)
    with pytest.raises(ConfigError, match=r"was moved to .* before"):
        copy_state(source, f"sqlite:///{tmp_path}/third.db")


@pytest.mark.parametrize("whole", ["vip at windsor", "vip at windsor / shard 1"])
def test_a_run_that_is_writing_holds_the_copy_up_and_is_named(source: str, target: str, whole: str) -> None:
    resource, _, shard = whole.partition(" / shard ")
    with closing(open_database(source)) as database:
        lease = acquire(database, resource, "airflow on worker-1:77", shard=int(shard) if shard else None)
        with pytest.raises(LeaseHeld, match=f"writing to {whole}: airflow on worker-1:77"):
            copy_state(source, target)
        assert empty(target)
        lease.release()
    copy_state(source, target)


def test_a_run_on_the_copy_holds_a_repeat_up(source: str, target: str) -> None:
    copy_state(source, target)
    with closing(open_database(target)) as database:
        acquire(database, "vip at windsor", "airflow on worker-1:77")
        with pytest.raises(LeaseHeld, match="worker-1:77"):
            copy_state(source, target)


def test_nobody_writes_to_either_side_while_the_copy_is_made(
    source: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BUSY_TIMEOUT_S", 0.05)
    audience(source, "first")
    refused: list[str] = []
    with closing(open_database(source)) as beside:

        def try_to_write(title: str, _done: int, _total: int) -> None:
            if title == "comparing audiences":
                with pytest.raises(StateUnavailable):
                    acquire(beside, "vip at windsor", "a run that begins meanwhile")
                refused.append(title)

        copy_state(source, target, try_to_write)
        with pytest.raises(ConfigError, match="was moved"):
            acquire(beside, "vip at windsor", "a run that begins afterwards")
    assert refused == ["comparing audiences"]


def test_a_copy_that_differs_is_not_committed(source: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    audience(source, "first")
    insert_as_it_is = copying._insert
    losing = update(audiences).values(runs=7)

    def spoiled(table: Table, connection: Any) -> Any:
        if table.name == "suppressions":
            connection.execute(losing)
        return insert_as_it_is(table, connection)

    monkeypatch.setattr(copying, "_insert", spoiled)
    with pytest.raises(StateUnavailable, match="The copy of the table audiences is not what was read"):
        copy_state(source, target)
    assert empty(target)
    open_database(source).close()


DIES = """
import os, signal, sys
from windsor_sync.state import copying
source, target, moment = sys.argv[1:]
def die(): os.kill(os.getpid(), signal.SIGKILL)
copying.CHUNK_ROWS = 10
if moment == "between the commits":
    copying.mark = lambda *_: die()
copying.copy_state(source, target, lambda title, done, total: die() if f"{title} {done}" == moment else None)
"""


@pytest.mark.forms(2)
@pytest.mark.parametrize("moment", ["copying suppressions 50", "comparing suppressions 100", "between the commits"])
def test_a_copy_that_is_killed_leaves_all_or_nothing_and_its_repeat_heals(
    source: str, target: str, moment: str
) -> None:
    rows = [{"user_hash": f"{number:064}", "origin": "test", "at": MOMENT} for number in range(100)]
    with closing(open_database(source)) as database, database.write() as connection:
        connection.execute(insert(suppressions), rows)
    command = [sys.executable, "-c", DIES, source, target, moment]
    assert subprocess.run(command, cwd=ROOT, env=os.environ).returncode == -signal.SIGKILL
    found = content(target)["suppressions"]
    assert len(found) == (100 if moment == "between the commits" else 0)
    open_database(source).close()  # and is used as before
    copy_state(source, target)
    assert content(target) == content(source)


def test_a_password_is_shown_nowhere(tmp_path: Path) -> None:
    file = f"sqlite:///{tmp_path}/state.db"
    with pytest.raises((ConfigError, StateUnavailable)) as refused:
        copy_state(file, "postgresql://windsor:hunter2@127.0.0.1:1/windsor?connect_timeout=2&password=hunter3")
    assert "hunter" not in str(refused.value)
    assert "--to" in str(refused.value) or isinstance(refused.value, StateUnavailable)


def test_old_holders_that_died_hold_nothing_up(source: str, target: str) -> None:
    with closing(open_database(source)) as database:
        acquire(database, "vip at windsor", "died", ttl_s=0.0)
    done: Copied = copy_state(source, target)
    assert done.rows["leases"] == 1


def test_the_fence_stays_where_it_was(source: str, target: str) -> None:
    with closing(open_database(source)) as database:
        for _ in range(3):
            acquire(database, "vip at windsor", "a run").release()
    copy_state(source, target)
    with closing(open_database(target)) as database:
        assert acquire(database, "vip at windsor", "a run").token == 4
        assert _tokens(database) == [4]


def _tokens(database: Database) -> list[int]:
    with database.read() as connection:
        return list(connection.execute(select(leases.c.token)).scalars())
