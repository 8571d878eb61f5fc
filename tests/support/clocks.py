"""How long something takes: for a test that compares two times of one run, never one time with a number."""

import time
from collections.abc import Callable
from typing import Any


def seconds(use: Callable[[Any], object], given: Any, times: int = 1) -> float:
    """Return the processor seconds of the fastest of some uses."""
    taken = []
    for _ in range(times):
        began = time.thread_time()
        use(given)
        taken.append(time.thread_time() - began)
    return min(taken)
