"""Whatever answers come: no yes without a complete 2xx, no memory, no late stop, no traceback, nothing private."""

import asyncio
import gc
import logging
import os
import random
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.line import HASTY, MemoryJournal, pending_row, rows_of
from tests.http.hostile import Hostile
from windsor_sync.delivery.bounds import Delivery
from windsor_sync.delivery.engine import Engine
from windsor_sync.delivery.protocols.segment_webhook import WebhookWire
from windsor_sync.delivery.rate import Rate
from windsor_sync.delivery.transport import HttpTransport

IS_LONG = os.environ.get("WINDSOR_CHAOS") == "1"
ANSWERS = 12_000 if IS_LONG else 500
ROWS = 150
KEY = "canary-4242"
LIMITS = replace(HASTY, give_up_after_s=2.0, drain_s=0.3, rejections_to_stop=100_000)
TIMEOUT_S = 0.1
MOST_MB = 300
SLACK_S = 3.0
"""Other processes work on this machine too."""


class Story:
    """One delivery to a hostile Windsor, which is stopped in half of the stories."""

    def __init__(self, seed: int) -> None:
        self.windsor = Hostile(seed, rows_of)
        self.journal = MemoryJournal(ROWS, 1)
        self.troubles: list[dict[str, Any]] = []
        """what the event loop had nobody to tell"""
        self.ended_late_s = 0.0
        dice = random.Random(seed)
        self._stop_after_s = dice.choice((None, dice.uniform(0, 0.5)))

    async def deliver(self) -> Delivery:
        """Deliver every row, as often as it takes."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.troubles.append(context))
        async with self.windsor, HttpTransport(connections=LIMITS.max_in_flight, timeout_s=TIMEOUT_S) as transport:
            wire = WebhookWire(self.windsor.url, KEY)
            engine = Engine(wire=wire, transport=transport, rate=Rate(1e6), journal=self.journal, limits=LIMITS)
            stop_at = None
            if self._stop_after_s is not None:
                loop.call_later(self._stop_after_s, engine.stop)
                stop_at = loop.time() + self._stop_after_s
            outcome = await engine.run(self.journal.shards, _rows())
            if stop_at is not None:
                self.ended_late_s = loop.time() - stop_at - LIMITS.drain_s
            return outcome


async def _rows() -> Any:
    for first in range(0, ROWS, 25):
        yield [pending_row(seq) for seq in range(first, first + 25)]


def memory_mb(name: str) -> float:
    """What the kernel says of this process: VmRSS is now, VmHWM the most since it was reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def test_no_answer_makes_a_false_yes_or_takes_memory_or_time_or_tells_anything(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    idle_mb, began = memory_mb("VmRSS"), time.monotonic()
    answers, seed, stops, told = 0, 0, Counter[str](), 0
    shown: list[str] = []
    while answers < ANSWERS:
        story = Story(seed)
        outcome = asyncio.run(story.deliver())
        said_yes = set(story.journal.of(story.journal.is_told))
        assert said_yes <= story.windsor.may_be_told, f"seed {seed}: told without a complete 2xx"
        assert story.troubles == [], f"seed {seed}"
        assert story.ended_late_s < SLACK_S, f"seed {seed}"
        shown += [verdict.message for verdict in story.journal.verdicts.values() if verdict.message]
        shown.append(f"{outcome.stopped_by!r} {outcome.stopped_by}")
        answers, seed, told = answers + story.windsor.answers, seed + 1, told + len(said_yes)
        stops[type(outcome.stopped_by).__name__ if not outcome.was_interrupted else "stopped"] += 1
    text = "\n".join([*shown, caplog.text, *capfd.readouterr()])
    assert not [word for word in ("user-", "@example", "\\u0040", KEY, "Traceback") if word in text]
    most_mb = memory_mb("VmHWM") - idle_mb
    assert most_mb < MOST_MB
    assert told > answers / 20
    if IS_LONG:
        with capfd.disabled():
            seconds = time.monotonic() - began
            print(f"{answers} answers, {seed} deliveries {dict(stops)}, {told} yes, {most_mb:.0f} MB, {seconds:.0f} s")
