"""Every change of a run with its user and its fate: for a person who asks, and that they asked is written down first."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb

from windsor_sync.diff.duckdb import define_ledger
from windsor_sync.domain.run import ForwardingRun, Run
from windsor_sync.errors import ConfigError, StoredFileError
from windsor_sync.state.audit_log import trail
from windsor_sync.state.ledger import Head
from windsor_sync.state.runs import run_of
from windsor_sync.state.suppressions import suppressed_users
from windsor_sync.storage.duckdb_engine import open_stored, quoted
from windsor_sync.usecases.why import FATES, ROWS_AT_A_TIME, value_told
from windsor_sync.usecases.workspace import Workspace


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One change of a run, and what became of it."""

    seq: int
    user: str | None
    """user id, or the anonymous id of someone without one; None of a user who is suppressed"""
    change: str
    value: Any
    """what Windsor was to be told"""
    fate: str
    """delivered, rejected, withheld, owed, in doubt, not due or suppressed"""
    code: int | None
    message: str | None


def changes_of_run(workspace: Workspace, run_id: str, *, who: str) -> list[ChangeRow]:
    """Write down that `who` asks, then return the run's changes in the order in which they are sent.

    Raises ConfigError for a run of forwarded events, whose messages are no changes.
    """
    run = run_of(workspace.database, run_id)
    if run is None or isinstance(run, ForwardingRun):
        raise ConfigError(f"Run {run_id} forwarded events: it has messages, no changes. Nothing was shown.")
    with workspace.database.write() as connection:
        trail(connection, who=who, what="show rows", subject=run.audience, why=None, run=run_id)
    computation_class = next(
        row.computation_class for row in workspace.registry.known() if row.trait_key == run.audience
    )
    with fates_of(workspace, run) as found:
        if found is None:
            return []
        engine, messages = found
        suppressed = {seq for (seq,) in engine.execute("FROM suppressed_rows").fetchall()}
        rows = engine.execute(f"SELECT * FROM ({FATES}) ORDER BY seq").fetchall()
    return [
        ChangeRow(
            seq,
            None if seq in suppressed else user,
            change,
            value_told(computation_class, change, value),
            fate,
            code,
            messages.get(seq),
        )
        for seq, user, change, value, _, _, fate, code in rows
    ]


def named_changes(workspace: Workspace, run: Run, fates: Sequence[str] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield user id, anonymous id, change, value, fate, code and Windsor's message; with `fates`, only such changes.

    Changes of users who are suppressed by now are left out. Raises StoredFileError when the run's outbox is not kept.
    """
    with fates_of(workspace, run) as found:
        if found is None:
            raise StoredFileError(
                f"The changes of run {run.number} of {run.name} are not kept any more, or there were none."
            )
        engine, messages = found
        among = f"AND fate IN ({', '.join(map(quoted, fates))})" if fates else ""
        rows = engine.execute(
            "SELECT seq, o.user_id, o.anonymous_id, f.change, f.value, f.fate, f.code "
            f"FROM ({FATES}) f JOIN outbox_before o USING (seq) "
            f"WHERE o.identity IS NOT NULL AND seq NOT IN (FROM suppressed_rows) {among} ORDER BY seq"
        )
        while chunk := rows.fetchmany(ROWS_AT_A_TIME):
            yield from ((*row, messages.get(seq)) for seq, *row in chunk)


@contextmanager
def fates_of(
    workspace: Workspace, run: Run
) -> Iterator[tuple[duckdb.DuckDBPyConnection, dict[int, str | None]] | None]:
    """An engine with the run's outbox, progress and verdicts, and Windsor's words by row; None where no outbox is kept.

    Its table `suppressed_rows` has the rows whose users are suppressed by now: they are not named any more.
    """
    ledger: Head | None = workspace.ledger.of_run(run.run_id)
    if ledger is None or ledger.outbox is None:
        yield None
        return
    with open_stored() as connection:
        define_ledger(connection, ledger)
        _find_suppressed(workspace, connection)
        yield connection, {verdict.seq: verdict.message for verdict in ledger.verdicts}


def _find_suppressed(workspace: Workspace, engine: duckdb.DuckDBPyConnection) -> None:
    engine.execute("CREATE TEMP TABLE suppressed_rows (seq BIGINT)")
    suppressed = suppressed_users(workspace.database)
    if not suppressed:
        return
    found: list[int] = []
    rows = engine.execute("SELECT seq, user_id, anonymous_id FROM outbox_before WHERE identity IS NOT NULL")
    while chunk := rows.fetchmany(ROWS_AT_A_TIME):
        found += [seq for seq, *ids in chunk if any(each in suppressed for each in ids)]
    if found:
        engine.execute("INSERT INTO suppressed_rows SELECT unnest(?::BIGINT[])", [found])
