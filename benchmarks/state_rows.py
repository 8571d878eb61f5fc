"""Fills a PostgreSQL state with the runs and verdicts of many weeks, inside the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from sqlalchemy import Connection, Table, func, insert, literal_column, select, text

from benchmarks.why import CHANGES, USER, write_outbox
from windsor_sync.diff.duckdb import WRITTEN_AS
from windsor_sync.state import tables
from windsor_sync.state.database import Database
from windsor_sync.state.stored_files import installation_mark
from windsor_sync.usecases.workspace import Workspace

CHANGES_A_VERDICT = 1_000
"""The rate of rejections is 0.1 %."""

DRAFTS = 10
"""Different outboxes. Each run has a hard link of one; the first of them has a change of the user who is asked for."""

MEMBERS = 1_000
SNAPSHOTS_KEPT = 3

DRAFTED = """
    CREATE TEMPORARY TABLE drafted AS
    SELECT
        (n - 1) * {audiences} + a AS place, n, a, started_at, state, {changes} AS changes, {changes} / 1000 AS verdicts,
        concat('audience_', a, '-', n, '-', to_char(started_at AT TIME ZONE 'UTC', 'YYYYMMDD"T"HH24MISS"Z"'), '-', a) AS id,
        concat('outboxes/audience_', a, '/{mark}-', a, '-', n, '-0123456789ab.parquet') AS outbox,
        concat('snapshots/audience_', a, '/{mark}-', a, '-', lpad(n::text, 12, '0'), '.parquet') AS snapshot
    FROM (
        SELECT
            n, a, TIMESTAMPTZ '{now}' - INTERVAL '150 minutes' * ({rounds} - n + 1) + INTERVAL '6 seconds' * a AS started_at,
            CASE
                WHEN n = {rounds} AND a = {audiences} THEN 'open'
                WHEN (a * 7 + n * 13) % 100 < 4 THEN 'withheld'
                WHEN (a * 7 + n * 13) % 100 < 6 THEN 'rejected'
                WHEN (a * 7 + n * 13) % 100 < 7 THEN 'unavailable'
                WHEN (a * 7 + n * 13) % 100 < 8 THEN 'interrupted'
                ELSE 'done'
            END AS state
        FROM generate_series(1, {rounds}) n, generate_series(1, {audiences}) a
        ORDER BY n, a
    ) started
