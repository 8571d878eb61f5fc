"""Commands behave as a shell, a script and a person at a narrow terminal expect."""

import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from tests.cli.test_command_line import run
from tests.cli.test_tables_and_words import call
from tests.support.commands import clean_environment
from tests.support.history import configure, live
from tests.support.world import AUDIENCE, KEY, TRAIT_KEY, World
from windsor_sync.report import terminal
from windsor_sync.sandbox import Faults
from windsor_sync.state.tables import audit_trail

WORDS = st.lists(st.integers(1, 70), min_size=1, max_size=4)
NUMBERS = st.lists(st.integers(1, 14), min_size=1, max_size=9)


@given(
    words=WORDS,
    numbers=NUMBERS,
    titles=st.lists(st.integers(1, 12), min_size=13, max_size=13),
    width=st.sampled_from([80, 100, 120]),
)
def test_every_column_stands_below_its_header(
    words: list[int], numbers: list[int], titles: list[int], width: int
) -> None:
    kinds = len(words) + len(numbers)
    letters = "abcdefghijklm"[:kinds]
    columns = [letter.upper() * titles[place] for place, letter in enumerate(letters)]
    row = [letter * size for letter, size in zip(letters, [*words, *numbers], strict=True)]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out:
        patch.setattr(terminal, "_width", lambda: width)
        terminal.print_table(columns, [row], numbers=frozenset(columns[len(words) :]))
    _, *lines = out.getvalue().splitlines()
    rule = next(place for place, line in enumerate(lines) if line.startswith("─"))
    head, body = lines[:rule], lines[rule + 1 : -1]
    assert max(map(len, lines)) <= width
    assert len(head) == len(body)
    for above, below in zip(head, body, strict=True):
        assert re.findall(r"[a-m]", "".join(dict.fromkeys(above.replace(" ", "").lower()))) == list(
            dict.fromkeys(below.replace(" ", ""))
        )
        for letter in dict.fromkeys(below.replace(" ", "")):
            is_number = letters.index(letter) >= len(words)
            find = str.rindex if is_number else str.index
            assert find(above.lower(), letter) == find(below, letter)


def test_what_is_not_delivered_stays_apart_and_is_together_not_yet_in_windsor(world: World) -> None:
    configure(world)
    live(world)
    withheld = next(one for one in json.loads(call(world, "runs", "--json").out)["runs"] if one["state"] == "withheld")
    assert withheld["delivered"] + withheld["rejected"] + withheld["withheld"] + withheld["owed"] == withheld["changes"]
    shown = " ".join(call(world, "runs", withheld["run"]).out.split())
    rest = withheld["changes"] - withheld["delivered"]
    assert f"in all {rest:,} changes not yet in Windsor: rejected, withheld and owed together" in shown
    assert (withheld["owed"], re.findall(r"stays? owed", shown + call(world, "audiences").out)) == (0, [])
    (audience,) = [
        one for one in json.loads(call(world, "audiences", "--json").out)["audiences"] if one["trait"] == KEY
    ]
    assert (audience["withheld"], audience["owed"], audience["not_yet_in_windsor"]) == (withheld["withheld"], 0, rest)
    assert "rejected, withheld and owed together are not yet in Windsor" in " ".join(
        call(world, "audiences").out.split()
    )


def moments(value: Any, key: str = "") -> list[str]:
    """Return every time in a document of JSON."""
    if isinstance(value, dict):
        return [each for name, inner in value.items() for each in moments(inner, name)]
    if isinstance(value, list):
        return [each for inner in value for each in moments(inner, key)]
    return [value] if isinstance(value, str) and (key.endswith(("_at", "_since")) or key in ("at", "since")) else []


def test_every_time_in_json_is_iso_8601(world: World) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    found = []
    for command in (["why", "ana"], ["runs"], ["audiences"], ["plan", KEY]):
        found += moments(json.loads(call(world, *command, "--json").out))
    assert len(found) >= 7
    assert all("T" in each and datetime.fromisoformat(each).tzinfo is not None for each in found), found


@pytest.mark.parametrize("command", [["runs"], ["plan", KEY, "--messages", "-"]])
def test_a_reader_that_leaves_ends_a_command_with_0_and_without_a_word(world: World, command: list[str]) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    world.snapshot([f"user {number}" for number in range(3_000)])
    read, write = os.pipe()
    os.close(read)
    line = [sys.executable, "-m", "windsor_sync.cli", "--config", str(world.config), *command]
    with os.fdopen(write, "wb") as nobody:
        ended = subprocess.run(
            line, stdout=nobody, stderr=subprocess.PIPE, env=clean_environment(), text=True, check=False
        )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_failure_keeps_its_status_when_nobody_reads(world: World) -> None:
    world.snapshot(["ana"])
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ana"})))
    read, write = os.pipe()
    os.close(read)
    line = [sys.executable, "-m", "windsor_sync.cli", "--config", str(world.config), "sync", KEY]
    environment = clean_environment() | {"WINDSOR_API_KEY": world.windsor.api_key}
    with os.fdopen(write, "wb") as nobody:
        ended = subprocess.run(line, stdout=nobody, stderr=subprocess.PIPE, env=environment, check=False)
    assert ended.returncode == 4


