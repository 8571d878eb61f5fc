"""Every class of error, and every exit status, on a path full of made-up private data: nothing of it is said or left on disk.

A new class of error without a path here makes a test fail.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tests.chaos.processes import IS_CHAOS, until
from tests.chaos.test_canary import (
    EMAIL,
    FILES,
    PASSWORD,
    PHONE,
    USER,
    VALUE,
    add,
    assert_silent,
    aviary,
    found_in,
    leaks,
    spoil,
)
from tests.chaos.test_kill_leaves_no_users import KILLED, killed
from tests.cli.test_remedies import run
from tests.support.archive import Archive
from tests.support.world import KEY, World
from tests.usecases.test_held_against_segment import HASTE
from windsor_sync.domain.run import UnbalancedBooksError
from windsor_sync.errors import WindsorSyncError
from windsor_sync.events.intake import UncountedLinesError
from windsor_sync.sandbox import Faults
from windsor_sync.segment.trait_keys import TraitKey
from windsor_sync.settings.mistakes import InvalidSettings
from windsor_sync.sources import segment_api
from windsor_sync.state.stored_files import StoredFiles
from windsor_sync.state.tables import leases

__all__ = ["aviary"]

PRIVATE = f"{USER} {EMAIL} {PHONE} {VALUE} {PASSWORD}"

Way = Callable[[World, pytest.MonkeyPatch], list[str]]
"""Prepares what goes wrong; returns the words of the command that meets it."""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[WindsorSyncError]:
    """Every error of ours that is made, raised or kept."""
    errors: list[WindsorSyncError] = []
    make = WindsorSyncError.__new__

    def noted(kind: type[WindsorSyncError], *args: Any, **options: Any) -> WindsorSyncError:
        errors.append(error := make(kind, *args, **options))
        return error

    monkeypatch.setattr(WindsorSyncError, "__new__", noted)
    return errors


def with_faults(**faults: Any) -> Way:
    def prepare(world: World, _patch: pytest.MonkeyPatch) -> list[str]:
        world.windsor.set_faults(Faults(**faults))
        return ["sync", "--all", "--json"]

    return prepare


def raising(place: str, error: BaseException) -> Way:
    def prepare(_world: World, patch: pytest.MonkeyPatch) -> list[str]:
        def fails(*_args: object, **_options: object) -> None:
            raise error

        patch.setattr(place, fails)
        return ["sync", "--all"]

    return prepare


def unknown_word(_world: World, _patch: pytest.MonkeyPatch) -> list[str]:
    return ["plan", "no-such-audience"]


def wrong_settings(world: World, _patch: pytest.MonkeyPatch) -> list[str]:
    world.destination["api_key"] = PASSWORD
    world.document["state"] = f"mysql://windsor:{PASSWORD}@db/state"
    return ["check"]


def most_have_left(world: World, _patch: pytest.MonkeyPatch) -> list[str]:
    assert run(world, "sync", "--all")[0] == 0
    world.snapshot({USER: EMAIL})
    return ["sync", KEY]


def state_out_of_reach(world: World, _patch: pytest.MonkeyPatch) -> list[str]:
    world.document["state"] = f"postgresql+psycopg://windsor:{PASSWORD}@127.0.0.1:1/state"
    return ["sync", "--all"]


def warehouse_out_of_reach(world: World, patch: pytest.MonkeyPatch) -> list[str]:
    patch.setenv("WINDSOR_CONNECTION_WAREHOUSE", f"postgresql+psycopg://windsor:{PASSWORD}@127.0.0.1:1/db")
    query = f"select user_id from vip where email <> '{EMAIL}'"
    world.document["audiences"] = [{"name": "VIP", "snapshot": {"connection": "warehouse", "query": query}}]
    return ["sync", "--all"]


def segment_out_of_reach(world: World, patch: pytest.MonkeyPatch) -> list[str]:
    patch.setenv("SEGMENT_PUBLIC_API_TOKEN", PASSWORD)
    patch.setattr(segment_api, "ApiRetryPolicy", lambda: HASTE)
    world.document["segment"] = {"url": "http://127.0.0.1:1"}
    return ["sync", KEY]


def damaged(world: World, _patch: pytest.MonkeyPatch) -> list[str]:
    world.windsor.set_faults(Faults(rejected_users=frozenset({USER})))
    assert run(world, "sync", "--all")[0] == 4
    for path in (world.folder / ".windsor" / "files").rglob("*.parquet"):
        spoil(path, path.read_bytes()[:-50])
    world.snapshot({USER: EMAIL})
    return ["sync", "--all"]


def not_what_it_should_be(world: World, _patch: pytest.MonkeyPatch) -> list[str]:
    add(world, "cut", FILES["cut inside a quote"][1].encode())
    return ["sync", "--all"]


def stale(world: World, _patch: pytest.MonkeyPatch) -> list[str]:
    world.document["defaults"] = {"max_age": "1h", "max_age_action": "fail"}
    return ["sync", KEY]


def superseded(world: World, _patch: pytest.MonkeyPatch) -> list[str]:
    newest = world.snapshot({USER: EMAIL})
    assert run(world, "sync", KEY)[0] in (0, 3)
    newest.unlink()
    return ["sync", KEY]


def stopped(world: World, _patch: pytest.MonkeyPatch) -> list[str]:
    world.windsor.set_faults(Faults(latency_ms=(50, 50)))

    def stop() -> None:
        until(lambda: world.sent > 0)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop, daemon=True).start()
    return ["sync", "--all"]


def held_by_another(world: World, _patch: pytest.MonkeyPatch) -> list[str]:
    world._opened.enter_context(world.workspace.hold(TraitKey(KEY), f"another run of {os.getpid()}"))
    return ["sync", KEY]


def lease_lost(_world: World, patch: pytest.MonkeyPatch) -> list[str]:
    put = StoredFiles.put

    def then_stand_still(stored: StoredFiles, *args: Any, **options: Any) -> Any:
        placed = put(stored, *args, **options)
        with stored._database.write() as connection:
            connection.execute(update(leases).values(token=leases.c.token + 1, holder="another run"))
        return placed

    patch.setattr(StoredFiles, "put", then_stand_still)
    return ["sync", KEY]


def as_it_says(kind: type[WindsorSyncError]) -> Way:
    """A defect of ours that has no other way to happen: the error is made where it would be."""
    return lambda world, patch: raising("windsor_sync.usecases.sync.run_audience", kind("The books do not balance."))(
        world, patch
    )


WAYS: dict[str, tuple[int, Way]] = {
    "ConfigError": (2, unknown_word),
    "InvalidSettings": (2, wrong_settings),
    "ChangesWithheld": (3, most_have_left),
    "MessagesRejected": (4, with_faults(rejected_users=frozenset({USER, PHONE}))),
    "CredentialsRefused": (5, with_faults(revoked_after=20)),
    "DestinationUnavailable": (6, with_faults(garbage_rate=1)),
    "StateUnavailable": (6, state_out_of_reach),
    "OutOfResources": (6, raising("windsor_sync.usecases.sync.run_audience", MemoryError(PRIVATE))),
    "SegmentUnavailable": (6, segment_out_of_reach),
    "LeaseHeld": (7, held_by_another),
    "LeaseLost": (7, lease_lost),
    "SnapshotError": (8, not_what_it_should_be),
    "SnapshotStale": (8, stale),
    "SnapshotSuperseded": (8, superseded),
    "SourceUnavailable": (8, warehouse_out_of_reach),
    "StoredFileError": (9, damaged),
    "Interrupted": (130, stopped),
    "UnbalancedBooksError": (1, as_it_says(UnbalancedBooksError)),
    "UncountedLinesError": (1, as_it_says(UncountedLinesError)),
    "WindsorSyncError": (1, as_it_says(WindsorSyncError)),
}


def every_class(kind: type[WindsorSyncError] = WindsorSyncError) -> Iterator[type[WindsorSyncError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__.startswith("windsor_sync."):
            yield from every_class(below)


def test_every_class_of_error_has_a_path_here() -> None:
    assert issubclass(InvalidSettings, WindsorSyncError)
    assert {kind.__name__ for kind in every_class()} == set(WAYS)
    assert {kind.__name__: kind.exit_status for kind in every_class()} == {
        name: status for name, (status, _) in WAYS.items()
    }


@pytest.mark.forms(8)
@pytest.mark.parametrize("name", WAYS)
def test_an_error_says_nothing_about_anybody_and_leaves_nothing(
    aviary: World,
    temporary: Path,
    made: list[WindsorSyncError],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    status, prepare = WAYS[name]
    words = prepare(aviary, monkeypatch)
    with caplog.at_level(logging.DEBUG):
        ended, said = run(aviary, *words)
    monkeypatch.undo()
    assert (ended, name in {type(error).__name__ for error in made}) == (status, True), said
    assert found_in("\n".join([said, caplog.text, *(f"{error} {error.args!r}" for error in made)])) == []
    assert leaks(temporary) == {}
    if name not in ("InvalidSettings", "StateUnavailable", "SourceUnavailable"):
        assert_silent(aviary)


COMMANDS = [
    ["recover", KEY],
    ["backfill", KEY, "--mode", "resync"],
    ["retire", KEY],
    ["retry", "--audience", KEY],
    ["why", USER],
    ["forget", USER],
    ["audit"],
]


@pytest.mark.parametrize("words", COMMANDS if IS_CHAOS else COMMANDS[:1], ids=" ".join)
def test_a_killed_command_and_the_next_one_leave_nothing_about_anybody(
    aviary: World, temporary: Path, words: list[str]
) -> None:
    archive = Archive(aviary)
    archive.write([archive.message("track", USER, properties={"email": EMAIL}), archive.message("identify", PHONE)])
    aviary.windsor.set_faults(Faults(rejected_users=frozenset({USER, PHONE})))
    assert run(aviary, "sync", "--all")[0] == 4
    for wanted in range(1, 20 if IS_CHAOS else 3):
        if killed(aviary, temporary, wanted, *words) != KILLED:
            break
        run(aviary, "runs")
        assert leaks(temporary) == {}
        assert (
            leaks(aviary.folder, "snapshots/", "segment-logs/", ".windsor/files/snapshots/", ".windsor/files/outboxes/")
            == {}
        )
