"""Airflow and the state have a role each in PostgreSQL, and neither gets at the other's database."""

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from tests.deployment.deployment import make_roles_and_databases
from tests.support.postgres import Postgres
from windsor_sync.state.database import upgrade_database

PASSWORDS = {"AIRFLOW_DB_PASSWORD": "it's", "STATE_DB_PASSWORD": "a \\ word"}


def url(server: Postgres, role: str, database: str) -> str:
    return server.url(database).replace("windsor@", f"{role}@", 1)


def tables(address: str) -> list[tuple[str, str]]:
    engine = create_engine(address)
    with engine.connect() as connection:
        query = "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public'"
        found = [(name, owner) for name, owner in connection.execute(text(query))]
    engine.dispose()
    return found


def test_airflow_and_the_state_reach_their_own_database_and_not_the_others(postgres: Postgres) -> None:
    make_roles_and_databases(postgres.folder, "windsor", "5432", PASSWORDS)
    state = url(postgres, "windsor_sync", "windsor_sync")
    upgrade_database(state)
    assert {owner for _, owner in tables(state)} == {"windsor_sync"}
    assert tables(url(postgres, "airflow", "airflow")) == []
    for role, database in (("airflow", "windsor_sync"), ("windsor_sync", "airflow"), ("airflow", "postgres")):
        with pytest.raises(OperationalError, match="permission denied for database"):
            tables(url(postgres, role, database))


def test_an_older_installation_keeps_its_tables_and_gets_the_roles(postgres: Postgres) -> None:
    make_roles_and_databases(postgres.folder, "windsor", "5432", PASSWORDS)
    older = create_engine(postgres.url("airflow"), isolation_level="AUTOCOMMIT")
    with older.connect() as connection:
        connection.execute(text("CREATE TYPE kind AS ENUM ('a', 'b'); CREATE TABLE of_windsor (id SERIAL, kind kind)"))
    older.dispose()
    make_roles_and_databases(postgres.folder, "windsor", "5432", PASSWORDS)
    assert tables(url(postgres, "airflow", "airflow")) == [("of_windsor", "airflow")]
