"""Lines to a real Windsor, and to one that does as it is told."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.delivery.line import HASTY, Line, MemoryJournal, row_of
from tests.delivery.scripted import Reply, ScriptedWindsor, answer
from tests.support.windsor import StartWindsor
from windsor_sync.delivery.engine import EngineLimits
from windsor_sync.sandbox import Faults


@pytest.fixture
def line(start_windsor: StartWindsor) -> Callable[..., Line]:
    """Lines as a test wants them."""

    def make(
        rows: int = 100,
        shards: int = 1,
        limits: EngineLimits = HASTY,
        faults: Faults | None = None,
        api_key: str = "sandbox",
    ) -> Line:
        return Line(start_windsor(faults=faults, api_key=api_key), MemoryJournal(rows, shards), limits)

    return make


@pytest.fixture
def scripted_line() -> Iterator[Callable[..., Line]]:
    """Lines to a Windsor that answers row by row: `fate(row, tries)` gives what is sent back, None a plain yes."""
    with ExitStack() as running:

        def make(
            fate: Callable[[int, int], bytes | Reply | None],
            rows: int = 100,
            shards: int = 1,
            limits: EngineLimits = HASTY,
        ) -> Line:
            windsor = ScriptedWindsor(lambda body, tries: fate(row_of(body), tries) or answer(200))
            return Line(running.enter_context(windsor), MemoryJournal(rows, shards), limits)

        yield make
