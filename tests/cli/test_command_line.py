"""The command line: help at once, exit status and sentence for every ending, JSON that programs can read."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import commands
from tests.support.world import KEY, TRAIT_KEY, World
from windsor_sync.cli import COMMANDS
from windsor_sync.sandbox import Faults

Cli = Callable[..., "Ran"]
HEAVY = ("airflow", "duckdb", "pandas", "sqlalchemy", "aiohttp", "httpx", "pydantic", "rich.table")


class Ran:
    """What a command printed and how it ended."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def start(*arguments: str) -> Ran:
    """Run windsor-sync in a fresh interpreter, as a person does; `run` is twenty times as fast."""
    command = [sys.executable, "-m", "windsor_sync.cli", *arguments]
    environment = commands.clean_environment()
    return Ran(subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment))


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> Ran:
    """Run windsor-sync in a process of its own."""
    return Ran(
        commands.run("-m", "windsor_sync.cli", *arguments, cwd=cwd, env=commands.clean_environment() | environment)
    )


@pytest.fixture
def cli(world: World) -> Cli:
    """The command line on a world, with its key."""

    def call(*arguments: str, key: str = world.windsor.api_key) -> Ran:
        return run("--config", str(world.config), *arguments, WINDSOR_API_KEY=key)

    return call


def test_help_imports_nothing_heavy() -> None:
    script = f"""
import sys
from windsor_sync.cli import cli
try:
    cli.main(["--help"])
except SystemExit:
    pass
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", ["audiences", "runs", "why ana", f"sync {KEY}"])
def test_a_command_that_has_nothing_to_send_imports_what_it_uses(world: World, cli: Cli, command: str) -> None:
    world.snapshot(["ana"])
    assert cli("sync", KEY).status == 0
    unused = ("aiohttp", "alembic", "httpx", "numpy", "pandas")
    script = f"""
