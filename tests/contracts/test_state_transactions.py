"""Reading and writing the state: whole transactions, one moment for a reader, no wait without an end."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select, text, update

from tests.contracts.stage import MOMENT
from tests.support.postgres import END_OTHERS, Postgres
from windsor_sync.errors import StateUnavailable
from windsor_sync.state import connections
from windsor_sync.state.database import Database, open_database
from windsor_sync.state.leases import acquire
from windsor_sync.state.tables import audit_trail, leases, suppressions

MOMENTS = st.datetimes(
    min_value=datetime(1900, 1, 2),  # noqa: DTZ001
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
)


def put(database: Database, key: str) -> None:
    """Write one row."""
    with database.write() as connection:
        connection.execute(insert(suppressions).values(user_hash=key, origin="test", at=MOMENT))


def keys(database: Database) -> list[str]:
    """The rows written so far."""
    with database.read() as connection:
        return list(connection.execute(select(suppressions.c.user_hash).order_by(suppressions.c.user_hash)).scalars())


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moments=st.lists(MOMENTS, min_size=1, max_size=20))
def test_a_moment_comes_back_to_the_microsecond_and_in_utc(database: Database, moments: list[datetime]) -> None:
    with database.write() as connection:
        ids = [
            connection.execute(
                insert(audit_trail).values(at=moment, who="w", what="w", subject="s", details={})
            ).inserted_primary_key
            for moment in moments
        ]
        stored = [
            connection.execute(select(audit_trail.c.at).where(audit_trail.c.id == found[0])).scalar_one()
            for found in ids
            if found
        ]
    assert stored == moments
    assert {moment.tzinfo for moment in stored} == {UTC}


def test_moments_are_compared_as_moments_whatever_their_zone(database: Database) -> None:
    put(database, "a")
    east = MOMENT.astimezone(timezone(timedelta(hours=9)))
    with database.read() as connection:
        count = select(func.count()).select_from(suppressions)
        assert connection.execute(count.where(suppressions.c.at == east)).scalar_one() == 1
        assert connection.execute(count.where(suppressions.c.at > east)).scalar_one() == 0


def test_a_moment_without_a_zone_is_not_stored(database: Database) -> None:
    with pytest.raises(Exception, match="a time without a zone cannot be stored"), database.write() as connection:
        connection.execute(insert(suppressions).values(user_hash="a", origin="test", at=MOMENT.replace(tzinfo=None)))
    assert keys(database) == []


def test_a_transaction_that_is_torn_leaves_nothing_even_after_a_read(database: Database) -> None:
    assert keys(database) == []

    def tear() -> None:
        with database.write() as connection:
            connection.execute(insert(suppressions).values(user_hash="a", origin="test", at=MOMENT))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tear()
    assert keys(database) == []


def test_a_reader_sees_one_moment_and_holds_up_no_writer(database: Database) -> None:
    put(database, "a")
    count = select(func.count()).select_from(suppressions)
    with database.read() as connection:
        assert connection.execute(count).scalar_one() == 1
        put(database, "b")
        assert connection.execute(count).scalar_one() == 1
    assert keys(database) == ["a", "b"]


def test_a_reader_does_not_wait_for_a_writer_nor_see_what_is_not_committed(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(suppressions).values(user_hash="a", origin="test", at=MOMENT))
        assert keys(database) == []
    assert keys(database) == ["a"]


def test_a_writer_that_waits_too_long_for_another_one_gives_up_as_unavailable(
    state_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BUSY_TIMEOUT_S", 0.05)
    first, second = open_database(state_url), open_database(state_url)
    acquire(first, "vip", "a test")
    everybody = update(leases).values(holder="somebody")
    with first.write() as connection:
        connection.execute(everybody)
        with pytest.raises(StateUnavailable, match="What was recorded before stands"), second.write() as waiting:
            waiting.execute(everybody)
    first.close()
    second.close()


def test_a_process_that_stands_still_inside_a_transaction_blocks_postgresql_only_for_a_while(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "IDLE_TIMEOUT_S", 0.1)
    with postgres.state() as url:
        still, other = open_database(url), open_database(url)
        lease = acquire(still, "vip", "stands still")

        def wake_up_too_late() -> None:
            with still.write() as connection:
                lease.fence(connection)
                with other.write() as waiting:  # waits for the row until the server ends the transaction above
                    waiting.execute(update(leases).values(holder="the next"))
                connection.execute(update(leases).values(holder="too late"))

        with pytest.raises(StateUnavailable):
            wake_up_too_late()
        with other.read() as connection:
            assert connection.execute(select(leases.c.holder)).scalar_one() == "the next"
        still.close()
        other.close()


def test_a_server_that_was_restarted_is_met_again_and_a_transaction_it_cut_is_void(postgres: Postgres) -> None:
    with postgres.state() as url:
        database, other = open_database(url), open_database(url)

        def be_cut_off() -> None:
            with database.write() as connection:
                connection.execute(insert(suppressions).values(user_hash="a", origin="test", at=MOMENT))
                with other.write() as killing:
                    killing.execute(END_OTHERS)

        with pytest.raises(StateUnavailable):
            be_cut_off()
        put(database, "b")
        assert keys(database) == ["b"]
        database.close()
        other.close()


def test_a_mistake_of_ours_is_not_taken_for_a_database_out_of_reach(database: Database) -> None:
    put(database, "a")
    for statement in ("SELECT * FROM no_such_table", "INSERT INTO suppressions SELECT * FROM suppressions"):
        with pytest.raises(Exception, match=r"no_such_table|suppressions") as raised, database.write() as connection:
            connection.execute(text(statement))
        assert not isinstance(raised.value, StateUnavailable)
