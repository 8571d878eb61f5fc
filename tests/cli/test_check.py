"""`check` finds what would stop a sync, says what helps, and leaves no trace."""

import json
import socket
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from sqlalchemy import update

from tests.cli.test_command_line import Ran, run
from tests.cli.test_init_hostile import somebody_else
from tests.support.ports import nobody_at
from tests.support.segment_api import TOKEN, SegmentApi
from tests.support.world import AUDIENCE, TRAIT, World
from windsor_sync.domain.change import Limits, Retry
from windsor_sync.errors import ConfigError, SnapshotError
from windsor_sync.sandbox import Faults
from windsor_sync.settings import load
from windsor_sync.sources import engine_from_environment
from windsor_sync.state.tables import runs
from windsor_sync.usecases.check import examine, examine_origins
from windsor_sync.usecases.request import Request


def check(world: World, **environment: str) -> dict[str, Any]:
    """The findings by subject, with `status` for the exit status; of several about one subject the last."""
    ran = printed(world, "--json", **environment)
    return {finding["subject"]: finding for finding in ran.json} | {"status": ran.status}


def printed(world: World, *options: str, **environment: str) -> Ran:
    settings = {"WINDSOR_API_KEY": world.windsor.api_key, "HOME": str(world.folder)} | environment
    return run("--config", str(world.config), "check", *options, **settings)


def test_a_healthy_project_is_ok_in_every_line_and_windsor_gets_nothing(world: World) -> None:
    world.snapshot(["ana"])
    world.values({"ana": 1})
    found = check(world)
    assert found.pop("status") == 0
    assert {finding["level"] for finding in found.values()} == {"ok"}
    assert {"configuration", "schedule", "state", "files", "Airflow", "destination", "clock", AUDIENCE} <= set(found)
    assert (world.sent, world.windsor.store.stats()["users"]) == (0, 0)


def test_everything_that_is_wrong_is_found_in_one_go(world: World) -> None:
    world.document["schedule"] = {"audiences": "12h"}
    world.document["events"] = {"archive": str(world.folder / "no-such-logs")}
    with nobody_at() as port:
        world.destination["url"] = f"http://127.0.0.1:{port}/"
        found = check(world)
    levels = {subject: finding["level"] for subject, finding in found.items() if subject != "status"}
    assert found["status"] == 2
    assert {subject for subject, level in levels.items() if level == "error"} == {
        "destination",
        "events",
        AUDIENCE,
        "Total Revenue 180 Days",
    }
    assert "Check the URL" in found["destination"]["text"]
    assert "windsor.yaml:" in found["schedule"]["text"]
    assert (levels["configuration"], levels["schedule"], levels["clock"]) == ("ok", "warning", "warning")


@pytest.mark.parametrize(
    "content",
    [
        "user_id,consent\nana,true\nben,false\n",
        "customer,email\nana,a@example.com\n",
        "user_id;email\nana;a@example.com\n",
        "user_id,Email,email_address\nana,a@example.com,b@example.com\n",
        "<html>sign in</html>",
        "user_id,consent\n" + "".join(f"user{number},true\n" for number in range(200_000)),
    ],
)
def test_columns_that_a_sync_refuses_are_refused_in_the_same_words(world: World, content: str) -> None:
    path = world.snapshot(["ana"])
    path.write_text(content)
    with pytest.raises(SnapshotError) as refused:
        world.sync()
    [found] = [one for one in examine(world.workspace) if one.subject == AUDIENCE]
    assert (found.level.value, found.text) == ("error", str(refused.value))


@pytest.mark.parametrize(
    ("snapshot", "says"),
    [
        ({"query": "select id as customer from vips"}, "returns no column user_id"),
        ({"query": "select id as user_id, is_vip as consent from vips"}, "the column consent says true or false"),
        ({"query": "select id as user_id from nobody"}, "no such table"),
        ({"query": "select id as user_id, nothing from vips"}, "cannot make sense of the query"),
        ({"engage": "engage_vip"}, "has no such table or view"),
        ({"profiles_sync": "profiles"}, "has no such table or view"),
        ({"query": "select id as user_id from vips"}, ""),
    ],
)
def test_a_wrong_column_or_table_of_a_warehouse_is_refused_in_the_words_of_a_sync(
    world: World, monkeypatch: pytest.MonkeyPatch, snapshot: dict[str, str], says: str
) -> None:
    with closing(sqlite3.connect(world.folder / "shop.db")) as shop, shop:
        shop.execute("CREATE TABLE vips (id TEXT, is_vip TEXT)")
        shop.executemany("INSERT INTO vips VALUES (?, ?)", [(f"u{number}", "true") for number in range(3_000)])
    monkeypatch.setenv("WINDSOR_CONNECTION_SHOP", f"sqlite:///{world.folder}/shop.db")
    world.document["audiences"][0]["snapshot"] = {"connection": "shop", **snapshot}
    world.document["computed_traits"] = []
    [found] = examine(world.workspace)
    if not says:
        assert (found.level.value, "the query at connection shop, which answers" in found.text) == ("ok", True)
        return
    with pytest.raises((SnapshotError, ConfigError)) as refused:
        world.sync()
    assert (found.level.value, found.text, says in found.text) == ("error", str(refused.value), True)


