"""Made-up private data goes down every path on which something fails, and is found nowhere but where it belongs."""

import base64
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import delete

from tests.chaos.processes import ROOT, Command, Ended, until
from tests.support.windsor import StartWindsor
from tests.support.world import KEY, TRAIT_KEY, World
from windsor_sync.sandbox import Faults
from windsor_sync.state.tables import stored_files

EMAIL = "Canary.Serin@aviary.example"
USER = "canary-finch-5f1e"
PHONE = "+15550173942"
"""a user id that is a phone number"""
VALUE = "canary-teal-plumage"
API_KEY = "canary-key-0d9b77"
PASSWORD = "canary-password-31c8"

CANARIES = [
    *(word.lower() for word in (EMAIL, USER, PHONE.strip("+"), VALUE, API_KEY, PASSWORD)),
    base64.b64encode(f"{API_KEY}:".encode()).decode().rstrip("=").lower(),
]

OTHERS = [f"user-{number}" for number in range(200)]

AT_LEVEL_DEBUG = """
import logging, sys

logging.basicConfig(level=logging.DEBUG)
from windsor_sync.cli import main

main(sys.argv[1:])
"""


@pytest.fixture
def aviary(tmp_path: Path, start_windsor: StartWindsor) -> Iterator[World]:
    """A world with a user for every kind of private data; its Windsor gives them away in every refusal."""
    folder = tmp_path / "aviary"
    folder.mkdir()
    world = World(folder, start_windsor(api_key=API_KEY), give_up_after_s=0.2, timeout_s=2)
    world.snapshot({USER: EMAIL, PHONE: None} | dict.fromkeys(OTHERS))
    world.values({USER: VALUE, PHONE: 15550173942} | dict.fromkeys(OTHERS, 1))
    yield world
    world.reopen()


def outspoken(world: World, *arguments: str) -> Command:
    """The command line with everything logged that anybody logs."""
    return Command(world, ["-c", AT_LEVEL_DEBUG, "--config", str(world.config), *arguments], PYTHONASYNCIODEBUG="1")


def run(world: World, *arguments: str) -> Ended:
    """One command from start to end."""
    with outspoken(world, *arguments) as command:
        return command.end()


def found_in(text: str) -> list[str]:
    """The canaries that a text repeats."""
    return [canary for canary in CANARIES if canary in text.lower()]


def leaks(folder: Path, *belongs: str) -> dict[str, list[str]]:
    """Files below a folder whose name or content has a canary, but for those below the given ones."""
    leaking = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.startswith(belongs) or not path.is_file():
            continue
        if found := found_in(f"{name}\n{path.read_bytes().decode(errors='replace')}"):
            leaking[name] = found
    return leaking


def dump(state: Path) -> str:
    """Every table of the state."""
    with closing(sqlite3.connect(state)) as connection:
        return "\n".join(connection.iterdump())


def assert_silent(world: World) -> None:
    """Nothing but the source's own files, the sealed ones and the outboxes holds a canary."""
    world.reopen()
    assert leaks(world.folder, "snapshots/", ".windsor/files/snapshots/", ".windsor/files/outboxes/") == {}
    assert list(world.folder.glob(".windsor/files/drafts/*")) == []
    state = world.folder / ".windsor" / "state.db"
    assert not state.exists() or found_in(dump(state)) == []


def test_the_canaries_are_where_they_belong_so_that_looking_for_them_means_something(aviary: World) -> None:
    assert run(aviary, "sync", "--all").status == 0
    assert set(leaks(aviary.folder)) >= {"snapshots/audience/20260101T0230.csv", "snapshots/trait/20260101T0500.csv"}
    assert aviary.shown(TRAIT_KEY)[USER] == VALUE
    assert_silent(aviary)


LOOKS = [["check"], ["audiences"], ["plan", "--all"], ["plan", "--all", "--json"], ["runs", "--json"]]


@pytest.mark.parametrize("arguments", LOOKS, ids=" ".join)
def test_looking_at_what_there_is_shows_nobody(aviary: World, arguments: list[str]) -> None:
    assert run(aviary, *arguments).status == 0
    assert_silent(aviary)


FAULTS = {
    "refused one by one, in words that name them": (Faults(rejected_users=frozenset({USER, PHONE})), 4),
    "refused from the start": (Faults(rejected_share=1), 4),
    "answers are lost": (Faults(lost_answer_rate=1), 6),
    "500 after all": (Faults(false_error_rate=1, error_statuses=(500,)), 6),
    "garbage": (Faults(garbage_rate=1), 6),
    "a web page": (Faults(html_rate=1), 6),
    "down": (Faults.parse({"outage": "unavailable"}), 6),
    "revoked": (Faults(revoked_after=20), 5),
    "not supported": (Faults(unsupported_calls=frozenset({"identify"})), 4),
}


