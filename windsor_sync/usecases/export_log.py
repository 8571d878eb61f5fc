"""The delivery log for other programs: one row a change with its fate, for each ended run whose outbox is kept."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from windsor_sync.domain.change import FALSE_FIRST
from windsor_sync.domain.run import ForwardingRun, Run
from windsor_sync.errors import StoredFileError
from windsor_sync.segment.identify import ComputationClass
from windsor_sync.state.audit_log import trail
from windsor_sync.state.runs import recent
from windsor_sync.storage.duckdb_engine import open_duckdb, parquet_files, quoted
from windsor_sync.storage.scratch import scratch_folder
from windsor_sync.usecases.change_log import fates_of
from windsor_sync.usecases.why import FATES
from windsor_sync.usecases.workspace import Workspace

MOST_RUNS = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

COLUMNS: dict[str, tuple[str, str]] = {
    "destination": ("VARCHAR", "the name of the destination in windsor.yaml"),
    "run_id": ("VARCHAR", "the run that planned the change, as `windsor-sync runs` names it"),
    "run_started_at": ("TIMESTAMP WITH TIME ZONE", "when that run began"),
    "run_kind": ("VARCHAR", "initial, incremental, resync, …"),
    "audience": ("VARCHAR", "the trait key"),
    "audience_name": ("VARCHAR", "the name in Segment"),
    "class": ("VARCHAR", "audience or trait"),
    "snapshot_taken_at": ("TIMESTAMP WITH TIME ZONE", "when the snapshot was taken that the run compared"),
    "seq": ("BIGINT", "the number of the change in its run; with `run_id` it names the row"),
    "user_id": ("VARCHAR", "the user id; null for somebody without one, and for somebody who is suppressed"),
    "anonymous_id": ("VARCHAR", "the anonymous id, where there is one"),
    "change": ("VARCHAR", "entered, exited, updated, moved or moved_from"),
    "value": ("VARCHAR", "what Windsor was to be told, as JSON"),
    "fate": ("VARCHAR", "delivered, rejected, withheld, owed, in doubt, not due or suppressed, when the run ended"),
    "code": ("INTEGER", "Windsor's status, where it was the answer to this change"),
    "message": ("VARCHAR", "Windsor's words, without e-mails"),
}
"""Name → its type in DuckDB and its meaning"""


class LogTarget(Protocol):
    """The place that the log is written to."""

    def has(self, run: Run) -> bool:
        """Tell whether the run's rows are there already."""
        ...

    def take(self, run: Run, rows: Path) -> None:
        """Store the rows of one run, a Parquet file, whole or not at all."""
        ...

    def finish(self) -> None:
        """Do what is left when all runs were taken."""
        ...


@dataclass(slots=True)
class Exported:
    """The outcome of an export."""

    runs: int = 0
    rows: int = 0
    """of these runs"""
    already: int = 0
    """runs that were there before"""
    lost: tuple[str, ...] = ()
    """runs whose outbox is lost or damaged"""
    pruned: int = 0
    """runs whose outbox is not kept any more"""


def export_log(
    workspace: Workspace,
    target: LogTarget,
    *,
    who: str,
    place: str,
    kept_days: int,
    on_run: Callable[[int, int], None] = lambda _done, _all: None,
) -> Exported:
    """Write down that `who` exports to `place`, then the rows of each run that ended within `kept_days` and is not there.

    A lost outbox costs its own run's rows only.
    """
    name = workspace.settings.destination.name
    with workspace.database.write() as connection:
        trail(connection, who=who, what="export log", subject=name, why=None, to=place, days=kept_days)
    since = datetime.now(UTC) - timedelta(days=kept_days)
    everything = recent(workspace.database, destination=name, since=since, limit=MOST_RUNS)
    runs = [run for run in reversed(everything) if run.finished_at and not isinstance(run, ForwardingRun)]
    runs = [run for run in runs if run.books.changes]
    done = Exported()
    classes = {row.id: row.computation_class for row in workspace.registry.known()}
    for number, run in enumerate(runs, 1):
        _export(workspace, target, run, classes[run.audience_id], done)
        on_run(number, len(runs))
    target.finish()
    return done