def test_a_parquet_file_in_an_object_store_is_looked_into(world: World, s3: Any, tmp_path: Path) -> None:
    for name, columns in {
        "vip": "id AS user_id",
        "flags": "id AS user_id, TRUE AS consent",
        "other": "id AS customer",
    }.items():
        duckdb.sql(f"SELECT {columns} FROM (SELECT unnest(range(50_000))::VARCHAR AS id)").write_parquet(
            f"{tmp_path}/s.parquet"
        )
        s3.put_file(f"{tmp_path}/s.parquet", f"acme/{name}.parquet")
    s3.pipe_file("acme/broken.parquet", b"PAR1 and no more")
    says = {
        "vip": "",
        "flags": "the column consent says true or false",
        "other": "lacks user_id",
        "broken": "is no Parquet file",
    }
    world.document["audiences"] = [{"name": name, "snapshot": {"path": f"s3://acme/{name}.parquet"}} for name in says]
    world.document["computed_traits"] = []
    found = {one.subject: one for one in examine(world.workspace)}
    for name, words in says.items():
        assert (found[name].level.value, words in found[name].text) == ("error" if words else "ok", True), found[
            name
        ].text
        if words:
            with pytest.raises(SnapshotError) as refused:
                world.sync(name)
            assert found[name].text == str(refused.value)


def test_a_state_that_cannot_be_opened_hides_no_other_finding(world: World) -> None:
    (world.folder / "not-a-database").write_text("nonsense, not SQLite" * 100)
    world.document["state"] = "sqlite:///not-a-database"
    found = check(world)
    assert (found["status"], found["state"]["level"], found["destination"]["level"]) == (2, "error", "ok")


def test_a_state_that_cannot_be_opened_hides_no_source(world: World) -> None:
    (world.folder / "not-a-database").write_text("nonsense, not SQLite" * 100)
    world.document["state"] = "sqlite:///not-a-database"
    world.values({"ana": 1})
    found = check(world)
    assert (found["state"]["level"], found[AUDIENCE]["level"], found[TRAIT]["level"]) == ("error", "error", "ok")
    assert "No snapshot matches" in found[AUDIENCE]["text"]
    assert "what Windsor was told is not known" in found[TRAIT]["text"]


def test_mistakes_of_the_configuration_are_findings_too_a_line_each_and_for_programs(world: World) -> None:
    world.destination["max_inflight"] = 3
    world.document["schedule"] = {"audiences": "soon"}
    ran = printed(world, "--json")
    mistakes = " ".join(finding["text"] for finding in ran.json if finding["level"] == "error")
    assert (ran.status, ran.err) == (2, "")
    assert ("max_in_flight" in mistakes, "schedule.audiences" in mistakes) == (True, True)
    assert "error   configuration: windsor.yaml:" in printed(world).out


def test_without_a_configuration_there_is_one_finding_with_its_remedy(tmp_path: Path) -> None:
    ran = run("--config", str(tmp_path / "windsor.yaml"), "check", "--json")
    (found,) = ran.json
    assert (ran.status, found["level"], "`windsor-sync init` writes one" in found["text"]) == (2, "error", True)


def test_a_warehouse_is_connected_to_once_and_one_that_is_not_there_is_an_error(world: World) -> None:
    world.document["audiences"] = [
        {"name": name, "snapshot": {"connection": name.split()[0], "query": "select 1 as user_id"}}
        for name in ("There", "Gone", "Gone too", "Unnamed")
    ]
    world.document["computed_traits"] = []
    with nobody_at() as port:
        gone = f"postgresql+psycopg://reader:k3y-of-ours@127.0.0.1:{port}/shop"
        ran = printed(world, "--json", WINDSOR_CONNECTION_THERE="sqlite://", WINDSOR_CONNECTION_GONE=gone)
    found = {finding["subject"]: finding for finding in ran.json}
    assert (ran.status, found["There"]["level"], "which answers" in found["There"]["text"]) == (2, "ok", True)
    assert (found["Gone"]["level"], "connection Gone" in found["Gone"]["text"]) == ("error", True)
    assert found["Gone too"]["text"] == found["Gone"]["text"]
    assert "Set the environment variable WINDSOR_CONNECTION_UNNAMED" in found["Unnamed"]["text"]
    assert "k3y-of-ours" not in ran.out + ran.err


