"""What is known of merges is kept in two files, and reads the same however it came to be."""

import os
import time
from random import Random

import pytest

from tests.support.people import People
from tests.support.world import World
from windsor_sync.domain.identity import Alias, survivors
from windsor_sync.persons import merges
from windsor_sync.persons.merges import Merges
from windsor_sync.state.audiences import Registry


@pytest.mark.parametrize("least", [2, 1_000])
def test_many_small_changes_are_known_as_one_large_one(
    world: World, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr(merges, "LEAST_RECENT", least)  # with 2, both files become one again and again
    draw = Random(7)
    aliases = [Alias(str(draw.randrange(30)), str(draw.randrange(30))) for _ in range(40)]
    people = People(world)
    known = people.world.workspace.merges
    for start in range(0, len(aliases), 4):
        known.record([aliases[start : start + 4]])
    expected = survivors(aliases, {})
    assert {one.id: one.survivor for one in known.kin(expected)} == expected
    assert bool(known.known().base) == (least == 2)
    assert known.record([aliases[-1:]]) == 0


def test_one_of_two_processes_that_record_at_once_repeats_its_change(world: World) -> None:
    known = People(world).world.workspace.merges
    extended = known._extended

    def and_meanwhile_another(*given: object) -> object:
        known._extended = extended  # type: ignore[method-assign]
        known.record([[Alias("x", "y")]])
        return extended(*given)  # type: ignore[arg-type]

    known._extended = and_meanwhile_another  # type: ignore[assignment, method-assign]
    known.record([[Alias("a", "b")]])
    assert {one.id: one.survivor for one in known.kin(["a", "x"])} == {"a": "b", "b": "b", "x": "y", "y": "y"}


def test_what_another_destination_of_the_state_knows_is_never_removed_as_superseded(world: World) -> None:
    people = People(world)
    here = people.world.workspace
    here.merges.record([[Alias("a", "b")]])
    there = Merges(here.database, here.files, here.stored, Registry(here.database, "elsewhere"))
    then = time.time() - 2 * merges.SUPERSEDED_FOR.total_seconds()
    for number in range(3):
        there.record([[Alias(f"x{number}", "y")]])
        for file in (world.folder / ".windsor" / "files").rglob("merges*/**/*.parquet"):
            os.utime(file, (then, then))
    assert [one.id for one in here.merges.kin(["a"])] == ["a", "b"]
    assert len(there.kin(["y"])) == 4
    files = list((world.folder / ".windsor" / "files").rglob("merges*/**/*.parquet"))
    assert len(files) == 2  # one of each destination
