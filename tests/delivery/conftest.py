"""Lines to a real Windsor, and to one that does as it is told."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.delivery.line import HASTY, Line, MemoryJournal, rows_of
from tests.delivery.scripted import Reply, ScriptedWindsor, answer
from tests.support.windsor import StartWindsor
from windsor_sync.delivery.bounds import EngineLimits
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
        is_hook: bool = False,
    ) -> Line:
        windsor = start_windsor(faults=faults, api_key=api_key)
        return Line(windsor, MemoryJournal(rows, shards), limits, is_hook=is_hook)

    return make


@pytest.fixture
def scripted_line() -> Iterator[Callable[..., Line]]:
    """Lines to a Windsor that answers row by row: `fate(row, tries)` gives what is sent back, None a plain yes.

    Of a batch, the first row that does not get a yes is what is answered.
    """
    with ExitStack() as running:

        def make(
            fate: Callable[[int, int], bytes | Reply | None],
            rows: int = 100,
            shards: int = 1,
            limits: EngineLimits = HASTY,
            is_hook: bool = False,
        ) -> Line:
            came: Counter[int] = Counter()

            def script(body: bytes, tries: int) -> bytes | Reply:
                if not is_hook:
                    return fate(rows_of(body)[0], tries) or answer(200)
                fates = [reply for row in rows_of(body) if (reply := fate(row, came[row]))]
                came.update(rows_of(body))  # no two batches are the same bytes
                return fates[0] if fates else answer(200)

            windsor = running.enter_context(ScriptedWindsor(script))
            return Line(windsor, MemoryJournal(rows, shards), limits, is_hook=is_hook)

        yield make