def test_of_a_warehouse_with_many_audiences_one_connection_is_made(world: World) -> None:
    world.document["audiences"] = [
        {"name": name, "snapshot": {"connection": "shop", "query": "select 1 as user_id"}} for name in ("VIP", "Gold")
    ]
    world.document["computed_traits"] = []
    asked: list[str] = []

    def reach(connection: str) -> Any:
        asked.append(connection)
        raise ConfigError("Nobody is there.")

    found = list(examine(replace(world.workspace, connections=reach)))
    assert [(one.level.value, one.text) for one in found] == [("error", "Nobody is there.")] * 2
    assert asked == ["shop"]


def test_a_snapshot_that_this_user_may_not_read_is_an_error_that_names_it() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "vip.csv").write_text("user_id\nana\n", encoding="utf-8")
        (folder / "vip.csv").chmod(0)
        config = folder / "windsor.yaml"
        config.write_text(
            "destination: {url: 'http://127.0.0.1:9/'}\naudiences: [{name: VIP, snapshot: {path: vip.csv}}]\n",
            encoding="utf-8",
        )
        settings = load(config, env={})
        with somebody_else():
            (found,) = examine_origins(settings, engine_from_environment)
    assert (found.level.value, "vip.csv cannot be read: Permission denied" in found.text) == ("error", True)


def test_what_windsor_has_not_acknowledged_is_not_called_told(world: World) -> None:
    world.snapshot(["ana", "ben"])
    world.values({"ana": 1})
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ana"})))
    world.sync()
    found = check(world)[AUDIENCE]["text"]
    assert found.endswith(
        "last synced with the snapshot of 2026-01-01 02:30 UTC, of which Windsor has not acknowledged 1 change"
    )
    world.windsor.set_faults(Faults())
    world.sync(request=Request("retry", limits=Limits(retry=Retry())))
    assert check(world)[AUDIENCE]["text"].endswith("last synced with the snapshot of 2026-01-01 02:30 UTC")


def test_of_a_run_that_has_not_ended_what_windsor_has_acknowledged_is_counted_now(world: World) -> None:
    world.snapshot(["ana", "ben"])
    world.values({"ana": 1})
    world.sync()
    with world.workspace.database.write() as connection:  # as it is until its books are closed
        connection.execute(update(runs).values(state="open", finished_at=None, delivered=0))
    assert check(world)[AUDIENCE]["text"].endswith("last synced with the snapshot of 2026-01-01 02:30 UTC")


def test_an_object_store_that_is_out_of_reach_is_a_finding_like_any_other(world: World) -> None:
    world.snapshot(["ana"])
    world.values({"ana": 1})
    world.document["events"] = {"archive": "s3://acme/segment-logs"}
    with nobody_at() as port:
        store = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_MAX_ATTEMPTS": "1",
        }
        archive = check(world, **store)
        world.document["files"] = "s3://acme/files"
        files = check(world, **store)
    assert (archive["status"], archive["events"]["level"], archive[AUDIENCE]["level"]) == (2, "error", "ok")
    assert "s3://acme/segment-logs cannot be read" in archive["events"]["text"]
    assert (files["status"], files["files"]["level"], files["destination"]["level"]) == (2, "error", "ok")
    assert "cannot be read or written" in files["files"]["text"]


def test_a_refused_and_a_missing_key_are_told_apart(world: World) -> None:
    refused, missing = check(world, WINDSOR_API_KEY="another"), check(world, WINDSOR_API_KEY="")
    assert "refuses the key (401)" in refused["destination"]["text"]
    assert refused["destination"]["text"].endswith("Put a valid one into WINDSOR_API_KEY.")
    assert "Set the environment variable WINDSOR_API_KEY" in missing["API key"]["text"]
    assert (refused["status"], missing["status"], missing["destination"]["level"]) == (2, 2, "ok")


