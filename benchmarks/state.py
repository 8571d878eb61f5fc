"""How long commands and pages take on a large PostgreSQL state: `python -m benchmarks.state [--runs N] [--verdicts N]`.

Fills a state with 50 audiences that were synced every 2 h 30 min: 43,200 runs in 90 days, 43,200,000 verdicts. It then makes
the calls that people and schedules wait for, and shows for each of them the seconds, the statements, and how PostgreSQL
carries out the slowest ones. It starts a PostgreSQL server of its own, or fills the empty `--database`.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks.plans import Plan, Recorded, Recorder, Statement
from benchmarks.postgres import postgres_server
from benchmarks.state_rows import Size, fill
from benchmarks.why import USER
from windsor_sync.domain.run import RunState
from windsor_sync.report.document import report
from windsor_sync.report.finding import AudienceSearch, find_audiences
from windsor_sync.report.views import view_audience, view_banner, view_run
from windsor_sync.segment.trait_keys import TraitKey
from windsor_sync.settings import load
from windsor_sync.state.approvals import unsettled_approval
from windsor_sync.state.database import upgrade_database
from windsor_sync.state.ledger import RowVerdict, Verdict
from windsor_sync.state.runs import finish, outlines, recent, run_of
from windsor_sync.state.snapshots import newest_sealed, told_snapshot, twin_of
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.prune import prune
from windsor_sync.usecases.why import RUNS_LOOKED_AT, why
from windsor_sync.usecases.workspace import Workspace, open_workspace

SLOW_MS = 5
"""A statement that takes longer is explained."""

EXPLAINED = 4
"""So many statements of a call, the slowest ones, are explained."""

ONE = 7
"""The audience that is asked for where a call is about one."""

VERDICTS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Call:
    """One thing that somebody waits for."""

    name: str
    act: Callable[[], Any]
    can_repeat: bool = True


def calls(workspace: Workspace, size: Size) -> Iterator[Call]:
    """Yield the calls, those that change the state last."""
    database, key, ledger = workspace.database, f"audience_{ONE}", workspace.ledger
    head = ledger.head(ONE)
    assert head is not None
    middle = outlines(database, ONE, size.rounds)[size.rounds // 2].run_id
    yield Call("runs: the newest 20", lambda: recent(database, destination="windsor", limit=20))
    yield Call("runs: the newest 20 of an audience", lambda: recent(database, audience_ids=[ONE], limit=20))
    yield Call("runs: one run", lambda: (run_of(database, middle), ledger.rejections(middle)))
    yield Call("page: audiences", lambda: (find_audiences(workspace, AudienceSearch()), view_banner(workspace)))
    yield Call("page: an audience", lambda: (view_audience(workspace, key), view_banner(workspace)))
    yield Call("page: an audience, 90 days", lambda: view_audience(workspace, key, days=90))
    yield Call("page: an audience, page 20", lambda: view_audience(workspace, key, before=size.rounds // 2))
    yield Call("page: a run", lambda: view_run(workspace, middle))
    yield Call("page: a run, row 40,000", lambda: view_run(workspace, middle, after=40_000))
    yield Call("report", lambda: report(workspace))
    yield Call("why: an audience", lambda: why(workspace, USER, [ONE]))
    yield Call("why: all audiences", lambda: why(workspace, USER))
    for rows in (86, 860):
        yield Call(f"why: {rows} verdicts of an audience", lambda rows=rows: _answers(workspace, rows))  # type: ignore[misc]
    yield Call("sync: what Windsor was told", lambda: _begins(workspace))
    yield Call("sync: what has a verdict", lambda: ledger.decided(head.run_id))
    yield Call(f"sync: a checkpoint with {VERDICTS_AT_ONCE} verdicts", lambda: _checkpoint(workspace))
    yield Call("sync: a stopped run is taken up, and ends", lambda: _resume(workspace))
    yield Call("audit --quick", lambda: audit(workspace, repair=False, is_quick=True))
    yield Call("state prune --dry-run", lambda: prune(workspace, dry_run=True))
    yield Call("state prune, nothing to remove", lambda: prune(workspace, kept_days=100))
    yield Call("state prune, a day", lambda: prune(workspace, kept_days=89), can_repeat=False)


def _answers(workspace: Workspace, rows: int) -> None:
    wanted = [(run.run_id, 7) for run in outlines(workspace.database, ONE, RUNS_LOOKED_AT)[:rows]]
    assert len(workspace.ledger.answers(wanted)) == len(wanted)


def _begins(workspace: Workspace) -> None:
    database = workspace.database
    workspace.marks.require_own()
    assert workspace.registry.known()
    assert workspace.ledger.head(ONE)
    newest = newest_sealed(database, ONE)
    assert newest is not None
    assert twin_of(database, ONE, newest.checksum) is not None
    assert told_snapshot(database, ONE) is not None
    unsettled_approval(database, ONE)


def _checkpoint(workspace: Workspace) -> None:
    head = workspace.ledger.head(ONE)
    assert head is not None
    verdicts = [
        RowVerdict(number * 1_000 + 8, Verdict.REJECTED, in_doubt=False, answered_at=datetime.now(UTC), code=400)
        for number in range(VERDICTS_AT_ONCE)
    ]
    with workspace.hold(TraitKey(f"audience_{ONE}"), "a benchmark") as lease:
        workspace.ledger.checkpoint(lease, head.run_id, [replace(shard) for shard in head.shards], verdicts)


def _resume(workspace: Workspace) -> None:
    run = recent(workspace.database, audience_ids=[ONE], limit=1)[0]
    with workspace.hold(TraitKey(f"audience_{ONE}"), "a benchmark") as lease:
        workspace.ledger.resume(lease, run.run_id)
        finish(workspace.database, lease, run.run_id, RunState.DONE, run.books, datetime.now(UTC), "Done.")


@contextmanager
def _workspace(folder: Path, url: str, size: Size) -> Iterator[Workspace]:
    audiences = [
        {"name": f"Audience {number}", "snapshot": {"path": f"downloads/{number}/*.csv", "format": "csv"}}
        for number in range(1, size.audiences + 1)
    ]
    settings = {
        "state": url,
        "files": f"{folder}/files",
        "destination": {"url": "http://127.0.0.1:9/", "name": "windsor"},
        "audiences": audiences,
    }
    (folder / "windsor.yaml").write_text(json.dumps(settings), encoding="utf-8")
    with open_workspace(
        load(folder / "windsor.yaml", env={}),
        lambda: "no key is needed",
        suppression_key=lambda: "0123456789abcdef" * 4,
    ) as workspace:
        yield workspace


def measured(workspace: Workspace, size: Size) -> Iterator[Mapping[str, Any]]:
    """Make each call, print a line about it, and yield its figures."""
    recorder = Recorder(workspace.database.engine)
    for call in calls(workspace, size):
        took: list[float] = []
        for _ in range(2 if call.can_repeat else 1):
            start, processor_s = time.perf_counter(), _processor_s(workspace)
            with recorder.recording() as found:
                call.act()
            took.append(time.perf_counter() - start)
            processor_s = _processor_s(workspace) - processor_s
        plans = list(_plans(recorder, found))
        print(_line(call.name, took, processor_s, found, plans), flush=True)
        yield {
            "call": call.name,
            "seconds": [round(each, 3) for each in took],
            "processor_s": round(processor_s, 3),
            "database_s": round(found.seconds, 3),
            "statements": found.times,
            "plans": [_as_json(statement, plan) for statement, plan in plans],
        }


def _processor_s(workspace: Workspace) -> float:
    """Return the processor seconds of this process, and of the server's processes for us where they are on this machine."""
    with workspace.database.read() as connection:
        ours = text("SELECT pid FROM pg_stat_activity WHERE application_name = 'windsor_sync'")
        processes = connection.execute(ours).scalars().all()
    ticks = [Path(f"/proc/{process}/stat").read_text().split()[13:15] for process in processes if _is_here(process)]
    return time.process_time() + sum(int(each) for pair in ticks for each in pair) / os.sysconf("SC_CLK_TCK")