"""
"""Describes every run. Of a hundred runs four are withheld, two stopped at rejections, one could not reach Windsor, and one
was cancelled; the newest run of the last audience goes on."""

ROWS: tuple[tuple[Table, str, Mapping[str, str]], ...] = (
    (
        tables.audiences,
        "WHERE n = {rounds}",
        {
            "id": "a",
            "destination": "'windsor'",
            "trait_key": "concat('audience_', a)",
            "computation_class": "'audience'",
            "name": "concat('Audience ', a)",
            "runs": "n",
            "head_run": "id",
            "created_at": "started_at - INTERVAL '90 days'",
        },
    ),
    (
        tables.snapshots,
        "",
        {
            "id": "place",
            "audience_id": "a",
            "path": "snapshot",
            "checksum": "md5(id)",
            "recipe": "md5('recipe')",
            "fingerprint": "md5(snapshot)",
            "taken_at": "started_at - INTERVAL '5 minutes'",
            "sealed_at": "started_at",
            "size_bytes": "{snapshot_bytes}",
            "rows_read": "{members}",
            "members": "{members}",
            "left_out": "json_build_object()",
        },
    ),
    (
        tables.runs,
        "",
        {
            "id": "id",
            "audience_id": "a",
            "number": "n",
            "kind": "'sync'",
            "trigger": "concat('airflow engage_audience_sync scheduled__', "
            "to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS'), '+00:00')",
            "state": "state",
            "snapshot_id": "place",
            "outbox": "outbox",
            "held": "CASE state WHEN 'withheld' THEN json_build_array('exited') ELSE json_build_array() END",
            "options": "json_build_object('withheld_because', json_build_array(), 'is_recovery', FALSE, 'to_send', changes, "
            "'turnover', json_build_object('entered', changes / 2, 'exited', changes / 2, 'updated', 0, 'moved', 0))",
            "started_at": "started_at",
            "finished_at": "CASE WHEN state <> 'open' THEN started_at + INTERVAL '9 minutes' END",
            "sentence": "'Delivered; what Windsor did not take is named below.'",
            "members_before": "{members}",
            "entered": "changes / 2",
            "exited": "changes / 2",
            "delivered": "CASE state WHEN 'withheld' THEN changes / 2 ELSE changes END - verdicts",
            "withheld": "CASE state WHEN 'withheld' THEN changes / 2 ELSE 0 END",
            "rejected": "verdicts - verdicts / 50",
            "owed": "verdicts / 50",
        },
    ),
    (
        tables.progress,
        "",
        {
            "run_id": "id",
            "shard": "0",
            "first": "0",
            "last": "changes",
            "position": "CASE state WHEN 'open' THEN changes / 2 ELSE changes END",
            "reach": "changes",
            "delivered": "changes - verdicts",
            "ended": "'done'",
        },
    ),
    (
        tables.stored_files,
        "",
        {
            "path": "outbox",
            "whole": "outbox",
            "audience_id": "a",
            "rows": "{outbox_rows}",
            "size_bytes": "{outbox_bytes}",
            "checksum": "md5(outbox)",
            "stored_at": "started_at",
        },
    ),
    (
        tables.stored_files,
        "WHERE n > {rounds} - {kept}",
        {
            "path": "snapshot",
            "whole": "snapshot",
            "audience_id": "a",
            "rows": "{members}",
            "size_bytes": "{snapshot_bytes}",
            "checksum": "md5(snapshot)",
            "stored_at": "started_at",
        },
    ),
    (
        tables.approvals,
        "WHERE state = 'withheld' AND n % 2 = 0",
        {
            "audience_id": "a",
            "run_id": "id",
            "max_exited": "changes",
            "who": "'an approver'",
            "at": "started_at + INTERVAL '1 hour'",
            "settled_at": "started_at + INTERVAL '150 minutes'",
        },
    ),
    (
        tables.audit_trail,
        "WHERE state = 'withheld'",
        {
            "at": "started_at + INTERVAL '1 hour'",
            "who": "'an approver'",
            "what": "CASE n % 2 WHEN 0 THEN 'approve' ELSE 'refuse' END",
            "subject": "concat('audience_', a)",
            "details": "json_build_object('run', id)",
        },
    ),
)
"""What the runs left in each table, with each column as SQL."""

VERDICTS = {
    "run_id": "id",
    "seq": f"k * {CHANGES_A_VERDICT} + 7",
    "verdict": "CASE k % 50 WHEN 49 THEN 'unanswered' ELSE 'rejected' END",
    "code": "CASE k % 50 WHEN 49 THEN 503 ELSE 400 END",
    "message": "CASE k % 50 WHEN 49 THEN NULL ELSE 'user.email is not a valid address' END",
    "in_doubt": "k % 100 = 99",
    "answered_at": "started_at + INTERVAL '0.5 seconds' * k",
}


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is to be."""

    audiences: int
    runs: int
    verdicts: int

    @property
    def rounds(self) -> int:
        """Return how often every audience was synced."""
        return self.runs // self.audiences

    @property
    def verdicts_a_run(self) -> int:
        """Return how many changes of each run were not a plain yes."""
        return self.verdicts // (self.rounds * self.audiences)


