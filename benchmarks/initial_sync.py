"""A whole initial sync of a million members beside the engine alone, and the memory of one of ten million.

Ten million members are sealed and compared whole; of their delivery the last stretch is done, since how much memory
a delivery takes does not depend on how much of the outbox lies behind it.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import delivery_runs
from benchmarks.delivery import engine_alone
from benchmarks.frame import Goal, Row, Work, load, measure
from benchmarks.server.nginx import answering
from windsor_sync.state.runs import run_of

MILLION = 1_000_000
ALONE = 100_000
STRETCH = 200_000


def run(folder: Path, rows: int) -> list[Row]:
    """Measure; the whole sync is of a million members, or of a tenth of `rows` where that is less."""
    members = min(MILLION, rows // 10)
    with answering(folder / "nginx") as url:
        before, _ = engine_alone(folder / "before", url, min(ALONE, members))
        delivery_runs.write_settings(folder / "whole", url, members=members)
        whole = measure(Work("whole", "benchmarks.delivery_runs:whole", (str(folder / "whole"),)))
        after, _ = engine_alone(folder / "after", url, min(ALONE, members))
        stages = _stages(folder / "stages", url, rows)
    assert whole.found["delivered"] == members
    rate, alone = members / whole.seconds, (before + after) / 2
    what = f"initial sync of {members:,} members"
    detail = f"{whole.seconds:.0f} s, {rate:,.0f} and {alone:,.0f}/s, load {load():.0f}"
    highest = max(stages.values())
    how = ", ".join(f"{stage} {peak_mb:,.0f}" for stage, peak_mb in stages.items())
    every = f"initial sync of {rows:,} members, each stage"
    return [
        Row("initial_sync", what, "engine alone", rate / alone, goal=Goal(at_least=0.8), detail=detail),
        Row("initial_sync", what, "memory", whole.peak_mb, "MB", Goal(at_most=1_000)),
        Row("initial_sync", every, "memory", highest, "MB", Goal(at_most=1_000), detail=how),
    ]


def _stages(folder: Path, url: str, members: int) -> dict[str, float]:
    """Memory of each, in MB."""
    delivery_runs.write_settings(folder, url, members=members)
    prepared = measure(Work("prepare", "benchmarks.delivery_runs:prepare", (str(folder),)))
    run_id = prepared.found["run"]
    pass_over = Work("pass over", "benchmarks.initial_sync:pass_over", (str(folder), run_id, min(STRETCH, members)))
    measure(pass_over)
    delivered = measure(Work("deliver", "benchmarks.delivery_runs:deliver", (str(folder), run_id)))
    return {"sealed and compared": prepared.peak_mb, "delivered": delivered.peak_mb}


def pass_over(folder: str, run_id: str, left: int) -> dict[str, Any]:
    """Record all but the last rows as delivered."""
    with delivery_runs.opened(folder) as (workspace, computation):
        run = run_of(workspace.database, run_id)
        known = workspace.registry.register(computation)
        head = workspace.ledger.of_run(run_id)
        assert run is not None
        assert head is not None
        with workspace.hold(known.key, "benchmark") as lease:
            (shard,) = head.shards
            position = shard.last - left
            done = replace(shard, position=position, reach=position, delivered=position - shard.first)
            workspace.ledger.checkpoint(lease, run_id, [done], [])
    return {}
