"""Runs `changes.sql` on one machine, in bounded memory, and seals the outcome as an outbox file."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path

import duckdb

from windsor_sync.embedded import open_duckdb, quoted
from windsor_sync.ledger import Head
from windsor_sync.outbox import COLUMNS, KINDS, Limits

ROW_GROUP_ROWS = 20_480
"""Small enough that delivery reads a stretch of an outbox without unpacking its neighbours."""

SNAPSHOT_VIEW = """
    SELECT coalesce('u' || user_id, 'a' || anonymous_id) AS identity, user_id, anonymous_id, email, value FROM {rows}
"""
NOBODY = (
    "(SELECT NULL::VARCHAR AS user_id, NULL::VARCHAR AS anonymous_id, NULL::VARCHAR AS email, NULL::VARCHAR AS value "
    "LIMIT 0)"
)


@dataclass(frozen=True, slots=True)
class DiffTask:
    """What a diff compares, and for which run."""

    head: Head | None
    """the ledger: what Windsor was told; None before the first sync"""
    snapshot: str
    """location of the sealed snapshot"""
    number: int
    """of the run the changes are for"""
    taken_at: datetime
    moment: datetime
    """now, for changes that wait for another try"""
    suppressed: tuple[str, ...] = ()
    """hex SHA-256 of the installation id and a user id"""
    salt: str = ""
    departed: tuple[str, ...] = ()
    """locations of older outboxes, whose exits a resync repeats"""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many changes a diff found, by kind and by whether they may go out."""

    rows: int
    entered: int
    exited: int
    updated: int
    deferred: int
    """rejected before and not due for another try"""
    later: int
    """left out of this run by a backfill's `--only` or `--limit`"""
    new_members: int
    """entered and to be sent in this run: what the guard looks at"""
    lost_members: int
    """told, exited and to be sent in this run"""
    told_exited: int
    """exited of those Windsor had been told are members (the others are in doubt)"""

    @property
    def changes(self) -> int:
        """All of them."""
        return self.entered + self.exited + self.updated


def diff(task: DiffTask, draft: Path) -> Tally:
    """Write the changes that turn what Windsor was told into the snapshot to `draft`, and count them."""
    with open_duckdb() as connection:
        _define_views(connection, task)
        connection.execute(
            f"COPY ({_numbered(task.limits)}) TO {quoted(str(draft))} "
            f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS})"
        )
        return tally(connection, str(draft))


def tally(connection: duckdb.DuckDBPyConnection, location: str) -> Tally:
    """Count a sealed outbox."""
    row = connection.execute(f"""
        SELECT count(*),
            count(*) FILTER (change = 'entered'),
            count(*) FILTER (change = 'exited'),
            count(*) FILTER (change = 'updated'),
            count(*) FILTER (status = 'deferred'),
            count(*) FILTER (status = 'later'),
            count(*) FILTER (change = 'entered' AND status = 'send'),
            count(*) FILTER (change = 'exited' AND was_told AND status = 'send'),
            count(*) FILTER (change = 'exited' AND was_told)
        FROM read_parquet({quoted(location)})
    """).fetchone()
    assert row is not None
    return Tally(*row)


@dataclass(frozen=True, slots=True)
class Remains:
    """What is left of an outbox after delivery, counted row by row."""

    owed: int
    withheld: int
    rejected: int
    in_doubt: int
    """of all these"""


def remains(head: Head) -> Remains:
    """Count what Windsor has not acknowledged of the ledger's outbox."""
    if head.outbox is None:
        return Remains(0, 0, 0, 0)
    with open_duckdb() as connection:
        define_ledger(connection, head)
        row = connection.execute("""
            SELECT
                count(*) FILTER (o.status = 'later' OR (o.status = 'send' AND (v.verdict IS NULL OR v.verdict = 'unanswered'))),
                count(*) FILTER (o.status = 'withheld' OR v.verdict = 'suppressed'),
                count(*) FILTER (o.status = 'deferred' OR v.verdict = 'rejected'),
                count(*) FILTER (o.in_doubt OR coalesce(v.in_doubt, FALSE)
                    OR (o.status = 'send' AND v.verdict IS NULL AND o.seq >= p.position AND o.seq < p.reach))
            FROM outbox_before o
            LEFT JOIN progress_before p ON o.seq >= p.first AND o.seq < p.last
            LEFT JOIN verdicts_before v ON o.seq = v.seq
            WHERE o.status <> 'send' OR v.verdict <> 'delivered' OR (v.verdict IS NULL AND o.seq >= p.position)
        """).fetchone()
    assert row is not None
    return Remains(*row)


@cache
def changes_sql() -> str:
    """The statement, shared by every engine."""
    return resources.files("windsor_sync.diff").joinpath("changes.sql").read_text(encoding="utf-8")


