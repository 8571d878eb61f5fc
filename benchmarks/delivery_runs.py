"""Runs of a real sync for measuring its delivery: prepared in one process, delivered in another."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks.seal import write_download
from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.domain.run import RunState
from windsor_sync.settings import Computation, load
from windsor_sync.state.runs import run_of
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.run_lifecycle import deliver_run, open_run, seal_newest
from windsor_sync.usecases.sync import sync
from windsor_sync.usecases.workspace import Workspace, open_workspace

UNLIMITED = 1_000_000
"""Requests a second; far more than any process sends."""


def write_settings(
    folder: Path,
    url: str,
    *,
    members: int,
    requests_per_second: int = UNLIMITED,
    max_in_flight: int = 64,
    names: Sequence[str] = ("All",),
) -> None:
    """A workspace with a first download, which is the snapshot of every audience named."""
    (folder / "snapshots").mkdir(parents=True)
    write_download(str(folder / "snapshots" / "1.csv"), 0, members)
    settings = {
        "space": "spa_benchmark",
        "state": f"sqlite:///{folder}/state.db",
        "files": str(folder / "files"),
        "destination": {"url": url, "requests_per_second": requests_per_second, "max_in_flight": max_in_flight},
        "audiences": [{"name": name, "snapshot": {"path": str(folder / "snapshots" / "*.csv")}} for name in names],
    }
    (folder / "windsor.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")


@contextmanager
def opened(folder: str, place: int = 0) -> Iterator[tuple[Workspace, Computation]]:
    """The workspace and one of its audiences."""
    settings = load(Path(folder) / "windsor.yaml", env={})
    with open_workspace(settings, lambda: "benchmark") as workspace:
        yield workspace, settings.computations[place]


def prepare(folder: str, place: int = 0) -> dict[str, Any]:
    """Everything of an initial sync before its delivery."""
    with opened(folder, place) as (workspace, computation):
        known = workspace.registry.register(computation)
        with workspace.hold(known.key, "benchmark") as lease:
            snapshot = seal_newest(workspace, computation, Request())
            return {"run": open_run(workspace, computation, known, snapshot, Request(), lease).run_id}


def deliver(folder: str, run_id: str) -> dict[str, Any]:
    """The delivery of a prepared run, its books closed; `delivery_s` leaves out opening the workspace."""
    with opened(folder) as (workspace, computation):
        known = workspace.registry.register(computation)
        run = run_of(workspace.database, run_id)
        assert run is not None
        with workspace.hold(known.key, "benchmark") as lease:
            start = time.perf_counter()
            closed = deliver_run(workspace, computation, run, lease, CancelToken())
            seconds = time.perf_counter() - start
        assert closed.state is RunState.DONE, closed.sentence
        return {"delivered": closed.books.delivered, "delivery_s": seconds}


def whole(folder: str) -> dict[str, Any]:
    """A whole initial sync: download sealed, compared, delivered, acknowledged."""
    with opened(folder) as (workspace, computation):
        closed = sync(workspace, computation, Request(), CancelToken())
        assert closed.state is RunState.DONE, closed.sentence
        return {"delivered": closed.books.delivered}