@pytest.mark.forms(4)
@pytest.mark.parametrize(("faults", "status"), FAULTS.values(), ids=FAULTS)
def test_a_sync_that_windsor_does_not_take_tells_nothing_about_anybody(
    aviary: World, faults: Faults, status: int
) -> None:
    aviary.windsor.set_faults(faults)
    ended = run(aviary, "sync", "--all", "--json")
    assert ended.status == status
    if status == 4:
        assert run(aviary, "runs", json.loads(ended.output)["runs"][0]["run"]).status == 0
    assert_silent(aviary)


DECISIONS = [
    ["retry", "--audience", KEY, "--dry-run"],
    ["backfill", KEY, "--mode", "resync", "--dry-run", "--json"],
    ["audit", "--json"],
    ["forget", USER, "--reason", "asked to be"],
    ["retire", KEY, "--reason", "replaced"],
]


def test_what_people_decide_is_answered_and_recorded_without_naming_anybody(aviary: World) -> None:
    aviary.windsor.set_faults(Faults(rejected_users=frozenset({USER, PHONE})))
    aviary.sync()
    for arguments in DECISIONS:
        assert run(aviary, *arguments).status in (0, 4)
    assert_silent(aviary)


LINES = {
    "too many columns": f"{USER},{EMAIL},{PHONE},{VALUE}",
    "an open quote": f'"{USER},{EMAIL}',
    "a quote inside": f'{USER}"x"{PHONE},{EMAIL}',
    "a NUL byte": f"{USER},\x00{EMAIL}",
    "another encoding": f"{USER},\xff{EMAIL}",
    "a duplicate": f"{PHONE},{EMAIL}",
    "no user id": f",{EMAIL}",
    "blanks": f'" {USER} ","{EMAIL}\n{EMAIL}"',
}


@pytest.mark.forms(1)
@pytest.mark.parametrize(("percent", "statuses"), [(100, (0, 8)), (0, (8,))], ids=["tolerated", "refused"])
def test_a_bad_line_is_named_by_its_number_only(aviary: World, percent: int, statuses: tuple[int, ...]) -> None:
    goods = b"".join(b"user-%d,\r\n" % number for number in range(9))
    for kind, line in LINES.items():
        add(aviary, kind, f"user_id,email\r\n{PHONE},\r\n{line}\r\n".encode("latin-1") + goods, percent=percent)
    assert run(aviary, "sync", "--all").status in statuses
    assert_silent(aviary)


FILES: dict[str, tuple[str, str]] = {
    "no header": ("csv", f"{USER},{EMAIL}\r\n{PHONE},{EMAIL}\r\n"),
    "cut inside a quote": ("csv", f'user_id,email\r\n{USER},"{EMAIL}'),
    "an error page": ("csv", f"<html><title>{API_KEY}</title><body>{EMAIL}</body></html>"),
    "JSON that is none": ("jsonl", f'{{"user_id": "{USER}", "email": "{EMAIL}"\n{{"user_id": {PHONE}}}'),
    "JSON of another shape": ("jsonl", f'{{"{USER}": {{"{EMAIL}": "{VALUE}"}}}}\n["{USER}"]\n"{EMAIL}"\n'),
    "Parquet that is none": ("parquet", f"PAR1{USER}{EMAIL}PAR1"),
}


def test_a_file_that_is_not_what_it_should_be_is_not_quoted(aviary: World) -> None:
    for kind, (ending, content) in FILES.items():
        add(aviary, kind, content.encode(), ending=ending)
    for arguments in (["sync", "--all"], ["plan", "--all", "--json"], ["check"]):
        ended = run(aviary, *arguments)
        assert ended.status in (0, 2, 8)
        assert arguments == ["check"] or ended.errors.count("Nothing was sent") == len(FILES)
    assert_silent(aviary)


def add(world: World, name: str, content: bytes, *, ending: str = "csv", percent: int = 0) -> None:
    """Give the world one more audience, whose snapshot is this file."""
    folder = world.folder / "snapshots" / name
    folder.mkdir(parents=True)
    (folder / f"members.{ending}").write_bytes(content)
    snapshot = {"path": f"snapshots/{name}/*.{ending}", "max_malformed_percent": percent}
    world.document["audiences"].append({"name": name, "snapshot": snapshot})


CONFIGURATIONS = {
    "the key in the url": f"destination: {{url: 'https://{API_KEY}@windsor.example/'}}",
    "the key in the path": f"destination: {{url: 'https://hook.windsor.io/{API_KEY}'}}",
    "the key in a setting": f"destination: {{url: 'http://127.0.0.1:1/', api_key: {API_KEY}}}",
    "no YAML": f"destination: {{url: '{API_KEY}'\n token: {PASSWORD}",
    "a state that is out of reach": f"""
state: postgresql+psycopg://windsor:{PASSWORD}@127.0.0.1:1/state?sslpassword={PASSWORD}
destination: {{url: 'http://127.0.0.1:1/'}}
""",
    "a state of another kind": f"state: mysql://windsor:{PASSWORD}@db/state\ndestination: {{url: 'http://127.0.0.1:1/'}}",
    "files that need another package": f"""
files: s3://id:{PASSWORD}@bucket/windsor
destination: {{url: 'http://127.0.0.1:1/'}}
""",
}


