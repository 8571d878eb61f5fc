"""The switch that ends a delivery in order."""

import asyncio
from collections.abc import Callable
from contextlib import suppress


class CancelToken:
    """Asks a delivery for an orderly end, from a signal handler or another thread."""

    def __init__(self) -> None:
        self._is_on = False
        self._act: Callable[[], None] | None = None

    def press(self) -> None:
        """Stop sending; what is in flight may still answer, and is recorded."""
        self._is_on = True
        act = self._act
        if act is not None:
            act()

    @property
    def is_pressed(self) -> bool:
        """Whether an end was asked for."""
        return self._is_on

    def connect(self, loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
        """Let presses reach an engine that runs in `loop`, also one that came before."""

        def act() -> None:
            with suppress(RuntimeError):  # the loop has ended, and the delivery with it
                loop.call_soon_threadsafe(stop)

        self._act = act
        if self._is_on:
            act()