def _export(workspace: Workspace, target: LogTarget, run: Run, computation_class: str, done: Exported) -> None:
    if target.has(run):
        done.already += 1
    elif run.outbox is None:
        done.pruned += 1
    else:
        try:
            with rows_of(workspace, run, computation_class) as (path, rows):
                target.take(run, path)
        except StoredFileError:
            done.lost = (*done.lost, run.run_id)
        else:
            done.runs, done.rows = done.runs + 1, done.rows + rows


@contextmanager
def rows_of(workspace: Workspace, run: Run, computation_class: str) -> Iterator[tuple[Path, int]]:
    """Make a Parquet file with the log of one run, for the block; also its number of rows."""
    facts = {
        "destination": workspace.settings.destination.name,
        "run_id": run.run_id,
        "run_started_at": run.started_at,
        "run_kind": run.kind,
        "audience": run.audience,
        "audience_name": run.name,
        "class": computation_class,
        "snapshot_taken_at": run.taken_at,
    }
    with scratch_folder(suffix=".parquet") as folder, fates_of(workspace, run) as found:
        assert found is not None  # the run has an outbox
        engine, words = found
        kinds = [f"{column} {COLUMNS[column][0]}" for column in facts]
        engine.execute(f"CREATE TEMP TABLE facts ({', '.join(kinds)})")
        engine.execute(f"INSERT INTO facts VALUES ({', '.join('?' * len(facts))})", list(facts.values()))
        engine.execute("CREATE TEMP TABLE words (seq BIGINT, message VARCHAR)")
        said = [(seq, text) for seq, text in words.items() if text]
        if said:
            columns = [list(column) for column in zip(*said, strict=True)]
            engine.execute("INSERT INTO words SELECT unnest(?::BIGINT[]), unnest(?::VARCHAR[])", columns)
        path = folder / "log.parquet"
        copied = engine.execute(f"COPY ({_select(computation_class)}) TO {quoted(str(path))} (FORMAT parquet)")
        (rows,) = copied.fetchone() or (0,)
        yield path, int(rows)


def _select(computation_class: str) -> str:
    is_false = f"f.change IN ({', '.join(map(quoted, FALSE_FIRST))})"
    if computation_class == ComputationClass.AUDIENCE.value:
        value = f"CASE WHEN {is_false} THEN 'false' ELSE 'true' END"
    else:
        value = f"CASE WHEN {is_false} THEN NULL ELSE f.value END"
    known = {
        "seq": "f.seq",
        "user_id": "CASE WHEN s.seq IS NULL THEN o.user_id END",
        "anonymous_id": "CASE WHEN s.seq IS NULL THEN o.anonymous_id END",
        "value": f"coalesce({value}, 'null')",
    }
    known |= {"change": "f.change", "fate": "f.fate", "code": "f.code", "message": "w.message"}
    columns = ", ".join(f"{known.get(name, f'facts.{name}')}::{kind} AS {name}" for name, (kind, _) in COLUMNS.items())
    fates = f"({FATES}) f JOIN outbox_before o USING (seq)"
    rows = f"{fates} LEFT JOIN words w USING (seq) LEFT JOIN suppressed_rows s USING (seq)"
    return f"SELECT {columns} FROM {rows}, facts ORDER BY f.seq"


def merged(files: Sequence[Path], to: Path) -> None:
    """Make one Parquet file of several; an empty one of none."""
    if files:
        rows = parquet_files(list(map(str, files)))
    else:
        rows = "(SELECT " + ", ".join(f"NULL::{kind} AS {name}" for name, (kind, _) in COLUMNS.items()) + " LIMIT 0)"
    with open_duckdb() as connection:
        connection.execute(f"COPY (FROM {rows}) TO {quoted(str(to))} (FORMAT parquet)")


def rows_in(file: Path, most: int) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of a log, so many at a time."""
    moments = [place for place, (kind, _) in enumerate(COLUMNS.values()) if kind.startswith("TIMESTAMP")]
    columns = [f"epoch_us({name})" if place in moments else name for place, name in enumerate(COLUMNS)]
    with open_duckdb() as connection:
        found = connection.execute(f"SELECT {', '.join(columns)} FROM {quoted(str(file))}")
        while rows := found.fetchmany(most):
            yield [
                tuple(
                    EPOCH + timedelta(microseconds=cell) if place in moments else cell for place, cell in enumerate(row)
                )
                for row in rows
            ]