def _numbered(limits: Limits) -> str:
    """The rows of an outbox: changes in the order they will be sent, with what a backfill leaves for later marked."""
    later = []
    if limits.only:
        kinds = ", ".join(quoted(kind) for kind in KINDS[limits.only])
        later.append(f"change NOT IN ({kinds})")
    if limits.count is not None:
        sent = (
            "count(*) FILTER (status = 'send'"
            + (f" AND NOT ({later[0]})" if later else "")
            + ") OVER (ROWS UNBOUNDED PRECEDING)"
        )
        later.append(f"{sent} > {limits.count}")
    status = f"CASE WHEN status = 'send' AND ({' OR '.join(later)}) THEN 'later' ELSE status END" if later else "status"
    columns = ", ".join(name for name in COLUMNS if name not in {"seq", "status"})
    return f"""
        SELECT row_number() OVER () - 1 AS seq, {columns}, {status} AS status
        FROM ({changes_sql()})
        WHERE change <> 'exited'
           OR sha256((SELECT salt FROM run) || coalesce(user_id, anonymous_id)) NOT IN (SELECT user_hash FROM suppressed)
    """


def _define_views(connection: duckdb.DuckDBPyConnection, task: DiffTask) -> None:
    head = task.head
    _view(connection, "snapshot_now", SNAPSHOT_VIEW.format(rows=f"read_parquet({quoted(task.snapshot)})"))
    before = f"read_parquet({quoted(head.snapshot)})" if head and head.snapshot else NOBODY
    _view(connection, "snapshot_before", SNAPSHOT_VIEW.format(rows=before))
    define_ledger(connection, head)
    _view(connection, "departed", _departed(task.departed))
    connection.execute("CREATE TABLE suppressed (user_hash VARCHAR)")
    if task.suppressed:
        connection.execute("INSERT INTO suppressed SELECT unnest(?)", [list(task.suppressed)])
    limits, retry = task.limits, task.limits.retry
    row = {
        "number": ("INTEGER", task.number),
        "taken_at": ("TIMESTAMP", _naive(task.taken_at)),
        "moment": ("TIMESTAMP", _naive(task.moment)),
        "previous_number": ("INTEGER", head.number if head else 0),
        "is_resync": ("BOOLEAN", limits.is_resync),
        "drops_exits": ("BOOLEAN", limits.drops_exits),
        "retries": ("BOOLEAN", retry is not None),
        "retry_code": ("INTEGER", retry.code if retry else None),
        "retry_since": ("TIMESTAMP", _naive(retry.since) if retry and retry.since else None),
        "salt": ("VARCHAR", task.salt),
    }
    columns = ", ".join(f"?::{kind} AS {name}" for name, (kind, _) in row.items())
    connection.execute(f"CREATE TABLE run AS SELECT {columns}", [value for _, value in row.values()])


def define_ledger(connection: duckdb.DuckDBPyConnection, head: Head | None) -> None:
    """The views outbox_before, progress_before and verdicts_before of `changes.sql`."""
    _view(connection, "outbox_before", _outbox_before(head))
    _define_answers(connection, head)


def _view(connection: duckdb.DuckDBPyConnection, name: str, select: str) -> None:
    connection.execute(f"CREATE VIEW {name} AS {select}")


def _outbox_before(head: Head | None) -> str:
    if head is None or head.outbox is None:
        return "SELECT " + ", ".join(f"NULL::{kind} AS {name}" for name, kind in COLUMNS.items()) + " LIMIT 0"
    held = ", ".join(quoted(kind) for kind in head.held) or "''"
    return (
        f"SELECT * REPLACE (CASE WHEN status = 'send' AND change IN ({held}) THEN 'withheld' ELSE status END AS status) "
        f"FROM read_parquet({quoted(head.outbox)})"
    )


def _define_answers(connection: duckdb.DuckDBPyConnection, head: Head | None) -> None:
    connection.execute("CREATE TABLE progress_before (first BIGINT, last BIGINT, position BIGINT, reach BIGINT)")
    connection.execute(
        "CREATE TABLE verdicts_before (seq BIGINT, verdict VARCHAR, code INTEGER, in_doubt BOOLEAN, answered_at TIMESTAMP)"
    )
    if head is None:
        return
    if head.shards:
        rows = [[shard.first, shard.last, shard.position, shard.reach] for shard in head.shards]
        connection.executemany("INSERT INTO progress_before VALUES (?, ?, ?, ?)", rows)
    if head.verdicts:
        columns = zip(
            *((v.seq, v.verdict.value, v.code, v.in_doubt, _naive(v.answered_at)) for v in head.verdicts), strict=True
        )
        connection.execute(
            "INSERT INTO verdicts_before SELECT unnest(?), unnest(?), unnest(?), unnest(?), unnest(?)",
            [list(column) for column in columns],
        )


def _departed(outboxes: tuple[str, ...]) -> str:
    if not outboxes:
        return f"SELECT NULL::VARCHAR AS identity, user_id, anonymous_id, email FROM {NOBODY}"
    files = ", ".join(quoted(location) for location in outboxes)
    return f"""
        SELECT
            identity, any_value(user_id) AS user_id, any_value(anonymous_id) AS anonymous_id,
            arg_max(email, since_run) AS email
        FROM read_parquet([{files}]) WHERE change = 'exited' AND identity IS NOT NULL GROUP BY identity
    """


def _naive(moment: datetime) -> datetime:
    """DuckDB's TIMESTAMP has no zone; ours are UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None)
