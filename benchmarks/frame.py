"""Measures work in processes of their own: seconds, memory, and how that compares with something else."""

import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

LOOKS_A_SECOND = 20
WORSE = 1.2


@dataclass(frozen=True, slots=True)
class Work:
    """A function of the benchmarks with its arguments (JSON); it is called in a process of its own."""

    name: str
    function: str
    """`module:function`; what it returns, if anything, is a dictionary"""
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """What one call came to."""

    seconds: float
    """of the call, without the start of Python and imports at the top of the module"""
    processor_s: float
    """of the call and of the processes that it started and waited for"""
    peak_mb: float
    """resident memory of the process and all its children together"""
    found: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure has to be."""

    at_most: float | None = None
    at_least: float | None = None

    def is_met(self, figure: float) -> bool:
        """Whether it is."""
        return (self.at_most is None or figure <= self.at_most) and (self.at_least is None or figure >= self.at_least)

    def __str__(self) -> str:
        return f"≤ {self.at_most:g}" if self.at_most is not None else f"≥ {self.at_least:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    benchmark: str
    work: str
    against: str
    figure: float
    unit: str = "×"
    goal: Goal | None = None
    detail: str = ""

    @property
    def name(self) -> str:
        """Return what is measured, and what it is compared with."""
        return f"{self.benchmark}: {self.work} / {self.against}"

    @property
    def is_ratio(self) -> bool:
        """Whether the figure is a ratio, which can be compared between machines."""
        return self.unit == "×"

    def is_worse_than(self, stored: float) -> bool:
        """Whether the figure is worse than `stored` by more than the noise of a busy machine."""
        more_is_better = "faster" in self.work or (self.goal is not None and self.goal.at_least is not None)
        return self.figure * WORSE < stored if more_is_better else self.figure > stored * WORSE

    def as_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "benchmark": self.benchmark,
            "work": self.work,
            "against": self.against,
            "figure": round(self.figure, 3),
            "unit": self.unit,
            "goal": str(self.goal) if self.goal else None,
            "is_met": self.goal.is_met(self.figure) if self.goal else None,
            "detail": self.detail,
        }


def measure(work: Work) -> Measured:
    """Do it once. Raises RuntimeError with the end of what it printed when it fails."""
    order = json.dumps([work.function, work.arguments])
    command = [sys.executable, "-m", "benchmarks.frame", order]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        seen_mb = 0.0
        while process.poll() is None:
            seen_mb = max(seen_mb, sum(map(resident_mb, _tree(process.pid))))
            time.sleep(1 / LOOKS_A_SECOND)
        assert process.stdout is not None
        assert process.stderr is not None
        if process.returncode:
            raise RuntimeError(f"{work.name} failed: {process.stderr.read()[-2000:]}")
        answer = json.loads(process.stdout.read().splitlines()[-1])
    return Measured(answer["seconds"], answer["processor_s"], max(seen_mb, answer["peak_mb"]), answer["found"])


def compare(
    ours: Work, other: Work, repeats: int = 3, before: Callable[[], None] = lambda: None
) -> tuple[float, Measured, Measured]:
    """Return the median ratio of processor seconds, ours to the other's, in turns; and the two runs nearest to it.

    `before` is called before each of ours and not measured.
    """
    pairs = []
    for _ in range(repeats):
        before()
        pairs.append((measure(ours), measure(other)))
    ratios = sorted((mine.processor_s / its.processor_s, place) for place, (mine, its) in enumerate(pairs))
    mine, its = pairs[ratios[(repeats - 1) // 2][1]]
    peak_mb = max(each.peak_mb for each, _ in pairs)
    return statistics.median(ratio for ratio, _ in ratios), replace(mine, peak_mb=peak_mb), its


def regressions(rows: Sequence[Row], stored: Mapping[str, float]) -> list[str]:
    """Name every ratio that is more than a fifth worse than the stored one of the same work."""
    return [
        f"{row.name}: {row.figure:.2f}, and {stored[row.name]:.2f} when it was stored"
        for row in rows
        if row.is_ratio and row.name in stored and row.is_worse_than(stored[row.name])
    ]


def load() -> float:
    """How many processes wanted a processor in the last minute, on average; ours are among them."""
    return os.getloadavg()[0]


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| benchmark | work | against | figure | goal | |", "|---|---|---|---|---|---|"]
    for row in rows:
        goal = f"{row.goal} {'met' if row.goal.is_met(row.figure) else 'MISSED'}" if row.goal else ""
        figure = f"{row.figure:.2f} {row.unit}" if row.figure < 100 else f"{row.figure:,.0f} {row.unit}"
        lines.append(f"| {row.benchmark} | {row.work} | {row.against} | {figure} | {goal} | {row.detail} |")
    return "\n".join(lines)


def _tree(process: int) -> list[int]:
    """The process and its descendants."""
    found = [process]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found.extend(int(child) for child in children.read_text().split())
            except OSError:
                continue  # it ended meanwhile
    return found


def resident_mb(process: int) -> float:
    """Return the resident memory of a process; 0 when it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _highest_mb() -> float:
    """What this process held at most: it may have come and gone between two looks."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 / 1e6 for line in status if line.startswith("VmHWM")), 0.0)


def _processor_s() -> float:
    return sum(os.times()[:4])


def _do(order: str) -> dict[str, Any]:
    name, arguments = json.loads(order)
    module, _, function = name.partition(":")
    act: Callable[..., Any] = getattr(importlib.import_module(module), function)
    start, processor_s = time.perf_counter(), _processor_s()
    found = act(*arguments)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "processor_s": _processor_s() - processor_s,
        "peak_mb": _highest_mb(),
        "found": found or {},
    }


if __name__ == "__main__":
    print(json.dumps(_do(sys.argv[1])))
