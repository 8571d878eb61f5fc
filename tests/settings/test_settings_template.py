"""The file that `init` writes and the reference that the documentation is made from agree with the models."""

import json
import re
import subprocess
import sys

from settings_folder import Folder

from windsor_sync.settings import TEMPLATE, describe

COMMENTED_SETTING = re.compile(r"^(\s*)# (?=\s*(?:- )?[a-z_]+:(?:\s|$))", re.MULTILINE)


def test_the_template_is_valid_as_it_stands_and_points_at_the_sandbox(folder: Folder) -> None:
    settings = folder.load(TEMPLATE)
    assert settings.destination.url == "http://127.0.0.1:8474/"
    assert [audience.key for audience in settings.audiences] == ["order_completed_last_30days"]
    assert settings.warnings == ()


def test_the_template_says_the_defaults(folder: Folder) -> None:
    written, bare = folder.load(TEMPLATE), folder.load("destination: {url: 'http://127.0.0.1:8474/'}")
    sections = ("state", "files", "destination", "schedule", "defaults")
    assert [getattr(written, name) for name in sections] == [getattr(bare, name) for name in sections]


def test_every_commented_setting_of_the_template_is_valid_too(folder: Folder) -> None:
    settings = folder.load(COMMENTED_SETTING.sub(r"\1", TEMPLATE))
    assert [audience.name for audience in settings.audiences] == ["Order Completed Last 30days", "VIP"]
    assert settings.computed_traits[0].sends_null_when_missing
    assert settings.events is not None


def test_the_template_shows_every_section_and_every_setting_outside_of_lists() -> None:
    shown = set(re.findall(r"^[ #-]*([a-z_]+):", TEMPLATE, re.MULTILINE))
    expected = {row["name"].rpartition(".")[2].removesuffix("[]") for row in describe() if "[]." not in row["name"]}
    assert expected <= shown


def test_the_reference_describes_every_setting_and_is_ready_for_json() -> None:
    rows = {row["name"]: row for row in json.loads(json.dumps(describe()))}
    assert all(row["meaning"].endswith(".") and row["type"] for row in rows.values())
    assert rows["destination.requests_per_second"] == {
        "name": "destination.requests_per_second",
        "type": "a number above 0",
        "required": False,
        "default": 200,
        "meaning": "Requests per second to this destination, shared by all running tasks.",
        "variable": "WINDSOR_SYNC_DESTINATION__REQUESTS_PER_SECOND",
    }
    assert rows["schedule.audiences"]["default"] == "2h30m"
    assert rows["destination.url"]["required"]
    assert (rows["defaults.emails"]["default"], rows["audiences[].emails"]["default"]) == ("first", None)
    assert rows["audiences[].emails"]["meaning"].endswith("By default as `defaults` says.")
    assert rows["audiences[].snapshot.path"]["variable"] is None
    assert (rows["events.since"]["default"], rows["events.since"]["type"]) == (None, "a day as YYYY-MM-DD")
    assert rows["events.consent_categories"]["default"] == []
    assert rows["computed_traits[].on_missing"]["default"] is None
    assert rows["audiences[].snapshot.columns"]["type"].endswith("user_id, anonymous_id, email, profile_id or value")


def test_every_variable_of_the_reference_sets_its_setting(folder: Folder) -> None:
    env = {
        row["variable"]: "6" if type(row["default"]) is int else str(row["default"]).lower()
        for row in describe()
        if row["variable"] and row["default"] is not None and not isinstance(row["default"], list)
    }
    settings = folder.load("space: spa_test\ndestination: {url: http://localhost/}\nevents: {archive: logs}\n", env)
    assert (settings.destination.timeout_s, settings.defaults.guard_floor) == (6, 6)
    assert len(env) > 12


def test_importing_the_settings_imports_no_engine_client_or_framework() -> None:
    heavy = ("duckdb", "pandas", "sqlalchemy", "httpx", "aiohttp", "airflow", "jinja2", "click", "rich", "fsspec")
    code = f"import sys, windsor_sync.settings; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_does_not_import_pydantic() -> None:
    code = "import sys, windsor_sync, windsor_sync.errors; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