def test_without_a_key_it_is_still_seen_whether_anybody_is_there(world: World) -> None:
    with nobody_at() as port:
        world.destination["url"] = f"http://127.0.0.1:{port}/"
        found = check(world, WINDSOR_API_KEY="")
    assert (found["API key"]["level"], found["destination"]["level"]) == ("error", "error")
    assert "nobody answers there. Check the URL" in found["destination"]["text"]
    assert "Windsor does not answer" in found["clock"]["text"]


def test_the_key_is_never_printed(world: World) -> None:
    ran = printed(world)
    assert world.windsor.api_key == "sandbox"
    assert printed(world, WINDSOR_API_KEY="k3y-of-ours").out.find("k3y-of-ours") == -1
    assert "error" in ran.out  # there is no snapshot yet


def test_a_folder_that_may_not_be_written_is_named(world: World) -> None:
    (world.folder / "files").write_text("a file where the folder should be")
    world.document["files"] = "files"
    found = check(world)["files"]
    assert found["level"] == "error"
    assert "windsor.yaml cannot be used" in found["text"]


def test_an_airflow_without_pool_and_connection_is_told_what_makes_them(world: World, tmp_path: Path) -> None:
    found = check(world, AIRFLOW_HOME=str(tmp_path / "airflow"))
    assert (found["pool"]["level"], found["connection"]["level"]) == ("error", "error")
    assert "windsor-sync airflow-setup" in found["pool"]["text"]


def test_the_key_in_airflows_connection_is_tried(world: World, tmp_path: Path) -> None:
    environment = {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW_CONN_WINDSOR_DEFAULT": f'{{"conn_type": "windsor", "password": "{world.windsor.api_key}"}}',
        "WINDSOR_API_KEY": "",
    }
    found = check(world, **environment)
    assert (found["connection"]["level"], found["destination"]["level"]) == ("ok", "ok")
    assert "with the key from Airflow's connection windsor_default" in found["destination"]["text"]


def test_segment_s_token_and_a_warehouse_are_found_in_airflow_s_connections(
    world: World, tmp_path: Path, segment_api: SegmentApi
) -> None:
    world.document["audiences"] = [{"name": AUDIENCE, "snapshot": {"connection": "shop", "profiles_sync": "main"}}]
    world.document["computed_traits"] = []
    world.document["segment"] = {"url": segment_api.url}
    segment = {"conn_type": "generic", "password": TOKEN}
    with nobody_at() as port:
        shop = {"conn_type": "postgres", "host": "127.0.0.1", "port": port, "password": "hunter2c"}
        found = check(
            world,
            AIRFLOW_HOME=str(tmp_path / "airflow"),
            AIRFLOW_CONN_SEGMENT_DEFAULT=json.dumps(segment),
            AIRFLOW_CONN_SHOP=json.dumps(shop),
        )
    assert found["Segment"]["level"] == "ok"
    assert (found[AUDIENCE]["level"], "connection shop" in found[AUDIENCE]["text"]) == ("error", True)
    assert "cannot be reached" in found[AUDIENCE]["text"], found[AUDIENCE]["text"]


@pytest.mark.parametrize(
    ("shift_s", "level", "words"), [(0, "ok", "within 30 s"), (-3600, "warning", "behind Windsor's")]
)
def test_a_clock_that_is_wrong_is_a_warning(
    world: World, monkeypatch: pytest.MonkeyPatch, shift_s: int, level: str, words: str
) -> None:
    from datetime import UTC, datetime, timedelta

    from windsor_sync.usecases import check_destination as checkup_destination

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "datetime":
            return datetime.now(UTC) + timedelta(seconds=shift_s)

    monkeypatch.setattr(checkup_destination, "datetime", Shifted)
    destination = load(world.config, env={}).destination
    key = checkup_destination.Key(world.windsor.api_key, "WINDSOR_API_KEY")
    *_, clock = checkup_destination.examine_destination(destination, lambda: key)
    assert (clock.subject, clock.level.value, words in clock.text) == ("clock", level, True)


def test_before_the_first_run_a_sentence_says_what_to_do(world: World) -> None:
    ran = run("--config", str(world.config), "runs")
    assert (ran.status, "Run: windsor-sync sync --all" in ran.out) == (0, True)