import sys
from windsor_sync.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    print(end.code, [name for name in {unused!r} if name in sys.modules])
"""
    command_line = [sys.executable, "-c", script, "--config", str(world.config), *command.split()]
    environment = commands.clean_environment() | {"WINDSOR_API_KEY": world.windsor.api_key}
    printed = subprocess.run(command_line, env=environment, capture_output=True, text=True).stdout
    assert printed.splitlines()[-1] == "0 []"


@pytest.mark.parametrize("command", [*COMMANDS, "state upgrade", "state prune", "state copy", "state reopen"])
def test_every_command_has_help_with_an_example_and_no_line_is_too_long(command: str) -> None:
    shown = start(*command.split(), "--help")
    assert shown.status == 0
    assert "Example:" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 100


@pytest.mark.parametrize("arguments", ["synk", "check", "plan --all", "runs --json", "audit"])
def test_a_forked_command_ends_and_prints_as_a_fresh_one_does(world: World, arguments: str) -> None:
    world.snapshot(["ana"])
    words = ("--config", str(world.config), *arguments.split())
    forked, fresh = run(*words), start(*words)
    assert (forked.status, forked.out, forked.err) == (fresh.status, fresh.out, fresh.err)


MISUSES = {
    "a file in a folder that is not there": (
        "plan --all --messages no/such/folder/m.jsonl",
        "No such file or directory",
    ),
    "a full disk": ("plan --all --messages /dev/full", "No space left on device"),
    "no runs at all": ("runs --limit 0", "0 is not in the range x>=1"),
    "a port that no machine has": ("sandbox --port 65536", "65536 is not in the range 0<=x<=65535"),
}


@pytest.mark.parametrize(("arguments", "words"), MISUSES.values(), ids=MISUSES)
def test_what_cannot_be_done_is_a_sentence_and_no_traceback(world: World, cli: Cli, arguments: str, words: str) -> None:
    world.snapshot(["ana"])
    world.values({"ana": 1})
    ran = cli(*arguments.split())
    assert (ran.status, words in ran.err, "Traceback" in ran.err) == (2, True, False)


def test_a_reader_who_has_seen_enough_of_the_messages_causes_no_complaint(world: World) -> None:
    world.snapshot([f"user-{number}" for number in range(2_000)])
    command = ["-m", "windsor_sync.cli", "--config", str(world.config), "plan", KEY, "--messages", "-"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with commands.Python(*command, env=commands.clean_environment(), **pipes) as plan:
        assert plan.stdout is not None
        assert plan.stderr is not None
        assert json.loads(plan.stdout.readline())["type"] == "identify"
        plan.stdout.close()
        assert plan.stderr.read() == b""


def test_a_mistyped_command_is_suggested_the_right_one() -> None:
    ran = run("synk")
    assert (ran.status, "Did you mean 'sync'?" in ran.err) == (2, True)


def test_init_check_plan_sync_runs_in_a_row(world: World, cli: Cli, tmp_path: Path) -> None:
    assert run("init", cwd=tmp_path).status == 0
    assert run("init", cwd=tmp_path).status == 2  # never overwritten
    world.snapshot(["ana", "ben"])
    world.values({"ana": 1})
    checked = cli("check", "--json")
    assert (checked.status, {finding["level"] for finding in checked.json}) == (0, {"ok"})
    assert [plan["messages"] for plan in cli("plan", "--all", "--json").json["plans"]] == [2, 1]
    synced = cli("sync", "--all", "--json")
    assert (synced.status, [one["delivered"] for one in synced.json["runs"]]) == (0, [2, 1])
    listed = cli("runs", "--json").json["runs"]
    assert {(one["audience"], one["state"]) for one in listed} == {(KEY, "done"), (TRAIT_KEY, "done")}
    assert cli("runs", listed[0]["run"], "--json").json["runs"][0]["rejections"] == []
    assert [one["members"] for one in cli("audiences", "--json").json["audiences"]] == [2, 1]
    assert "The user is in the newest snapshot; Windsor was told true." in cli("why", "ana").out
    assert cli("audit").out == "Everything is as it should be.\n"


def test_tables_fit_100_columns(world: World, cli: Cli) -> None:
    world.snapshot(["ana"])
    world.values({"ana": 1})
    for command in (("plan", "--all"), ("sync", "--all"), ("runs",), ("audiences",)):
        shown = cli(*command)
        assert shown.status == 0
        tables = [line for line in shown.out.splitlines() if "{" not in line]
        assert max(map(len, tables)) <= 100


@pytest.mark.parametrize(
    ("faults", "status", "words"),
    [
        ({"rejected_users": ["ana"]}, 4, "Windsor rejected 1 of 2 changes"),
        ({"revoked_after": 0}, 5, "Windsor refused the API key"),
        ({"outage": "unavailable"}, 6, "2 stay owed"),
    ],
)
def test_the_exit_status_says_how_it_ended(
    world: World, cli: Cli, faults: dict[str, Any], status: int, words: str
) -> None:
    world.destination["give_up_after_s"] = 0.3
    world.windsor.set_faults(Faults.parse(faults))
    world.snapshot(["ana", "ben"])
    ran = cli("sync", KEY)
    assert ran.status == status
    assert words in ran.err


def test_withheld_changes_end_in_3_and_an_approval_releases_them(world: World, cli: Cli) -> None:
    crowd = [f"user-{number}" for number in range(150)]
    world.snapshot(crowd)
    assert cli("sync", KEY).status == 0
    world.snapshot(crowd[:10])
    ran = cli("sync", KEY, "--json")
    assert ran.status == 3
    run_id = ran.json["runs"][0]["run"]
    assert f"windsor-sync approve {run_id} --max-exited 140" in ran.err
    assert cli("approve", run_id, "--max-exited", "140", "--reason", "sale ended").status == 0
    assert cli("sync", KEY).status == 0
    assert world.members_shown() == set(crowd[:10])


def test_an_unusable_snapshot_ends_in_8_with_file_and_remedy_and_sends_nothing(world: World, cli: Cli) -> None:
    path = world.snapshot(["ana"])
    path.write_bytes(b"\x00\x01\x02 not a table \x00")
    ran = cli("sync", KEY)
    assert (ran.status, world.sent) == (8, 0)
    assert path.name in ran.err
    assert "Nothing was sent" in ran.err


def test_a_missing_key_and_a_broken_configuration_end_in_2(world: World, cli: Cli, tmp_path: Path) -> None:
    world.snapshot(["ana"])
    ran = cli("sync", KEY, key="")
    assert (ran.status, "WINDSOR_API_KEY" in ran.err) == (2, True)
    broken = tmp_path / "broken.yaml"
    broken.write_text("destination: {wire: webhok}\naudiences: 7\n")
    checked, planned = (run("--config", str(broken), *words) for words in (("check",), ("plan", "--all")))
    assert (checked.status, planned.status) == (2, 2)
    for said in (checked.out, planned.err):
        assert "broken.yaml:1" in said
        assert "broken.yaml:2" in said


def test_the_worst_ending_of_several_audiences_counts_and_the_others_still_run(world: World, cli: Cli) -> None:
    broken = world.snapshot(["ana"])
    broken.write_text("")
    world.values({"ana": 1})
    assert cli("sync", "--all").status == 8
    assert world.shown(TRAIT_KEY) == {"ana": 1}


def test_naming_no_audience_is_a_usage_error_that_says_what_to_do(cli: Cli) -> None:
    ran = cli("sync")
    assert (ran.status, "--all" in ran.err) == (2, True)


def test_backfill_retry_retire_and_forget_work_by_hand(world: World, cli: Cli) -> None:
    world.snapshot(["ana", "ben"])
    cli("sync", KEY)
    dry = cli("backfill", KEY, "--mode", "resync", "--dry-run", "--json")
    assert (dry.json["plans"][0]["messages"], world.sent) == (2, 2)
    assert cli("backfill", KEY, "--mode", "resync", "--reason", "test").status == 0
    assert world.sent == 4
    assert cli("retry", "--audience", KEY).status == 0
    forgotten = {"newly_suppressed": True, "ids": ["ana"], "snapshots": 1, "outboxes": 2}
    assert cli("forget", "ana", "--json").json == forgotten
    assert cli("retire", KEY).status == 0
    assert world.shown() == {"ana": True, "ben": False}
