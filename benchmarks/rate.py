"""500 requests a second for a minute, at a Windsor with 20–100 ms and one 429 or 503 in a hundred; then shared by two.

What counts is when requests leave: the moment is noted as the engine is given its permit to write. When they arrive is
noted too; a busy machine bunches arrivals.
"""

import json
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import httpx

import windsor_sync.usecases.sync
import windsor_sync.usecases.workspace
from benchmarks import delivery_runs
from benchmarks.frame import Goal, Row, Work, load, measure
from benchmarks.server.moody import moody
from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.delivery.shared_rate import Weight
from windsor_sync.delivery.transport import HttpTransport
from windsor_sync.delivery.verdicts import Answer
from windsor_sync.state.runs import run_of
from windsor_sync.usecases.deliver import OutboxDelivery
from windsor_sync.usecases.run_lifecycle import deliver_run

PER_SECOND = 500
ALONE_S = 60
TOGETHER_S = 40
SETTLING_S = 4
"""A task that joins another waits two to three seconds for its share."""
MOODS = (0.02, 0.1, 0.01)
WEIGHTS = {"All": Weight.AUDIENCES, "Events": Weight.EVENTS}


def run(folder: Path, rows: int) -> list[Row]:  # noqa: ARG001  # always the same size: it is a rate
    """Measure."""
    return [*_alone(folder / "alone"), *_shared(folder / "shared")]


def _alone(folder: Path) -> list[Row]:
    runs = _prepared(folder, ["All"], ALONE_S)
    with moody(folder / "arrivals", *MOODS) as url:
        _point_at(folder, url)
        sent = _leave_times(folder, "All", runs["All"], ALONE_S)
    came = json.loads((folder / "arrivals").read_text())
    mean = _between(sent, sent[0], sent[0] + ALONE_S) / ALONE_S / PER_SECOND
    highest = busiest_second(sent)
    noted = f"{busiest_second(came)} arrived in one second, load {load():.0f}"
    what = f"{PER_SECOND}/s for {ALONE_S} s, 1 % 429 and 503"
    return [
        Row("rate", what, "configured, mean", mean, goal=Goal(at_least=0.97), detail=f"{len(sent):,} requests"),
        Row("rate", what, "configured, busiest second", highest / PER_SECOND, goal=Goal(at_most=1), detail=noted),
    ]


def _shared(folder: Path) -> list[Row]:
    """Two processes with weights 1 and 2, looked at while both have their share."""
    runs = _prepared(folder, list(WEIGHTS), TOGETHER_S)
    sent: dict[str, list[float]] = {}

    def send(name: str) -> None:
        sent[name] = _leave_times(folder, name, runs[name], TOGETHER_S)

    with moody(folder / "arrivals", *MOODS) as url:
        _point_at(folder, url)
        threads = [threading.Thread(target=send, args=(name,)) for name in WEIGHTS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    first = max(moments[0] for moments in sent.values()) + SETTLING_S
    last = min(moments[-1] for moments in sent.values()) - 1
    seconds = last - first
    per_second = {name: _between(moments, first, last) / seconds for name, moments in sent.items()}
    together = sum(per_second.values())
    ideal = {name: together * weight / sum(WEIGHTS.values()) for name, weight in WEIGHTS.items()}
    furthest = max(abs(per_second[name] / ideal[name] - 1) for name in WEIGHTS)
    everything = sorted(moment for moments in sent.values() for moment in moments)
    what = f"{PER_SECOND}/s shared by two processes, 1 : 2"
    shares = " and ".join(f"{per_second[name]:.0f}/s" for name in WEIGHTS)
    busiest = busiest_second(everything) / PER_SECOND
    busy = f"{seconds:.0f} s, load {load():.0f}"
    return [
        Row("rate", what, "configured, mean", together / PER_SECOND, goal=Goal(at_least=0.97), detail=busy),
        Row("rate", what, "configured, busiest second", busiest, goal=Goal(at_most=1)),
        Row("rate", what, "their weights, furthest off", 100 * furthest, "%", Goal(at_most=10), detail=shares),
    ]


def busiest_second(moments: Sequence[float]) -> int:
    """The most that any stretch of one second holds, wherever it begins."""
    return max(place + 1 - bisect_right(moments, moment - 1) for place, moment in enumerate(moments))


def _between(moments: Sequence[float], first: float, last: float) -> int:
    return sum(first <= moment < last for moment in moments)


def _prepared(folder: Path, names: Sequence[str], seconds: int) -> dict[str, str]:
    """The run of each audience, with more to send than it can in so many seconds."""
    delivery_runs.write_settings(
        folder, "http://127.0.0.1:9/", requests_per_second=PER_SECOND, members=PER_SECOND * (seconds + 2), names=names
    )
    prepare = [Work("prepare", "benchmarks.delivery_runs:prepare", (str(folder), place)) for place in range(len(names))]
    return {name: measure(work).found["run"] for name, work in zip(names, prepare, strict=True)}


def _point_at(folder: Path, url: str) -> None:
    settings = folder / "windsor.yaml"
    settings.write_text(settings.read_text().replace("http://127.0.0.1:9/", url))


def _leave_times(folder: Path, name: str, run_id: str, seconds: int) -> list[float]:
    place = list(WEIGHTS).index(name)
    measure(Work("send", "benchmarks.rate:send", (str(folder), place, run_id, WEIGHTS[name], seconds)))
    moments: list[float] = json.loads(_notes(folder, place).read_text())
    return moments


def _notes(folder: Path, place: int) -> Path:
    return folder / f"sent-{place}.json"


def send(folder: str, place: int, run_id: str, weight: int, seconds: int) -> None:
    """Deliver for so many seconds, and note when requests left, by the monotonic clock."""
    sent: list[float] = []

    class Noting(HttpTransport):
        """Notes when a request leaves."""

        async def send(self, request: httpx.Request, permit: Callable[[], None]) -> Answer:
            def noted() -> None:
                permit()
                sent.append(time.monotonic())

            return await super().send(request, noted)

    vars(windsor_sync.usecases.workspace)["HttpTransport"] = Noting
    vars(windsor_sync.usecases.sync)["Consignment"] = partial(OutboxDelivery, weight=Weight(weight))
    stop = CancelToken()
    timer = threading.Timer(seconds + 1, stop.press)
    timer.start()
    with delivery_runs.opened(folder, place) as (workspace, computation):
        known = workspace.registry.register(computation)
        run = run_of(workspace.database, run_id)
        assert run is not None
        with workspace.hold(known.key, "benchmark") as lease:
            deliver_run(workspace, computation, run, lease, stop)
    timer.cancel()
    _notes(Path(folder), place).write_text(json.dumps(sent))
