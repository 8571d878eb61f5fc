"""`check` finds what would stop a sync, says what helps, and leaves no trace."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_command_line import Ran
from tests.support.world import AUDIENCE, World


def check(world: World, **environment: str) -> dict[str, Any]:
    """The findings by subject, with `status` for the exit status; of several about one subject the last."""
    ran = printed(world, "--json", **environment)
    return {finding["subject"]: finding for finding in ran.json} | {"status": ran.status}


def printed(world: World, *options: str, **environment: str) -> Ran:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WINDSOR", "AIRFLOW"))}
    command = [sys.executable, "-m", "windsor_sync.cli", "--config", str(world.config), "check", *options]
    settings = kept | {"WINDSOR_API_KEY": world.windsor.api_key, "HOME": str(world.folder)} | environment
    return Ran(subprocess.run(command, capture_output=True, text=True, timeout=120, env=settings))


def test_a_healthy_project_is_ok_in_every_line_and_windsor_gets_nothing(world: World) -> None:
    world.snapshot(["ana"])
    world.values({"ana": 1})
    found = check(world)
    assert found.pop("status") == 0
    assert {finding["level"] for finding in found.values()} == {"ok"}
    assert {"configuration", "schedule", "state", "files", "Airflow", "destination", "clock", AUDIENCE} <= set(found)
    assert (world.sent, world.windsor.store.stats()["users"]) == (0, 0)


def test_everything_that_is_wrong_is_found_in_one_go(world: World) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        world.destination["url"] = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
    world.document["schedule"] = {"audiences": "12h"}
    world.document["events"] = {"archive": str(world.folder / "no-such-logs")}
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
    assert levels["configuration"] == "warning"


def test_a_state_that_cannot_be_opened_hides_no_other_finding(world: World) -> None:
    (world.folder / "not-a-database").write_text("nonsense, not SQLite" * 100)
    world.document["state"] = "sqlite:///not-a-database"
    found = check(world)
    assert (found["status"], found["state"]["level"], found["destination"]["level"]) == (2, "error", "ok")


def test_an_object_store_that_is_out_of_reach_is_a_finding_like_any_other(world: World) -> None:
    world.snapshot(["ana"])
    world.values({"ana": 1})
    world.document["events"] = {"archive": "s3://acme/segment-logs"}
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        store = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{nobody.getsockname()[1]}",
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
    assert "Set the environment variable WINDSOR_API_KEY" in missing["API key"]["text"]
    assert (refused["status"], missing["status"]) == (2, 2)


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


@pytest.mark.parametrize(
    ("shift_s", "level", "words"), [(0, "ok", "within 30 s"), (-3600, "warning", "behind Windsor's")]
)
def test_a_clock_that_is_wrong_is_a_warning(
    world: World, monkeypatch: pytest.MonkeyPatch, shift_s: int, level: str, words: str
) -> None:
    from datetime import UTC, datetime, timedelta

    from windsor_sync import checkup_destination
    from windsor_sync.settings import load

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "datetime":
            return datetime.now(UTC) + timedelta(seconds=shift_s)

    monkeypatch.setattr(checkup_destination, "datetime", Shifted)
    destination = load(world.config, env={}).destination
    *_, clock = checkup_destination.examine_destination(destination, lambda: world.windsor.api_key)
    assert (clock.subject, clock.level.value, words in clock.text) == ("clock", level, True)


def test_before_the_first_run_a_sentence_says_what_to_do(world: World) -> None:
    command = [sys.executable, "-m", "windsor_sync.cli", "--config", str(world.config), "runs"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, "Run: windsor-sync sync --all" in done.stdout) == (0, True)
