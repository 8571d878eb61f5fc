"""What commands print is readable: tables fit 100 columns, numbers have units, states and codes say what to do."""

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from sqlalchemy import update

from tests.chaos.processes import until, windsor_sync
from tests.support.commands import Python
from tests.support.history import HOSTILE_KEY, REJECTED, USERS, configure, live
from tests.support.world import AUDIENCE, KEY, TRAIT_KEY, World
from windsor_sync.cli import main, output
from windsor_sync.cli.output import ProgressView
from windsor_sync.domain.labels import STATES
from windsor_sync.domain.run import RunState
from windsor_sync.report.terminal import print_table
from windsor_sync.sandbox import Faults
from windsor_sync.state.tables import runs, snapshots

LONG_KEY = "an_audience_that_somebody_named_with_care_and_sixty_four_letters"
LONG_NAME = "An Audience That Somebody Named With Care And With Even More Words Than Its Key Has"
LONG_ID = "u" * 64
LARGE = 1_234_567_890


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command printed and how it ended."""

    status: int
    out: str


def call(world: World, *arguments: str) -> Ran:
    """Run windsor-sync in this process, as if its output went into a pipe."""
    status = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()):
        patch.setenv("WINDSOR_API_KEY", world.windsor.api_key)
        try:
            main(["--config", str(world.config), *arguments])
        except SystemExit as end:
            status = int(end.code or 0)
    return Ran(status, out.getvalue())


def table_of(printed: str) -> list[str]:
    """The lines of the first table: from before its rule to the blank line after it."""
    _, _, rest = printed.partition("\n")
    return rest.split("\n\n")[0].splitlines()


@pytest.fixture
def large(world: World) -> World:
    """Long names, ids of 64 characters, and a run with numbers of ten digits everywhere."""
    assert len(LONG_KEY) == 64
    world.document["audiences"].append(world.entry(LONG_NAME, "long", trait=LONG_KEY))
    world.snapshot([LONG_ID], folder="long")
    world.sync(LONG_KEY)
    with world.workspace.database.write() as connection:
        numbers = ("entered", "exited", "updated", "delivered", "rejected", "withheld", "owed", "members_before")
        connection.execute(update(runs).values(**dict.fromkeys(numbers, LARGE)))
        connection.execute(update(snapshots).values(members=LARGE, rows_read=LARGE))
    return world


@pytest.mark.parametrize("command", [("audiences",), ("runs",)])
def test_tables_of_long_names_and_large_numbers_fit_and_cut_nothing(large: World, command: tuple[str, ...]) -> None:
    shown = call(large, *command).out
    assert max(map(len, table_of(shown))) <= 100
    assert LONG_KEY in shown
    assert f"{LARGE:,}" in shown


@pytest.mark.parametrize("command", [("plan", "--all"), ("sync", "--all"), ("backfill", LONG_KEY, "--dry-run")])
def test_what_plan_and_sync_print_fits_and_cuts_nothing(large: World, command: tuple[str, ...]) -> None:
    large.snapshot(["ana"])
    large.values({LONG_ID: 1})
    shown = call(large, *command).out
    assert max(map(len, table_of(shown))) <= 100
    assert LONG_KEY in shown.split()


def test_the_id_of_a_run_can_be_copied_and_shows_the_run_in_full(large: World) -> None:
    run_id = json.loads(call(large, "runs", "--json").out)["runs"][0]["run"]
    assert run_id in call(large, "runs").out.split()
    shown = call(large, "runs", run_id).out
    assert max(map(len, shown.splitlines())) <= 100
    assert f"{LARGE:,} users" in shown
    assert LONG_NAME in " ".join(shown.split())


@given(
    names=st.lists(st.text(st.sampled_from("abc_ é漢"), min_size=1, max_size=70), min_size=1, max_size=3),
    rows=st.integers(0, 3),
    numbers=st.lists(st.integers(0, 10**10), min_size=1, max_size=6),
)
def test_no_table_is_wider_than_its_line_and_no_number_is_torn(names: list[str], rows: int, numbers: list[int]) -> None:
    columns = [*(f"name {place}" for place in range(len(names))), *(f"n{place}" for place in range(len(numbers)))]
    with redirect_stdout(StringIO()) as out:
        print_table(columns, [[*names, *numbers]] * rows, numbers=frozenset(columns[len(names) :]))
    printed = out.getvalue().splitlines()
    assert all(cell_len(line) <= 100 for line in printed)
    words = [word for line in printed for word in line.split()]
    assert all(words.count(f"{number:,}") >= rows for number in numbers)
    assert bool(printed) == bool(rows)


def test_a_name_in_wide_characters_fits_its_line_and_loses_none(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "n"), [["漢" * 70, 1]], numbers=frozenset({"n"}))
    printed = capsys.readouterr().out
    assert max(map(cell_len, printed.splitlines())) == 100
    assert printed.count("漢") == 70


def test_a_plan_or_sync_of_nothing_usable_prints_no_empty_table(world: World) -> None:
    assert call(world, "plan", KEY).out == "Nothing was sent.\n"
    assert call(world, "sync", KEY).out == ""


def test_without_any_audience_the_list_says_what_to_do(world: World) -> None:
    world.document["audiences"], world.document["computed_traits"] = [], []
    assert "add one to windsor.yaml" in call(world, "audiences").out


def test_states_are_words_and_what_needs_a_person_says_what_to_do(world: World) -> None:
    configure(world)
    live(world)
    listed = call(world, "audiences").out
    assert "waits for approval" in listed
    assert re.search(rf"{KEY}: \d+ of \d+ members exited", listed)
    assert "windsor-sync approve" in listed
    assert "done, some rejected" in call(world, "runs").out
    in_plan = call(world, "plan", KEY).out
    assert f"in {KEY}; a sync keeps these back until a person approves them" in in_plan


def test_a_run_in_full_has_a_unit_for_every_number_and_words_for_every_code(world: World) -> None:
    configure(world)
    live(world)
    every: dict[str, Any] = {
        one["run"].partition("-")[0]: one["run"] for one in json.loads(call(world, "runs", "--json").out)["runs"]
    }
    rejected = call(world, "runs", every[HOSTILE_KEY]).out
    assert "190 users" in rejected
    assert "189 changes: Windsor acknowledged them" in rejected
    assert "1 change with 400" in rejected
    events = " ".join(call(world, "runs", every["events"]).out.split())
    assert "1 × no_user_anon_id: names no user" in events
    assert "6 messages: acknowledged by Windsor" in events
    assert not any(mark in rejected + events for mark in "{}[]")


def test_why_says_what_follows_from_the_newest_step(world: World) -> None:
    configure(world)
    live(world)
    assert "it again" not in (delivered := call(world, "why", USERS[100], "--audience", HOSTILE_KEY).out)
    assert "(400" not in delivered
    withheld = call(world, "why", USERS[100], "--audience", KEY).out
    assert withheld.count("what a person may do: windsor-sync runs") == 1
    rejected = call(world, "why", REJECTED, "--audience", HOSTILE_KEY).out
    assert "rejected (400: " in rejected
    assert "at once: windsor-sync retry" in rejected
    suppressed = call(world, "forget", USERS[100]).status
    assert suppressed == 0
    assert "The user is suppressed" in call(world, "why", USERS[100]).out


def test_why_asks_for_nothing_once_a_later_run_had_nothing_to_say_of_the_user(world: World) -> None:
    world.snapshot(USERS)
    world.sync()
    world.snapshot(USERS[:20])
    world.sync()
    assert "what a person may do" in call(world, "why", USERS[100]).out
    world.snapshot(USERS)
    world.sync()
    healed = call(world, "why", USERS[100]).out
    assert "withheld" in healed
    assert "what a person may do" not in healed


def test_a_run_that_has_not_ended_shows_what_is_owed_as_it_stands(world: World) -> None:
    world.snapshot(USERS)
    world.windsor.set_faults(Faults(latency_ms=(60_000, 60_000)))
    with windsor_sync(world, "sync", KEY) as command:
        until(lambda: world.sent > 0)
        command.kill()
    (listed,) = [one for one in json.loads(call(world, "audiences", "--json").out)["audiences"] if one["trait"] == KEY]
    (run,) = json.loads(call(world, "runs", "--json").out)["runs"]
    assert (listed["state"], listed["owed"], run["owed"], run["delivered"]) == ("open", len(USERS), len(USERS), 0)
    assert "not ended yet" in call(world, "audiences").out
    assert f"{len(USERS)} changes: the next run sends them" in call(world, "runs", run["run"]).out


def test_a_run_that_has_not_ended_is_listed_also_where_its_files_are_out_of_reach(world: World) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    with world.workspace.database.write() as connection:
        connection.execute(update(runs).values(state="open", finished_at=None, delivered=0))
    for outbox in (world.folder / ".windsor" / "files" / "outboxes").rglob("*.parquet"):
        outbox.unlink()
    (run,) = json.loads(call(world, "runs", "--json").out)["runs"]
    assert (run["delivered"], run["owed"]) == (2, 0)


def test_audit_calls_a_run_that_is_going_on_no_irregularity_and_one_that_died_one(world: World) -> None:
    world.snapshot(USERS)
    world.windsor.set_faults(Faults(latency_ms=(60_000, 60_000)))
    with windsor_sync(world, "sync", KEY) as command:
        until(lambda: world.sent > 0)
        for arguments in (["audit"], ["audit", "--repair"]):
            going = call(world, *arguments)
            assert (going.status, going.out.startswith(f"going: {KEY}: Run ")) == (0, True)
            assert going.out.endswith("Everything is as it should be.\n")
        assert json.loads(call(world, "audit", "--json").out)["irregularities"][0]["is_going"]
        command.kill()
    dead = call(world, "audit")
    assert (dead.status, "--repair closes its books" in dead.out) == (1, True)
    assert (call(world, "audit", "--repair").status, call(world, "audit").status) == (0, 0)


def test_every_state_of_a_run_has_its_words() -> None:
    assert set(STATES) == set(RunState)


def test_a_computed_trait_is_called_one(world: World) -> None:
    assert "computed trait" in call(world, "audiences").out


def test_forgetting_counts_one_as_one(world: World) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    assert "Removed from 1 snapshot and 1 outbox." in call(world, "forget", "ana").out


def test_ctrl_c_says_what_is_owed_what_was_not_begun_and_how_to_go_on(world: World) -> None:
    world.snapshot([f"user-{number}" for number in range(1_500)])
    world.values({"ana": 1})
    world.windsor.set_faults(Faults(latency_ms=(20, 40)))
    with windsor_sync(world, "sync", "--all") as command:
        until(lambda: world.sent >= 100)
        command.send(signal.SIGINT)
        ended = command.end()
    assert ended.status == 130
    assert "Stopping: waiting for answers that are under way. What is not sent stays owed." in ended.errors
    assert f"of 1,500 changes of {AUDIENCE} are delivered and recorded" in ended.errors
    assert "stay owed and the next run sends them. Run it again to go on." in ended.errors
    assert f"{TRAIT_KEY} was not begun" in ended.errors
    assert "Nothing was sent about it, and what it owes stays owed." in ended.errors


def test_on_a_pipe_progress_is_a_log_line_without_control_characters(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "LOG_EVERY_S", 0.0)
    world.snapshot(["ana", "ben"])
    world.sync(on_progress=ProgressView(None))
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == f"{KEY}: 2 of 2 changes answered"
    assert "\x1b" not in "".join(said)


def on_a_terminal(world: World, key: str = KEY, is_time_to_stop: Callable[[], bool] = lambda: False) -> tuple[int, str]:
    """A sync whose standard error is a terminal of 100 columns: its exit status, and all that it wrote there."""
    terminal, end = pty.openpty()
    environment = os.environ | {"WINDSOR_API_KEY": world.windsor.api_key, "TERM": "xterm", "COLUMNS": "100"}
    command = ["-m", "windsor_sync.cli", "--config", str(world.config), "sync", key]
    process = Python(*command, stdout=subprocess.DEVNULL, stderr=end, env=environment)
    os.close(end)
    shown, was_asked = b"", False
    try:
        while piece := os.read(terminal, 65_536):
            shown += piece
            if not was_asked and is_time_to_stop():
                process.send_signal(signal.SIGINT)
                was_asked = True
    except OSError:
        pass  # how a terminal says that nobody writes to it any more
    os.close(terminal)
    return process.wait(), shown.decode()


@pytest.mark.parametrize("key", [KEY, LONG_KEY])
def test_on_a_terminal_progress_has_its_unit_a_rate_and_the_time_left_whatever_the_name(world: World, key: str) -> None:
    world.document["audiences"].append(world.entry(LONG_NAME, "long", trait=LONG_KEY))
    world.snapshot([f"user-{number}" for number in range(300)], folder="audience" if key == KEY else "long")
    status, text = on_a_terminal(world, key)
    assert status == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert re.search(r"300 of 300 changes [\d,]+ changes/s \S+ left", plain), plain


def test_on_a_terminal_a_sentence_gets_a_line_of_its_own_and_not_the_rest_of_the_bars(world: World) -> None:
    world.snapshot([f"user-{number}" for number in range(3_000)])
    world.windsor.set_faults(Faults(latency_ms=(40, 40)))
    status, text = on_a_terminal(world, is_time_to_stop=lambda: world.sent >= 100)
    assert status == 130
    for sentence in ("Stopping: waiting for answers", f"windsor-sync: {KEY}: Stopped on request."):
        before, found, after = text.partition(sentence)
        assert found
        assert before.endswith(("\r\x1b[2K", "\n"))
        assert len(after.splitlines()[0]) > 100  # whole, for whoever copies a command out of it
