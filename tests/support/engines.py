"""Engines of a test's own, in a process whose tests share theirs."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from windsor_sync.storage import kept_engines


@contextmanager
def new_engines() -> Iterator[None]:
    """Keep no engine in this block, and use none that was kept before it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept_engines, "_keepers", 0)
        patch.setattr(kept_engines, "_idle", [])
        yield
