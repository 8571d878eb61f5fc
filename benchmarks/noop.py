"""A sync with the identical file, and everything of an initial and of a 1 % incremental sync but the delivery."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.frame import Goal, Measured, Row, Work, compare
from benchmarks.seal import BARE, write_download
from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.domain.run import Run, RunState
from windsor_sync.settings import Computation, load
from windsor_sync.usecases.close_run import settle
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.run_lifecycle import open_run, seal_newest
from windsor_sync.usecases.sync import sync
from windsor_sync.usecases.workspace import Workspace, open_workspace


def run(folder: Path, rows: int) -> list[Row]:
    """Measure an initial sync taken as delivered, the same file again, then one with 1 % changed; each beside bare work."""
    company, downloads = folder / "company", folder / "downloads"
    downloads.mkdir()
    first, second = downloads / "1.csv", downloads / "2.csv"
    write_download(str(first), 0, rows)
    os.utime(first, (time.time() - 60,) * 2)  # a file of the last two seconds may still change, and is read again
    _write_settings(company, downloads)
    with _set_back(company) as set_back:
        initial = Work("initial sync", "benchmarks.noop:undelivered", (str(company), rows))
        of_initial, whole, _ = compare(initial, _bare(first), before=set_back)
    with _set_back(company) as set_back:
        identical = Work("identical file", "benchmarks.noop:again", (str(company),))
        of_identical, nothing, _ = compare(identical, _bare(first), before=set_back)
        first.unlink()
        write_download(str(second), rows // 100, rows)
        incremental = Work("incremental sync", "benchmarks.noop:undelivered", (str(company), rows // 100 * 2))
        of_incremental, changed, _ = compare(incremental, _bare(second), before=set_back)
    return [
        Row("noop", "identical file again", "processor", nothing.processor_s, "s"),
        Row("noop", "identical file again", BARE, of_identical),
        Row("noop", "initial sync but delivery", BARE, of_initial, detail=_of(whole)),
        Row("noop", "initial sync but delivery", "memory", whole.peak_mb, "MB", Goal(at_most=1_000)),
        Row("noop", "1 % changed but delivery", BARE, of_incremental, goal=Goal(at_most=2.3), detail=_of(changed)),
    ]


def _bare(download: Path) -> Work:
    return Work(BARE, "benchmarks.seal:bare", (str(download),))


@contextmanager
def _set_back(company: Path) -> Iterator[Callable[[], None]]:
    """Return what makes the folder as it is now; the sealed files, which never change, are linked."""
    kept = company.with_name("kept")

    def link_or_copy(source: str, target: str) -> None:
        (os.link if source.endswith(".parquet") else shutil.copy2)(source, target)

    def set_back() -> None:
        shutil.rmtree(company)
        shutil.copytree(kept, company, copy_function=link_or_copy)

    shutil.copytree(company, kept, copy_function=link_or_copy)
    yield set_back
    shutil.rmtree(kept)


def _of(work: Measured) -> str:
    return f"{work.processor_s:.1f} s of processor, {work.seconds:.1f} s"


def _write_settings(folder: Path, downloads: Path) -> None:
    folder.mkdir()
    settings = {
        "space": "spa_benchmark",
        "state": f"sqlite:///{folder}/state.db",
        "files": str(folder / "files"),
        "destination": {"url": "http://127.0.0.1:9/"},
        "audiences": [{"name": "All", "snapshot": {"path": str(downloads / "*.csv")}}],
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