def fill(workspace: Workspace, size: Size, folder: Path) -> None:
    """Write the rows of every table that a run writes to, and the files that they name."""
    snapshot = _write_snapshot(folder / "snapshot.parquet")
    drafts = [write_outbox(folder / f"draft-{number}.parquet", number) for number in range(DRAFTS)]
    fill_tables(workspace.database, size, snapshot.stat().st_size, [draft.stat().st_size for draft in drafts])
    _place(workspace, drafts, snapshot)


def fill_tables(database: Database, size: Size, snapshot_bytes: int, outbox_bytes: Sequence[int]) -> None:
    """Write the rows alone."""
    words = {
        "mark": installation_mark(database.installation()),
        "now": datetime.now(UTC).isoformat(),
        "audiences": size.audiences,
        "rounds": size.rounds,
        "changes": size.verdicts_a_run * CHANGES_A_VERDICT,
        "kept": SNAPSHOTS_KEPT,
        "members": MEMBERS,
        "snapshot_bytes": snapshot_bytes,
        "outbox_rows": CHANGES,
        "outbox_bytes": f"(ARRAY{list(outbox_bytes)})[n % {len(outbox_bytes)} + 1]",
    }
    with database.engine.connect() as connection:
        connection.execute(text("SET session_replication_role = replica"))  # no look at foreign keys, row by row
        connection.execute(text("SET work_mem = '64MB'"))
        connection.execute(text(DRAFTED.format(**words)))
        for table, condition, columns in ROWS:
            plain = {name: sql.format(**words) for name, sql in columns.items()}
            _insert(connection, table, f"drafted {condition.format(**words)} ORDER BY n, a", plain)
        for table in (tables.audiences, tables.snapshots):
            newest = select(func.max(table.c.id)).scalar_subquery()
            connection.execute(select(func.setval(func.pg_get_serial_sequence(table.name, "id"), newest)))
        connection.commit()
        for number in range(1, size.rounds + 1):  # side by side: rows of all runs of a round stand among each other
            source = f"generate_series(0, {size.verdicts_a_run - 1}) k, drafted WHERE n = {number} ORDER BY k, a"
            _insert(connection, tables.verdicts, source, VERDICTS)
            connection.commit()
        connection.execute(text("DROP TABLE drafted"))
        connection.execute(text("RESET ALL"))
        connection.commit()
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))  # as autovacuum does in time


def _insert(connection: Connection, table: Table, source: str, columns: Mapping[str, str]) -> None:
    """Insert a row for each one of `source`; `columns`: each column of the table as SQL."""
    values: list[Any] = [literal_column(sql) for sql in columns.values()]
    query = select(*values).select_from(text(source))
    connection.execute(insert(table).from_select([table.c[name] for name in columns], query))


def _write_snapshot(path: Path) -> Path:
    with duckdb.connect() as connection:
        users = f"CASE i WHEN 7 THEN '{USER}' ELSE md5(i::VARCHAR) END AS user_id"
        rest = ", ".join(f"NULL::VARCHAR AS {name}" for name in ("anonymous_id", "email", "profile_id", "value"))
        query = f"SELECT {users}, {rest} FROM range({MEMBERS}) t(i) ORDER BY user_id"
        connection.execute(f"COPY ({query}) TO '{path}' ({WRITTEN_AS})")
    return path


def _place(workspace: Workspace, drafts: list[Path], snapshot: Path) -> None:
    """Give every row its file, and every newest run its mark."""
    with workspace.database.read() as connection:
        outboxes = list(connection.execute(select(tables.runs.c.outbox, tables.runs.c.number)))
        sealed = select(tables.stored_files.c.path).where(tables.stored_files.c.path.startswith("snapshots/"))
        files = [(path, drafts[number % DRAFTS]) for path, number in outboxes]
        files += [(path, snapshot) for path in connection.execute(sealed).scalars()]
        newest = list(connection.execute(select(tables.audiences)))
    for path, file in files:
        place = Path(workspace.files.location(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.hardlink_to(file)
    for row in newest:
        workspace.marks.leave(row.id, row.runs, row.head_run)
