"""`why` answers an analyst: what Windsor was told, by which run, and what is not known any more."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from sqlalchemy import update

from tests.cli.test_tables_and_words import call
from tests.support.world import KEY, TRAIT_KEY, World
from windsor_sync.sandbox import Faults
from windsor_sync.state.tables import runs
from windsor_sync.storage.duckdb_engine import open_stored
from windsor_sync.usecases import why as story
from windsor_sync.usecases.prune import prune

OTHERS = [f"user-{number}" for number in range(200)]
LONG_AGO = datetime.now(UTC) - timedelta(days=100)


def forget_the_past(world: World) -> None:
    """Let a hundred days pass, and prune what is that old."""
    with world.workspace.database.write() as connection:
        connection.execute(update(runs).values(started_at=LONG_AGO, finished_at=LONG_AGO))
    for path in (world.folder / ".windsor" / "files").rglob("*.parquet"):
        os.utime(path, (LONG_AGO.timestamp(), LONG_AGO.timestamp()))
    prune(world.workspace)


def test_what_a_run_told_whose_outbox_is_gone_still_counts_when_the_user_leaves(world: World) -> None:
    world.snapshot(["ana", *OTHERS])
    world.values({"ana": 84.92, "ben": 1})
    world.sync()
    world.sync(TRAIT_KEY)
    for _ in range(2):  # the newest run of each keeps its outbox
        world.snapshot(["ana", *OTHERS[1:]])
        world.values({"ana": 84.92, "ben": 2})
        world.sync()
        world.sync(TRAIT_KEY)
    forget_the_past(world)
    world.snapshot(OTHERS[1:])
    world.values({"ana": 85, "ben": 2})
    world.windsor.set_faults(Faults(revoked_after=0))
    world.sync()
    world.sync(TRAIT_KEY)
    said = call(world, "why", "ana").out
    assert "The user is not in the newest snapshot; Windsor was told true before " in said
    assert "The user is in the newest snapshot; Windsor was told 84.92 before " in said
    assert said.count("Not sent yet. The next sync sends it.") == 2
    assert "never" not in said


def test_where_runs_are_forgotten_nobody_is_said_to_have_been_told_nothing_ever(world: World) -> None:
    for members in (["ana", "ben"], ["ben"], ["ben", "cy"], ["cy"]):
        world.snapshot(members)
        world.sync()
    assert "Windsor was told false" in call(world, "why", "ana").out
    forget_the_past(world)
    said = call(world, "why", "ana").out
    assert f"told nothing about them since {LONG_AGO:%Y-%m-%d %H:%M} UTC, and what older runs told is not kept" in said


def test_before_anything_is_forgotten_never_means_never(world: World) -> None:
    world.snapshot(["ana"])
    world.sync()
    world.sync()
    (account,) = json.loads(call(world, "why", "ben", "--json").out)["accounts"]
    assert (account["kept_since"], account["was_told"]) == (None, False)
    assert account["sentence"] == "The user is not in the newest snapshot; Windsor was never told anything about them."


@pytest.mark.parametrize("asked", ["ana@example.com", "Ana"])
def test_who_is_looked_for_by_something_else_than_their_id_is_told_what_why_asks_for(world: World, asked: str) -> None:
    world.snapshot(["ana"])
    world.sync()
    assert "never for an e-mail" in call(world, "why", asked).out
    assert "never for an e-mail" not in call(world, "why", "ana").out


def test_who_is_not_in_the_audience_that_was_asked_for_may_be_known_all_the_same(world: World) -> None:
    world.snapshot(["ana"])
    world.values({"ben": 1})
    world.sync()
    world.sync(TRAIT_KEY)
    assert "Nobody of this id" not in call(world, "why", "ben", "--audience", KEY).out


def test_a_year_of_runs_is_one_look_each_and_not_one_engine_each(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    @contextmanager
    def counted() -> Iterator[duckdb.DuckDBPyConnection]:
        opened.append(1)
        with open_stored() as connection:
            yield connection

    for number in range(8):
        world.snapshot(["ana", f"user-{number}"])
        world.sync()
    monkeypatch.setattr(story, "open_stored", counted)
    (account,) = story.why(world.workspace, "ana")
    assert ([step.change for step in account.steps], account.audience) == (["entered"], KEY)
    assert len(opened) <= 4