@pytest.mark.parametrize("text", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_secret_in_a_configuration_that_does_not_work_is_not_repeated(aviary: World, text: str) -> None:
    config = aviary.folder / "snapshots" / "other.yaml"  # where secrets are expected
    config.write_text(text)
    with Command(aviary, ["-c", AT_LEVEL_DEBUG, "--config", str(config), "check"], PYTHONASYNCIODEBUG="1") as command:
        assert command.end().status in (2, 6)
    assert_silent(aviary)


def test_a_damaged_stored_file_is_said_and_nobody_in_it(aviary: World) -> None:
    aviary.windsor.set_faults(Faults(rejected_users=frozenset({USER})))
    run(aviary, "sync", "--all")
    for path in (aviary.folder / ".windsor" / "files").rglob("*.parquet"):
        spoil(path, path.read_bytes()[:-50])
    aviary.snapshot({USER: EMAIL})
    ended = run(aviary, "sync", "--all")
    assert ended.status == 9
    assert "bytes instead of" in ended.errors
    assert_silent(aviary)


def test_a_crash_shows_where_it_happened_and_nobody(aviary: World) -> None:
    aviary.windsor.set_faults(Faults(rejected_users=frozenset({USER})))
    run(aviary, "sync", "--all")
    for path in (aviary.folder / ".windsor" / "files" / "outboxes").rglob("*.parquet"):
        put_ids_for_numbers(path)  # an outbox that no version of ours wrote
    with aviary.workspace.database.write() as connection:
        connection.execute(delete(stored_files))  # nor does the state know what it was
    aviary.reopen()
    aviary.snapshot({USER: EMAIL})
    ended = run(aviary, "sync", "--all")
    assert ended.status == 1
    assert "Traceback (most recent call last)" in ended.errors
    assert_silent(aviary)


def test_a_killed_sync_and_the_next_one_tell_nothing_about_anybody(aviary: World) -> None:
    aviary.windsor.set_faults(Faults(latency_ms=(50, 50)))
    with outspoken(aviary, "sync", "--all") as command:
        until(lambda: aviary.sent > 0)
        command.kill()
    aviary.windsor.set_faults(Faults())
    aviary.snapshot({PHONE: EMAIL})
    assert run(aviary, "sync", "--all", "--json").status == 0
    assert_silent(aviary)


ONE_DAG_RUN = """
import os
from airflow.dag_processing.dagbag import DagBag
from airflow.utils import db

db.initdb()
dag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"]).dags["engage_audience_sync"]
for task in dag.tasks:
    task.retries = 0
for one in dag.test().get_task_instances():
    print(one.task_id, one.map_index, one.state)
"""


def test_airflow_keeps_nothing_about_anybody_in_its_database_or_logs(aviary: World) -> None:
    aviary.windsor.set_faults(Faults(rejected_users=frozenset({USER})))
    add(aviary, "broken", FILES["cut inside a quote"][1].encode())
    add(aviary, "fine", f"user_id,email\r\n{PHONE},{EMAIL}\r\n".encode())
    environment = {
        "AIRFLOW_HOME": str(aviary.folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{aviary.folder}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",  # at DEBUG Airflow itself logs each secret that it is told to mask
        "AIRFLOW_CONN_WINDSOR_DEFAULT": json.dumps({"conn_type": "http", "password": API_KEY}),
        "WINDSOR_SYNC_CONFIG": str(aviary.config),
    }
    with Command(aviary, ["-c", ONE_DAG_RUN], **environment) as airflow:
        ended = airflow.end()
    states = dict(line.rsplit(" ", 1) for line in ended.output.splitlines() if line.startswith("sync_audience."))
    assert states["sync_audience.deliver 0"] == "failed"
    assert states["sync_audience.seal 1"] == "failed"
    assert states["sync_audience.deliver 2"] == "success"
    kept = dump(aviary.folder / "airflow.db")
    assert "order_completed_last_30days-1-" in kept  # XCom and rendered fields are in there
    assert found_in(kept) == []
    assert_silent(aviary)


def spoil(path: Path, content: bytes) -> None:
    """Replace a file without making it older or newer."""
    moment = path.stat().st_mtime
    path.write_bytes(content)
    os.utime(path, (moment, moment))


def put_ids_for_numbers(path: Path) -> None:
    """Make of an outbox a whole Parquet file with a column of another type, full of ids."""
    changed = path.with_suffix(".changed")
    with duckdb.connect() as connection:
        everything = f"SELECT * REPLACE (identity AS since_run) FROM read_parquet('{path}')"
        connection.execute(f"COPY ({everything}) TO '{changed}' (FORMAT parquet)")
    spoil(path, changed.read_bytes())
    changed.unlink()
