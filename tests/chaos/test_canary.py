"""Made-up private data goes down every path on which something fails, and is found nowhere but where it belongs."""

import base64
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.processes import ROOT, Command, Ended, until
from tests.support.windsor import StartWindsor
from tests.support.world import World
from windsor_sync.sandbox import Faults

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

Aviary = World


@pytest.fixture
def aviary(tmp_path: Path, start_windsor: StartWindsor) -> Iterator[World]:
    """A world with a user for every kind of private data; its Windsor gives them away in every refusal."""
    folder = tmp_path / "aviary"
    folder.mkdir()
    world = World(folder, start_windsor(api_key=API_KEY), give_up_after_s=0.5, timeout_s=2)
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
    state = world.folder / ".windsor" / "state.db"
    assert not state.exists() or found_in(dump(state)) == []


def test_the_canaries_are_where_they_belong_so_that_looking_for_them_means_something(aviary: World) -> None:
    assert run(aviary, "sync", "--all").status == 0
    assert set(leaks(aviary.folder)) >= {"snapshots/audience/20260101T0230.csv", "snapshots/trait/20260101T0500.csv"}
    user = aviary.windsor.store.user(USER)
    assert user is not None
    assert user.properties["email"] == EMAIL
    assert_silent(aviary)


LOOKS = [["check"], ["audiences"], ["audiences", "--json"], ["plan", "--all"], ["plan", "--all", "--json"], ["runs"]]


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


@pytest.mark.parametrize(("faults", "status"), FAULTS.values(), ids=FAULTS)
def test_a_sync_that_windsor_does_not_take_tells_nothing_about_anybody(
    aviary: World, faults: Faults, status: int
) -> None:
    aviary.windsor.set_faults(faults)
    assert run(aviary, "sync", "--all", "--json").status == status
    newest = json.loads(run(aviary, "runs", "--json").output)["runs"][0]["run"]
    assert run(aviary, "runs", newest, "--json").status == 0
    assert run(aviary, "runs", newest).status == 0
    assert_silent(aviary)