def test_runs_of_one_audience_are_listed_by_key_or_name(world: World) -> None:
    world.snapshot(["ana"])
    world.values({"ana": 1})
    world.sync()
    world.sync(TRAIT_KEY)
    for word in (KEY, AUDIENCE.upper()):
        listed = json.loads(call(world, "runs", word, "--json").out)["runs"]
        assert {one["audience"] for one in listed} == {KEY}
    assert call(world, "runs", "nobody").status == 2
    world.document["audiences"].append(world.entry("Never Synced", "never"))
    assert "No run has been made" in call(world, "runs", "never_synced").out


def test_the_rows_of_a_run_are_shown_to_who_asks_and_that_they_asked_is_recorded_first(world: World) -> None:
    world.snapshot(["ana", "ben"])
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ben"})))
    (run_id,) = [one.run_id for one in [world.sync()]]
    assert "ben" not in call(world, "runs", run_id).out
    document = json.loads(call(world, "runs", run_id, "--rows", "--json").out)
    assert [
        (row["user"], row["change"], row["value"], row["fate"], row["code"])
        for row in sorted(document["rows"], key=lambda row: str(row["user"]))
    ] == [
        ("ana", "entered", True, "delivered", None),
        ("ben", "entered", True, "rejected", 400),
    ]
    assert "ben" in call(world, "runs", run_id, "--rows").out
    with world.workspace.database.read() as connection:
        trail = connection.execute(select(audit_trail).where(audit_trail.c.what == "show rows")).all()
    assert [(row.subject, row.details["run"]) for row in trail] == [(KEY, run_id)] * 2
    assert all("ben" not in str(row) and row.who for row in trail)
    assert call(world, "runs", "--rows").status == 2
    assert call(world, "forget", "ben").status == 0
    assert re.findall(r"ana|ben|None|\(suppressed\)", call(world, "runs", run_id, "--rows").out) == [
        "(suppressed)",
        "ana",
    ]


def test_a_full_disk_behind_standard_output_stops_no_sync_and_is_said(world: World) -> None:
    world.snapshot(["ana"])
    world.values({"ana": 1})
    line = [sys.executable, "-m", "windsor_sync.cli", "--config", str(world.config), "sync", "--all"]
    key = clean_environment() | {"WINDSOR_API_KEY": world.windsor.api_key}
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, env=key, check=False)
    assert (ran.returncode, world.shown(), world.shown(TRAIT_KEY)) == (1, {"ana": True}, {"ana": 1})
    assert "standard output could not be written (No space left on device)" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_quiet_leaves_errors_and_json_and_verbose_says_more(world: World) -> None:
    world.snapshot(["ana"])
    world.document["schedule"] = {"audiences": "12h"}
    key = {"WINDSOR_API_KEY": world.windsor.api_key}
    arguments = ("--config", str(world.config), "sync", KEY)
    quiet = run(*arguments, "--quiet", **key)
    assert (quiet.status, quiet.out, quiet.err) == (0, "", "")
    assert run("-q", *arguments, "--json", **key).json["runs"][0]["state"] == "done"
    world.snapshot(["ben", "cy"])
    refused = run("--quiet", *arguments, WINDSOR_API_KEY="wrong")
    assert (refused.status, refused.out, "Windsor refused the API key" in refused.err) == (5, "", True)
    world.document["files"] = ""
    named = run("--config", str(world.config), "check", "--offline", "--quiet")
    assert (named.status, named.out, "error: configuration: windsor.yaml:" in named.err) == (2, "", True)
    del world.document["files"]
    _ = world.config
    told = run(*arguments, "-v", **key)
    assert f"{KEY}: 3 of 3 changes answered" in told.err


@pytest.mark.parametrize(
    ("line", "expected"), [("windsor-sync sync ord", KEY), ("windsor-sync why ana --audience to", TRAIT_KEY)]
)
def test_a_shell_completes_the_names_of_audiences(world: World, line: str, expected: str) -> None:
    environment = clean_environment() | {
        "WINDSOR_SYNC_CONFIG": str(world.config),
        "_WINDSOR_SYNC_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
    }
    script = "import sys; sys.argv = ['windsor-sync']; from windsor_sync.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [f"plain,{expected}"]


def test_a_code_is_shown_only_where_it_was_the_answer(world: World) -> None:
    world.snapshot(["ana"])
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ana"})))
    world.sync()
    world.windsor.set_faults(Faults())
    world.sync()
    steps = json.loads(call(world, "why", "ana", "--json").out)["accounts"][0]["steps"]
    assert [(step["fate"], step["code"]) for step in steps] == [("delivered", None), ("rejected", 400)]
