"""The engine alone: identify messages rendered, rate-limited, sent, acknowledged and recorded as in a real run.

Beside it on the same nginx, in turns: wrk as the ceiling of HTTP, and other ways to POST the same messages, which
render, limit and record nothing. Then the engine against a server that takes 50 ms for every answer.
"""

import re
import statistics
import subprocess
from pathlib import Path
from shutil import which

from benchmarks import delivery_runs
from benchmarks.frame import Goal, Row, Work, load, measure
from benchmarks.server.nginx import answering

ROUNDS = 3
MEMBERS = 40_000
LATENCY_S = 0.05
MANY_IN_FLIGHT = 256
SCRIPT = """
wrk.method = "POST"
wrk.body = string.rep("x", 420)
wrk.headers["Content-Type"] = "application/json"
"""
PEERS = {
    "httpx_alone": ("stock httpx.AsyncClient, 64 in flight", Goal(at_least=15)),
    "drt_core": ("drt-core 1.2.1, a POST a row", Goal(at_least=6)),
    "requests_with_threads": ("requests with 64 threads", None),
    "segment_library": ("segment-analytics-python, a message a request", None),
    "segment_library_batches": ("segment-analytics-python, 100 a request (not what the webhook takes)", None),
}


def run(folder: Path, rows: int) -> list[Row]:  # noqa: ARG001  # always the same size: it is a rate
    """Measure."""
    with answering(folder / "nginx") as url:
        rounds = [_round(folder / f"round-{number}", url) for number in range(ROUNDS)]
        found = _compared(rounds)
        return [*found, _far_away(folder, url)]


def engine_alone(folder: Path, url: str, members: int, max_in_flight: int = 64) -> tuple[float, float]:
    """Messages a second, and the memory in MB, of one delivery."""
    delivery_runs.write_settings(folder, url, members=members, max_in_flight=max_in_flight)
    prepared = measure(Work("prepare", "benchmarks.delivery_runs:prepare", (str(folder),)))
    delivered = measure(Work("deliver", "benchmarks.delivery_runs:deliver", (str(folder), prepared.found["run"])))
    return delivered.found["delivered"] / delivered.found["delivery_s"], delivered.peak_mb


def _round(folder: Path, url: str) -> dict[str, float]:
    """Requests (or messages) a second of everybody once."""
    folder.mkdir()
    rates = {"wrk": _wrk(folder, url), "engine": engine_alone(folder / "engine", url, MEMBERS)[0]}
    for name in PEERS:
        rates[name] = measure(Work(name, f"benchmarks.peers:{name}", (url,))).found["per_second"]
    return rates | {"load": load()}


def _wrk(folder: Path, url: str) -> float:
    script = folder / "post.lua"
    script.write_text(SCRIPT)
    command = [which("wrk") or "wrk", "-t1", "-c64", "-d3s", "-s", str(script), url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found, said
    return float(found[1])


def _compared(rounds: list[dict[str, float]]) -> list[Row]:
    goals = PEERS | {"wrk": ("wrk, 1 thread, 64 connections", Goal(at_least=0.07))}
    busy = f"load {min(each['load'] for each in rounds):.0f}–{max(each['load'] for each in rounds):.0f}"
    rows = []
    for name, (against, goal) in goals.items():
        ratio = statistics.median(each["engine"] / each[name] for each in rounds)
        ours, its = (statistics.median(each[who] for each in rounds) for who in ("engine", name))
        rows.append(
            Row("delivery", "engine alone", against, ratio, goal=goal, detail=f"{ours:,.0f} and {its:,.0f}/s, {busy}")
        )
    return rows


def _far_away(folder: Path, at_once: str) -> Row:
    """256 in flight on a destination that takes 50 ms: the ideal, or what the processor allows if that is less."""
    ideal = MANY_IN_FLIGHT / LATENCY_S
    found = []
    for number in range(ROUNDS):
        with answering(folder / f"late-{number}", LATENCY_S) as url:
            rate, _ = engine_alone(folder / f"far-{number}", url, MEMBERS, MANY_IN_FLIGHT)
        limit, _ = engine_alone(folder / f"near-{number}", at_once, MEMBERS, MANY_IN_FLIGHT)
        found.append((rate / min(ideal, limit), rate, limit))
    ratio, rate, limit = sorted(found)[ROUNDS // 2]
    against = f"256/0.05 s = {ideal:,.0f}/s, or the same at 0 ms where that is less"
    detail = f"{rate:,.0f}/s, at 0 ms {limit:,.0f}/s, load {load():.0f}"
    return Row("delivery", "50 ms away, 256 in flight", against, ratio, goal=Goal(at_least=0.9), detail=detail)