def test_what_is_right_is_looked_at_in_the_same_go_as_what_is_wrong(world: World) -> None:
    world.document["audiences"].append({"name": "Wrong", "snapshot": {"path": "a.csv", "query": "select 1"}})
    world.document["audiences"].append({"name": "Nameless", "trait": "email", "snapshot": {"path": "none/*.csv"}})
    world.document["schedule"] = {"audiences": "soon"}
    world.document["unknown"] = 3
    world.values({"ana": 1})
    ran = printed(world, "--json", WINDSOR_API_KEY="wrong")
    errors = [finding for finding in ran.json if finding["level"] == "error"]
    assert [finding["subject"] for finding in errors].count("configuration") == 4
    assert {finding["subject"] for finding in errors} == {"configuration", "destination", AUDIENCE, "Nameless"}
    levels = {finding["subject"]: finding["level"] for finding in ran.json}
    assert (ran.status, levels["state"], levels["files"], levels[TRAIT], "Wrong" in levels) == (
        2,
        "ok",
        "ok",
        "ok",
        False,
    )
    assert ("schedule" in levels, "leave out: audiences, schedule.audiences, unknown" in ran.out) == (False, True)


@pytest.mark.parametrize("offline", [(), ("--offline",)])
def test_an_audience_whose_source_is_wrong_is_not_called_ok(world: World, offline: tuple[str, ...]) -> None:
    for name, snapshot in {
        "Ending": {"path": "/etc/hosts"},
        "Format": {"path": "x.csv", "format": "nix"},
        "Query": {"query": 5, "connection": ["x"]},
    }.items():
        world.document["audiences"].append({"name": name, "snapshot": snapshot})
    world.document["schedule"] = {"audiences": "0 0 30 2 *"}
    world.snapshot(["ana"])
    levels = {finding["subject"]: finding["level"] for finding in printed(world, "--json", *offline).json}
    assert (levels[AUDIENCE], levels.keys() & {"Ending", "Format", "Query"}) == ("ok", set())


@pytest.mark.parametrize("key", ["state", "files", "destination"])
def test_no_other_state_is_made_or_opened_while_where_it_is_is_wrong(world: World, key: str) -> None:
    world.values({"ana": 1})
    if key == "destination":
        world.destination["url"] = "no address"
    else:
        world.document[key] = {"state": "nonsense", "files": ""}[key]
    found = check(world, WINDSOR_API_KEY="")
    assert (found["status"], found["state"]["level"], found[TRAIT]["level"]) == (2, "skipped", "ok")
    assert (found[AUDIENCE]["level"], found["API key"]["level"]) == ("error", "error")
    assert found["destination"]["level"] == ("skipped" if key == "destination" else "ok")
    assert (ran_offline := printed(world, "--offline")).status == 2, ran_offline.out
    assert not (world.folder / ".windsor").exists()


def test_a_configuration_is_checked_offline_without_network_key_state_or_airflow(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.document["state"] = "postgresql://windsor@db.invalid/windsor"
    world.document["files"] = "s3://no-such-bucket/files"
    world.document["audiences"].append({"name": "In S3", "snapshot": {"path": "s3://no-such-bucket/*.parquet"}})
    world.document["audiences"].append({"name": "Asked", "snapshot": {"query": "select 1", "connection": "shop"}})
    world.document["segment"] = {"region": "eu"}
    world.document["space"] = "spa_1"
    world.destination["url"] = "http://windsor.localhost/"
    monkeypatch.setattr(socket, "socket", None)
    monkeypatch.setattr(socket, "getaddrinfo", None)
    monkeypatch.setenv("AIRFLOW_HOME", "/nowhere")
    monkeypatch.delenv("WINDSOR_API_KEY", raising=False)
    from windsor_sync.cli.doctor import findings_about

    config = world.config
    before = sorted(world.folder.rglob("*"))
    found = {finding.subject: finding for finding in findings_about(config, is_offline=True)}
    assert {finding.level.value for finding in found.values()} == {"ok", "skipped"}
    assert found["In S3"].text == "trait in_s3, from s3://no-such-bucket/*.parquet (parquet)"
    assert found["Asked"].text == "trait asked, from a query over connection shop"
    assert "Windsor and its key, Segment" in found["offline"].text
    assert sorted(world.folder.rglob("*")) == before


def test_offline_a_mistake_ends_with_2_and_what_was_not_looked_at_is_said(world: World) -> None:
    world.document["audiences"][0]["snapshot"] = {"path": "a.txt"}
    ran = printed(world, "--offline")
    assert (ran.status, "a path whose end names no format" in ran.out, "skipped offline: Not checked" in ran.out) == (
        2,
        True,
        True,
    )
    assert (
        printed(world, "--offline", WINDSOR_SYNC_AUDIENCES__ORDER_COMPLETED_LAST_30DAYS__SNAPSHOT__FORMAT="csv").status
        == 0
    )
