"""How long `why USER` takes after many runs: `python -m benchmarks.why [--audiences N] [--runs N] [--store-ms N]`.

Writes a state with the runs of many audiences. Every tenth run has a change of the user; the changes are delivered,
rejected, withheld and more. The files are in a local folder or, with `--store-ms`, in a moto server whose requests are
delayed by so many milliseconds.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from sqlalchemy import insert

from benchmarks.slow_store import SlowStore, slow_store
from windsor_sync.diff.duckdb import WRITTEN_AS
from windsor_sync.domain.change import COLUMNS
from windsor_sync.settings import load
from windsor_sync.state import tables
from windsor_sync.state.database import upgrade_database
from windsor_sync.usecases.why import why
from windsor_sync.usecases.workspace import Workspace, open_workspace

USER = f"{7:032x}"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ROUND = timedelta(hours=2, minutes=30)
CHANGES = 200
"""in the outbox of each run"""
NAMED_EVERY = 10
SIZE_BYTES = 13_000
"""of an outbox, roughly"""
BUCKET = "acme"
ROUNDS = 3
OUTBOXES = 40
"""different outboxes; each run has a copy of one"""
VERDICTS = (None, "rejected", "unanswered", "suppressed", "delivered")


def write_history(workspace: Workspace, folder: Path, audience_count: int, runs_each: int) -> None:
    """Write the runs of every audience, with their outboxes."""
    drafts = [write_outbox(folder / f"draft-{number}.parquet", number) for number in range(OUTBOXES)]
    with workspace.database.write() as connection:
        for audience in range(1, audience_count + 1):
            connection.execute(insert(tables.audiences).values(**_audience(audience, runs_each)))
            runs = [_run(audience, number) for number in range(runs_each)]
            connection.execute(insert(tables.runs), runs)
            connection.execute(insert(tables.progress), [_progress(run) for run in runs])
            connection.execute(insert(tables.stored_files), [_stored(run) for run in runs])
            verdicts = [row for run in runs for row in _verdicts(run)]
            if verdicts:
                connection.execute(insert(tables.verdicts), verdicts)
    paths = [(drafts[number % OUTBOXES], _outbox(audience, number))
             for audience in range(1, audience_count + 1) for number in range(runs_each)]  # fmt: skip
    _place(workspace, paths)


def write_outbox(path: Path, number: int) -> Path:
    """Write one outbox; every tenth has the user."""
    with duckdb.connect() as connection:
        user = f"CASE WHEN i = 7 AND {number} % {NAMED_EVERY} = 0 THEN '{USER}' ELSE md5(concat(i, '-{number}')) END"
        values = {
            "seq": "i",
            "user_id": user,
            "identity": f"'u' || {user}",
            "email": "concat(i, '@example.com')",
            "change": f"'{'exited' if number % 20 else 'entered'}'",
            "was_told": f"{number % 20 > 0}",
            "in_doubt": "FALSE",
            "was_sent": "FALSE",
            "since_run": str(number),
            "since_at": "TIMESTAMP '2026-01-01'",
            "attempts": "0",
            "status": "'send'",
        }
        columns = ", ".join(f"CAST({values.get(name, 'NULL')} AS {kind}) AS {name}" for name, kind in COLUMNS.items())
        connection.execute(f"COPY (SELECT {columns} FROM range({CHANGES}) t(i)) TO '{path}' ({WRITTEN_AS})")
    return path


def _place(workspace: Workspace, paths: list[tuple[Path, str]]) -> None:
    """Give every run a copy of its outbox; in a local folder it is a hard link, which is as slow to open."""
    for number, (draft, path) in enumerate(paths):
        place = (
            Path(workspace.files.location(path)) if workspace.files.is_local else draft.with_name(f"{number}.parquet")
        )
        place.parent.mkdir(parents=True, exist_ok=True)
        place.hardlink_to(draft)
        if not workspace.files.is_local:
            workspace.files.keep(place, path)


def _outbox(audience: int, number: int) -> str:
    return f"outboxes/{audience}/{number}.parquet"


def _audience(audience: int, runs_each: int) -> dict[str, Any]:
    return {
        "id": audience,
        "destination": "windsor",
        "trait_key": f"audience_{audience}",
        "computation_class": "audiences",
        "name": f"Audience {audience}",
        "runs": runs_each,
        "head_run": f"run-{audience}-{runs_each - 1}",
        "created_at": BEGIN,
    }


def _run(audience: int, number: int) -> dict[str, Any]:
    return {
        "id": f"run-{audience}-{number}",
        "audience_id": audience,
        "number": number + 1,
        "kind": "incremental",
        "trigger": f"scheduled__{number}",
        "state": "done",
        "outbox": _outbox(audience, number),
        "held": ["exited"] if number % 7 == 0 else [],
        "options": {},
        "started_at": BEGIN + ROUND * number,
        "finished_at": BEGIN + ROUND * number + timedelta(minutes=5),
        "exited": CHANGES,
    }


def _stored(run: dict[str, Any]) -> dict[str, Any]:
    return {
        "path": run["outbox"],
        "whole": run["outbox"],
        "audience_id": run["audience_id"],
        "rows": CHANGES,
        "size_bytes": SIZE_BYTES,
        "checksum": "not looked at",
        "stored_at": run["started_at"],
    }


def _progress(run: dict[str, Any]) -> dict[str, Any]:
    reached = (CHANGES, 3)[run["number"] % 4 == 1]
    return {"run_id": run["id"], "shard": 0, "first": 0, "last": CHANGES, "position": reached, "reach": reached + 5}


def _verdicts(run: dict[str, Any]) -> Iterator[dict[str, Any]]:
    kind = VERDICTS[run["number"] // NAMED_EVERY % len(VERDICTS)]
    for seq in (7, *range(20, 60)):
        if kind is not None:
            yield {
                "run_id": run["id"],
                "seq": seq,
                "verdict": kind,
                "code": 400,
                "message": "bad e-mail" if kind == "rejected" else None,
                "in_doubt": kind == "unanswered" and run["number"] % 3 == 0,
                "answered_at": run["finished_at"],
            }


@contextmanager
def _workspace(folder: Path, files: str) -> Iterator[Workspace]:
    settings = {
        "state": f"sqlite:///{folder}/state.db",
        "files": files,
        "destination": {"url": "http://127.0.0.1:9/", "name": "windsor"},
    }
    (folder / "windsor.yaml").write_text(json.dumps(settings), encoding="utf-8")
    with open_workspace(load(folder / "windsor.yaml", env={}), lambda: "no key is needed") as workspace:
        yield workspace


def measured(folder: Path, audience_count: int, runs_each: int, store: SlowStore | None, delay_s: float) -> None:
    """Print the seconds of each round."""
    upgrade_database(f"sqlite:///{folder}/state.db")
    files = f"{folder}/files" if store is None else f"s3://{BUCKET}/files"
    with _workspace(folder, files) as workspace:
        write_history(workspace, folder, audience_count, runs_each)
        for _ in range(ROUNDS):
            if store is not None:
                store.delay_s, store.requests = delay_s, 0
            start, processor_s = time.perf_counter(), time.process_time()
            accounts = why(workspace, USER)
            took, processor_s = time.perf_counter() - start, time.process_time() - processor_s
            steps = sum(len(account.steps) for account in accounts)
            print(
                f"why, {audience_count} audiences of {runs_each} runs, {steps} changes found: "
                f"{took:.2f} s, {processor_s:.2f} s of processor"
                + (f" (the store's too), {store.requests} requests" if store else ""),
                flush=True,
            )


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.why", description=__doc__)
    parser.add_argument("--audiences", type=int, default=20)
    parser.add_argument("--runs", type=int, default=100, help="of each audience (default 100)")
    parser.add_argument("--store-ms", type=int, help="files in an object store that delays each request by so much")
    arguments = parser.parse_args()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="windsor-sync-bench-")))
        store = None
        if arguments.store_ms is not None:
            import s3fs  # type: ignore[import-untyped]

            store = opened.enter_context(slow_store())
            os.environ |= store.environment
            s3fs.S3FileSystem().mkdir(BUCKET)
        measured(folder, arguments.audiences, arguments.runs, store, (arguments.store_ms or 0) / 1000)


if __name__ == "__main__":
    main()
