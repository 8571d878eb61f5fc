"""Random walks through all that may befall several sites on one file store; after each of them one sync makes all well.

`WINDSOR_WALKS=100-120` walks those; the number of a walk that failed is in the error.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos.processes import IS_CHAOS
from tests.chaos.town import Town
from tests.support.postgres import Postgres
from windsor_sync.sandbox import Sandbox
from windsor_sync.state.suppression_key import VARIABLE

STEPS = 10

IN_ONE_TEST = 10

SHORT = [9, 30]
"""Walks that once found something."""


def walks() -> list[list[int]]:
    """The walks, for each test some."""
    asked = os.environ.get("WINDSOR_WALKS", "0-520" if IS_CHAOS else "")
    first, _, end = asked.partition("-")
    numbers = list(range(int(first), int(end))) if asked else SHORT
    return [numbers[start : start + IN_ONE_TEST] for start in range(0, len(numbers), IN_ONE_TEST)]


@pytest.fixture(scope="module")
def windsors() -> Iterator[list[Sandbox]]:
    with ExitStack() as opened:
        yield [opened.enter_context(Sandbox(api_key="sandbox")) for _ in range(3)]


@pytest.mark.parametrize("numbers", walks(), ids=lambda numbers: f"{numbers[0]}-{numbers[-1]}")
def test_after_any_walk_one_sync_or_the_named_command_makes_all_sites_right(
    windsors: list[Sandbox],
    postgres: Postgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    numbers: list[int],
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # audit finds what other tests leave there
    monkeypatch.setenv(VARIABLE, "5e" * 32)  # two sites of one state in PostgreSQL stand for two machines
    for number in numbers:
        (folder := tmp_path / str(number)).mkdir()
        town = Town(folder, windsors, postgres, number)
        try:
            for _ in range(STEPS):
                town.step()
            town.all_is_well()
        except BaseException as error:
            error.add_note(f"walk {number}: " + "; ".join(town.steps))
            raise
        finally:
            town.close()
