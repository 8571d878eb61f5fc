"""A sync with the identical file, and everything of an initial and of a 1 % incremental sync but the delivery."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.frame import Goal, Measured, Row, Work, measure
from benchmarks.seal import write_download
from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.domain.run import Run, RunState
from windsor_sync.settings import Computation, load
from windsor_sync.usecases.close_run import settle
from windsor_sync.usecases.prepare import Request
from windsor_sync.usecases.run_lifecycle import open_run, seal_newest
from windsor_sync.usecases.sync import sync
from windsor_sync.usecases.workspace import Workspace, open_workspace


def run(folder: Path, rows: int) -> list[Row]:
    """Measure: an initial sync taken as delivered, the same file again, then a file with 1 % changed."""
    (folder / "snapshots").mkdir()
    _write_settings(folder)
    first, second = folder / "snapshots" / "1.csv", folder / "snapshots" / "2.csv"
    write_download(str(first), 0, rows)
    os.utime(first, (time.time() - 60,) * 2)  # a file of the last two seconds may still change, and is read again
    bare = measure(Work("bare work", "benchmarks.seal:bare", (str(first),)))
    initial = measure(Work("initial sync", "benchmarks.noop:undelivered", (str(folder), rows)))
    identical = measure(Work("identical file", "benchmarks.noop:again", (str(folder),)))
    first.unlink()
    write_download(str(second), rows // 100, rows)
    incremental = measure(Work("incremental sync", "benchmarks.noop:undelivered", (str(folder), rows // 100 * 2)))
    against = "CSV scan, JSON extraction and Parquet write alone"
    return [
        Row("noop", "identical file again", "processor", identical.processor_s, "s"),
        Row("noop", "identical file again", against, identical.processor_s / bare.processor_s),
        Row("noop", "initial sync but delivery", against, initial.processor_s / bare.processor_s, detail=_of(initial)),
        Row("noop", "initial sync but delivery", "memory", initial.peak_mb, "MB", Goal(at_most=1_000)),
        Row("noop", "1 % changed but delivery", against, incremental.processor_s / bare.processor_s,
            goal=Goal(at_most=2.3), detail=_of(incremental)),
    ]  # fmt: skip


def _of(work: Measured) -> str:
    return f"{work.processor_s:.1f} s of processor, {work.seconds:.1f} s"


def _write_settings(folder: Path) -> None:
    settings = {
        "space": "spa_benchmark",
        "state": f"sqlite:///{folder}/state.db",
        "files": str(folder / "files"),
        "destination": {"url": "http://127.0.0.1:9/"},
        "audiences": [{"name": "All", "snapshot": {"path": str(folder / "snapshots" / "*.csv")}}],
    }
    (folder / "windsor.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")


@contextmanager
def _opened(folder: str) -> Iterator[tuple[Workspace, Computation]]:
    settings = load(Path(folder) / "windsor.yaml", env={})
    with open_workspace(settings, lambda: "benchmark") as workspace:
        yield workspace, settings.computations[0]


def undelivered(folder: str, changes: int) -> dict[str, Any]:
    """Seal, diff, guard, open the run, and close its books as if Windsor had said yes to all of it."""
    with _opened(folder) as (workspace, computation):
        known = workspace.registry.register(computation)
        with workspace.hold(known.key, "benchmark") as lease:
            snapshot = seal_newest(workspace, computation, Request())
            opened = open_run(workspace, computation, known, snapshot, Request(), lease)
            head = workspace.ledger.of_run(opened.run_id)
            assert head is not None
            done = [replace(s, position=s.last, reach=s.last, delivered=s.last - s.first) for s in head.shards]
            workspace.ledger.checkpoint(lease, opened.run_id, done, [])
            return _confirmed(settle(workspace, lease, opened, None), changes)


def again(folder: str) -> dict[str, Any]:
    """A whole sync; nothing is to be sent, and nobody listens."""
    with _opened(folder) as (workspace, computation):
        return _confirmed(sync(workspace, computation, Request(), CancelToken()), 0)


def _confirmed(closed: Run, changes: int) -> dict[str, Any]:
    assert closed.state is RunState.DONE, closed.sentence
    assert closed.books.changes == changes, closed.books
    return {"changes": changes}
