"""Commands take keys and warehouses from Airflow's connections where it is installed, and import it for nothing else."""

import json
import subprocess
import sys

from sqlalchemy import create_engine, text

from tests.cli.test_command_line import Ran, run
from tests.support.commands import clean_environment
from tests.support.postgres import Postgres
from tests.support.world import KEY, World


def airflow(world: World) -> dict[str, str]:
    """The environment of an Airflow whose database nobody has made yet."""
    return {"AIRFLOW_HOME": str(world.folder / "airflow"), "HOME": str(world.folder)}


def in_airflow(world: World, *arguments: str, **environment: str) -> Ran:
    return run("--config", str(world.config), *arguments, **airflow(world) | environment)


def test_a_sync_takes_key_and_address_from_airflow_s_connection_where_no_variable_has_a_key(world: World) -> None:
    world.snapshot(["ana"])
    world.destination["name"], url = "windsor", world.destination["url"]
    world.destination["url"] = "http://127.0.0.1:9/"
    connection = json.dumps({"conn_type": "windsor", "host": url, "password": world.windsor.api_key})
    ran = in_airflow(world, "sync", KEY, "--json", AIRFLOW_CONN_WINDSOR_DEFAULT=connection)
    assert (ran.status, ran.json["runs"][0]["delivered"]) == (0, 1), ran.err
    world.snapshot(["ana", "ben"])
    keyless = json.dumps({"conn_type": "windsor", "host": url})
    refused = in_airflow(world, "sync", KEY, AIRFLOW_CONN_WINDSOR_DEFAULT=keyless)
    assert (refused.status, "connection windsor_default has no API key" in refused.err) == (2, True)


def test_a_query_is_asked_over_airflow_s_connection_where_no_variable_has_its_url(
    world: World, postgres: Postgres
) -> None:
    world.document["audiences"][0]["snapshot"] = {"connection": "shop", "query": "select id as user_id from vip"}
    with postgres.nothing() as url:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("create table vip as select 'ana' as id union all select 'ben'"))
        engine.dispose()
        shop = {
            "conn_type": "postgres",
            "login": "windsor",
            "schema": engine.url.database,
            "host": str(postgres.folder),
        }
        ran = in_airflow(world, "plan", KEY, "--json", AIRFLOW_CONN_SHOP=json.dumps(shop))
    assert (ran.status, ran.json["plans"][0]["entered"]) == (0, 2), ran.err


def test_a_command_that_needs_no_connection_of_airflow_does_not_import_it(world: World) -> None:
    world.snapshot(["ana"])
    commands = (
        ["sync", KEY],
        ["runs"],
        ["audiences"],
        ["why", "ana"],
        ["plan", KEY],
        ["check", "--offline"],
        ["audit"],
    )
    environment = clean_environment() | airflow(world) | {"WINDSOR_API_KEY": world.windsor.api_key}
    script = f"""
import sys
from windsor_sync.cli import main
for command in {commands!r}:
    try:
        main(["--config", {str(world.config)!r}, *command])
    except SystemExit as end:
        assert not end.code and "airflow" not in sys.modules, command
"""
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