def _is_here(process: int) -> bool:
    name = Path(f"/proc/{process}/comm")
    return name.exists() and name.read_text().startswith("postgres")


def _plans(recorder: Recorder, found: Recorded) -> Iterator[tuple[Statement, Plan]]:
    slowest = sorted(found.by_text.values(), key=lambda each: -each.seconds)[:EXPLAINED]
    for statement in slowest:
        plan = recorder.plan(statement) if statement.slowest_s * 1000 >= SLOW_MS else None
        if plan is not None:
            yield statement, plan


def _line(
    name: str, took: list[float], processor_s: float, found: Recorded, plans: list[tuple[Statement, Plan]]
) -> str:
    indexes = dict.fromkeys(index for _, plan in plans for index in plan.indexes)
    scanned = dict.fromkeys(table for _, plan in plans for table in plan.scanned)
    seconds = " then ".join(f"{each:.3f}" for each in took)
    figures = f"| {name} | {seconds} | {processor_s:.2f} | {found.seconds:.3f} | {found.times:,} |"
    return f"{figures} {', '.join(indexes)} | {', '.join(scanned)} |"


def _as_json(statement: Statement, plan: Plan) -> dict[str, Any]:
    return {
        "statement": " ".join(statement.text.split())[:2000],
        "times": statement.times,
        "slowest_ms": round(statement.slowest_s * 1000, 1),
        "plan_ms": round(plan.milliseconds, 1),
        "pages": plan.buffers,
        "indexes": plan.indexes,
        "scanned": plan.scanned,
    }


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.state", description=__doc__)
    parser.add_argument("--audiences", type=int, default=50)
    parser.add_argument("--runs", type=int, default=43_200, help="of all audiences (default 43,200: 90 days)")
    parser.add_argument("--verdicts", type=int, default=43_200_000, help="of all runs (default 43,200,000)")
    parser.add_argument("--database", help="the URL of an empty PostgreSQL database, in place of a server of its own")
    parser.add_argument("--json", type=Path, help="write figures and plans to this file too")
    arguments = parser.parse_args()
    size = Size(arguments.audiences, arguments.runs, arguments.verdicts)
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="windsor-sync-bench-")))
        url = arguments.database or opened.enter_context(postgres_server())
        upgrade_database(url)
        workspace = opened.enter_context(_workspace(folder, url, size))
        began = time.perf_counter()
        fill(workspace, size, folder)
        with workspace.database.read() as connection:
            gigabytes = connection.execute(text("SELECT pg_database_size(current_database()) / 1e9")).scalar_one()
        took_s = time.perf_counter() - began
        print(
            f"{size.rounds * size.audiences:,} runs, {size.verdicts:,} verdicts: {gigabytes:.1f} GB in {took_s:.0f} s"
        )
        print("| call | seconds | of processor | in the database | statements | indexes | read from end to end |")
        print("|---|---|---|---|---|---|---|", flush=True)
        found = list(measured(workspace, size))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
