"""Runs the diff on one machine, in bounded memory, and seals the outcome as an outbox file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from windsor_sync.diff import statement
from windsor_sync.diff.task import DiffTask, MergeFiles, Tally
from windsor_sync.domain.change import COLUMNS, Turnover
from windsor_sync.domain.identity import BATCH_ALIASES, Alias
from windsor_sync.state.ledger import Answers, Head
from windsor_sync.storage.duckdb_engine import columns_of, open_stored, parquet, parquet_files, quoted

__all__ = [
    "DiffTask",
    "Remains",
    "Tally",
    "define_answers",
    "define_ledger",
    "duckdb_diff",
    "remains",
    "small_table",
    "tally",
]

ROW_GROUP_ROWS = 20_480
"""Small enough that delivery reads a stretch of an outbox without unpacking its neighbours."""
WRITTEN_AS = f"FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE {ROW_GROUP_ROWS}"

KEY_HASH = "hash({})"
"""Of the id alone, without saying whose it is: to put 'u' or 'a' before ten million texts takes half a second."""
MEMBER = dict.fromkeys(("user_id", "anonymous_id", "email", "profile_id", "value"), "VARCHAR")
FILE_ROW = "file_row_number::UINTEGER AS file_row"
"""Where a member stands in its file; four bytes, since every member's goes through a join."""
ROW_OF = {"snapshot_now": "row_now", "snapshot_before": "row_before"}
"""By which column of `suspects` a snapshot's rows are found."""


def duckdb_diff(task: DiffTask, draft: Path) -> Tally:
    """Write the changes that turn what Windsor was told into the snapshot to `draft`, and count them."""
    with open_stored() as connection:
        define_views(connection, task)
        merged = narrow(connection, task)
        changes = statement.sendable(
            task.limits,
            statement.changes_sql(),
            has_protected=bool(task.protected),
            has_suppressed=bool(task.suppressed),
        )
        write(connection, changes, draft, task.stamp, has_false=task.may_tell_false)
        found = f"SELECT identity, change, since_run FROM {parquet(str(draft))}"
        _view(connection, "found_changes", found)
        return replace(tally(connection, str(draft)), merged=merged, turnover=_turnover(connection, task, merged))


def _turnover(connection: duckdb.DuckDBPyConnection, task: DiffTask, merged: int) -> Turnover | None:
    """Count who differs from the snapshot before; a narrowed pair of snapshots has them all."""
    if task.head is not None and task.head.snapshot is None:
        return None
    if task.head is None:
        [(rows,)] = connection.execute("SELECT count(*) FROM snapshot_now").fetchall()
        return Turnover(entered=int(rows) - merged)
    [counts] = connection.execute(statement.sql("turnover")).fetchall()
    return Turnover(*counts)


def write(
    connection: duckdb.DuckDBPyConnection, changes: str, draft: Path, stamp: str = "", *, has_false: bool = True
) -> None:
    """Number the changes and write them as an outbox, with its stamp; the kinds of FALSE_FIRST come before the others.

    Without `has_false` no change is of these kinds, so rows are numbered as they come and none is held.
    """
    rows = _false_first(changes) if has_false else _numbered(f"({changes})")
    connection.execute(f"COPY ({rows}) TO {quoted(str(draft))} ({', '.join(filter(None, (WRITTEN_AS, stamp)))})")


def _false_first(changes: str) -> str:
    first = f"found WHERE {statement.SAYS_FALSE}"
    others = f"found WHERE NOT {statement.SAYS_FALSE}"
    return f"""
        WITH found AS MATERIALIZED ({changes})
        {_numbered(first)} UNION ALL {_numbered(others, f"(SELECT count(*) FROM {first})")}
    """


def _numbered(rows: str, start: str = "0") -> str:
    return f"SELECT {start} + row_number() OVER () - 1 AS seq, {', '.join(statement.outbox_columns())} FROM {rows}"


def tally(connection: duckdb.DuckDBPyConnection, location: str) -> Tally:
    """Count a sealed outbox."""
    row = connection.execute(f"""
        SELECT count(*),
            count(*) FILTER ({statement.SAYS_FALSE}),
            count(*) FILTER (change = 'entered'),
            count(*) FILTER (change = 'exited'),
            count(*) FILTER (change = 'updated'),
            count(*) FILTER (status = 'deferred'),
            count(*) FILTER (status = 'later'),
            count(*) FILTER (change = 'entered' AND status = 'send'),
            count(*) FILTER (change = 'exited' AND was_told AND status = 'send'),
            count(*) FILTER (change = 'exited' AND was_told),
            count(*) FILTER (change = 'moved'),
            count(*) FILTER (change = 'moved_from')
        FROM {parquet(location)}
    """).fetchone()
    assert row is not None
    return Tally(*row)


@dataclass(frozen=True, slots=True)
class Remains:
    """Counts of the rows of an outbox by their fate after delivery."""

    owed: int
    withheld: int
    rejected: int
    in_doubt: int
    """of all these"""
    later: int = 0
    """of what is owed: what a backfill's limits leave to the next sync"""
    untold: int = 0
    """members whom Windsor was never told of"""
    still_true: int = 0
    """users who are no members any more, and whom Windsor has as true"""


def remains(head: Head) -> Remains:
    """Count what Windsor has not acknowledged of the ledger's outbox."""
    if head.outbox is None:
        return Remains(0, 0, 0, 0)
    with open_stored() as connection:
        define_ledger(connection, head)
        row = connection.execute(f"""
            SELECT
                count(*) FILTER (o.status = 'later' OR (o.status = 'send' AND (v.verdict IS NULL OR v.verdict = 'unanswered'))),
                count(*) FILTER (o.status = 'withheld' OR v.verdict = 'suppressed'),
                count(*) FILTER (o.status = 'deferred' OR v.verdict = 'rejected'),
                count(*) FILTER (o.was_sent OR coalesce(v.in_doubt, FALSE)
                    OR (o.status = 'send' AND v.verdict IS NULL AND o.seq >= p.position AND o.seq < p.reach)),
                count(*) FILTER (o.status = 'later'),
                count(*) FILTER (o.identity IS NOT NULL AND NOT {statement.SAYS_FALSE} AND NOT o.was_told),
                count(*) FILTER (o.identity IS NOT NULL AND {statement.SAYS_FALSE} AND o.was_told)
            FROM outbox_before o
            LEFT JOIN progress_before p ON o.seq >= p.first AND o.seq < p.last
            LEFT JOIN verdicts_before v ON o.seq = v.seq
            WHERE o.status <> 'send' OR v.verdict <> 'delivered' OR (v.verdict IS NULL AND o.seq >= p.position)
        """).fetchone()
    assert row is not None
    return Remains(*row)


def told_false(head: Head, outboxes: Sequence[str], merges: MergeFiles) -> int:
    """Count the users who are false in Windsor, by what it acknowledged of `outboxes`: all that are kept of the audience.

    Merged ids count as one user, as in Windsor.
    """
    query = FALSE_NOW.format(
        outboxes=parquet_files(outboxes), snapshot=parquet(head.snapshot or ""), says_false=statement.SAYS_FALSE
    )
    with open_stored() as connection:
        define_ledger(connection, head)
        define_merges(connection, merges)
        [(number,)] = connection.execute(query).fetchall()
    return int(number)


FALSE_NOW = """
    WITH left_once AS (SELECT DISTINCT identity FROM {outboxes} WHERE {says_false} AND identity IS NOT NULL),
    unanswered AS (
        SELECT o.identity, o.change, o.was_told
        FROM outbox_before o
        LEFT JOIN progress_before p ON o.seq >= p.first AND o.seq < p.last
        LEFT JOIN verdicts_before v ON o.seq = v.seq
        WHERE o.status <> 'send' OR v.verdict <> 'delivered' OR (v.verdict IS NULL AND o.seq >= p.position)
    ),
    members AS (
        SELECT coalesce('u' || user_id, 'a' || anonymous_id) AS identity FROM {snapshot}
        EXCEPT SELECT identity FROM unanswered WHERE NOT {says_false} AND NOT was_told
        UNION ALL SELECT identity FROM unanswered WHERE {says_false}
    ),
    persons AS (
        SELECT coalesce('u' || m.survivor, identity) AS person, is_member
        FROM (SELECT identity, FALSE AS is_member FROM left_once UNION ALL SELECT identity, TRUE FROM members)
        LEFT JOIN merges m ON m.id = identity[2:]
    )
    SELECT count(*) FROM (SELECT person FROM persons GROUP BY person HAVING NOT bool_or(is_member))
"""
"""Counts the persons with a planned exit, without those who are true in Windsor or whose exit Windsor did not acknowledge."""


def acknowledged_joins(head: Head) -> Iterator[list[Alias]]:
    """Yield the pairs of ids that became one person because Windsor acknowledged an identify of the run with both."""
    if head.outbox is None:
        return
    both = "o.change = 'moved' AND o.user_id IS NOT NULL AND o.anonymous_id IS NOT NULL"
    with open_stored() as connection:
        define_ledger(connection, head)
        yield from acknowledged(connection, "o.anonymous_id, o.user_id, TRUE", both)


def acknowledged(connection: duckdb.DuckDBPyConnection, alias: str, condition: str) -> Iterator[list[Alias]]:
    """Yield what Windsor acknowledged of the ledger's outbox, in order; `alias`: an Alias' fields as SQL over a row `o`."""
    found = connection.execute(f"""
        SELECT {alias}
        FROM outbox_before o
        LEFT JOIN progress_before p ON o.seq >= p.first AND o.seq < p.last
        LEFT JOIN verdicts_before v ON o.seq = v.seq
        WHERE ({condition}) AND o.status = 'send' AND (v.verdict = 'delivered' OR (v.verdict IS NULL AND o.seq < p.position))
        ORDER BY o.seq
    """)
    while rows := found.fetchmany(BATCH_ALIASES):
        yield [Alias(*row) for row in rows]


def define_views(connection: duckdb.DuckDBPyConnection, task: DiffTask) -> None:
    """Everything that `changes.sql` reads."""
    connection.execute(
        "SET preserve_insertion_order = false"
    )  # an outbox has none of its own; to keep one costs threads
    head = task.head
    _view(connection, "snapshot_before", _members(head.snapshot if head else None))
    _view(connection, "snapshot_now", _members(task.snapshot))
    define_ledger(connection, head)
    define_merges(connection, task.merges)
    types = {"identity": "VARCHAR", **{name: MEMBER[name] for name in ("user_id", "anonymous_id", "email")}}
    _view(connection, "departed", statement.departed(task.departed, parquet, types))
    for name, users in (("suppressed", task.suppressed.hashes), ("protected", task.protected)):
        small_table(connection, name, {"user_hash": "VARCHAR"}, [(user_hash,) for user_hash in users])
    small_table(connection, "run", statement.RUN, [statement.run_row(task)])
    connection.execute(f"CREATE TEMP TABLE owed AS {statement.sql('owed')}")


def narrow(connection: duckdb.DuckDBPyConnection, task: DiffTask, key_hash: str = KEY_HASH) -> int:
    """Take unchanged users out of both snapshots and of `merges`, before any text is joined.

    A resync and the first sync keep everyone. Returns how many rows of the snapshot are further rows of one person.
    """
    if task.limits.is_resync or task.head is None or task.head.snapshot is None:
        return _count_merged(connection, "snapshot_now") if any(task.merges) else 0
    key = key_hash.format("coalesce(user_id, anonymous_id)")
    key_of_owed = key_hash.format("substr(identity, 2)")
    suspects = statement.sql("suspects").format(key=key, key_of_owed=key_of_owed)
    connection.execute(f"CREATE TEMP TABLE suspects AS {suspects}")
    few_merges = statement.sql("kin").format(key=key_hash.format("id"), key_of_owed=key_of_owed)
    connection.execute(f"CREATE TEMP TABLE few_merges AS {few_merges}")
    keys_of_kin = f"SELECT {key_hash.format('id')} FROM few_merges"
    for name, row in ROW_OF.items():
        kin = f" UNION SELECT file_row FROM {name} WHERE {key} IN ({keys_of_kin})" if any(task.merges) else ""
        _keep(connection, name, f"file_row IN (SELECT {row} FROM suspects{kin})")
    if _mistakes_one_for_another(connection):
        for name in ROW_OF:
            _keep(connection, name, f"{key} IN (SELECT key FROM suspects UNION {keys_of_kin})")
    _add_those_found_again(connection, key, key_hash.format("id"))
    merged = _merged_since(connection, task.head) if any(task.merges) else 0
    connection.execute("CREATE OR REPLACE TEMP VIEW merges AS FROM few_merges")
    for name in ROW_OF:
        connection.execute(f"DROP VIEW {name}")
        connection.execute(f"ALTER TABLE few_{name} RENAME TO {name}")
    connection.execute("DROP TABLE suspects")
    return merged


def _merged_since(connection: duckdb.DuckDBPyConnection, head: Head) -> int:
    """Return what `_count_merged` does; without new merges, from the last run's count and the rows that changed."""
    if connection.execute(f"SELECT 1 FROM few_merges WHERE number > {head.merges} LIMIT 1").fetchall():
        return _count_merged(connection, "snapshot_now")
    now, before = (
        _count_merged(connection, f"few_{name}", "few_merges") for name in ("snapshot_now", "snapshot_before")
    )
    return head.merged + now - before


def _add_those_found_again(connection: duckdb.DuckDBPyConnection, key: str, key_of_id: str) -> None:
    """Add the rows of users with the anonymous id or the profile of a user who left: the two may be one person."""
    connection.execute("""
        CREATE TEMP TABLE gone AS
        SELECT b.user_id, b.anonymous_id, b.profile_id FROM few_snapshot_before b ANTI JOIN few_snapshot_now n USING (identity)
        UNION ALL
        SELECT o.user_id, o.anonymous_id, CASE WHEN o.change = 'moved_from' AND o.user_id IS NOT NULL THEN o.told_anonymous_id END
        FROM owed o ANTI JOIN few_snapshot_now n USING (identity)
    """)
    wanted = {
        "anonymous_id": "SELECT anonymous_id FROM gone WHERE user_id IS NULL AND anonymous_id IS NOT NULL",
        "profile_id": f"SELECT {statement.DUCKDB.lines.format('profile_id')} FROM gone WHERE profile_id IS NOT NULL",
    }
    for column, query in wanted.items():
        if not connection.execute(f"{query} LIMIT 1").fetchall():
            continue
        ids = statement.DUCKDB.lines.format(column)
        connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE found AS
            SELECT {key} AS key FROM (SELECT user_id, anonymous_id, {ids} AS id FROM snapshot_now WHERE {column} IS NOT NULL)
            WHERE id IN ({query})
        """)
        connection.execute(f"""
            INSERT INTO few_merges SELECT id, survivor, number FROM merges
            WHERE survivor IN (SELECT survivor FROM merges WHERE {key_of_id} IN (SELECT key FROM found))
              AND survivor NOT IN (SELECT survivor FROM few_merges)
        """)
        connection.execute(f"INSERT INTO found SELECT {key_of_id} FROM few_merges")
        for name in ROW_OF:
            connection.execute(f"""
                INSERT INTO few_{name} SELECT * FROM {name}
                WHERE {key} IN (SELECT key FROM found) AND file_row NOT IN (SELECT file_row FROM few_{name})
            """)


def _count_merged(connection: duckdb.DuckDBPyConnection, snapshot: str, merges: str = "merges") -> int:
    """Count the further rows of persons who have several rows in a snapshot."""
    [(rows,)] = connection.execute(statement.MERGED.format(snapshot=snapshot, merges=merges)).fetchall()
    return int(rows)


def _keep(connection: duckdb.DuckDBPyConnection, name: str, condition: str) -> None:
    connection.execute(f"CREATE OR REPLACE TEMP TABLE few_{name} AS SELECT * FROM {name} WHERE {condition}")


def _mistakes_one_for_another(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether a user of one snapshot was put beside another user of the other one, whose hash is the same.

    Such a collision can hide a changed user, so every user with a suspect hash is loaded again.
    """
    [(mistaken,)] = connection.execute("""
        SELECT count(*) FROM suspects
        JOIN few_snapshot_now n ON n.file_row = row_now JOIN few_snapshot_before b ON b.file_row = row_before
        WHERE n.identity <> b.identity
    """).fetchall()
    return bool(mistaken)


def define_merges(connection: duckdb.DuckDBPyConnection, files: MergeFiles) -> None:
    """Define the view `merges` of `changes.sql`, over the views merges_base and merges_recent."""
    for name, location in zip(files._fields, files, strict=True):
        rows = statement.nobody(statement.MERGES) if location is None else f"SELECT * FROM {parquet(location)}"
        _view(connection, f"merges_{name}", rows)
    _view(connection, "merges", statement.merges_sql(files))


def define_ledger(connection: duckdb.DuckDBPyConnection, head: Head | None) -> None:
    """The views outbox_before, progress_before and verdicts_before of `owed.sql`."""
    _view(connection, "outbox_before", _outbox_before(connection, head))
    define_answers(connection, [(0, head)] if head else [])


def define_answers(connection: duckdb.DuckDBPyConnection, answers: Sequence[tuple[int, Head | Answers]]) -> None:
    """Make progress_before and verdicts_before from the answers of runs; each comes with the number of its run's first row."""
    parts = [row for start, of_run in answers for row in statement.progress_rows(of_run, start)]
    small_table(connection, "progress_before", statement.PROGRESS, parts)
    verdicts = [row for start, of_run in answers for row in statement.verdict_rows(of_run, start)]
    small_table(connection, "verdicts_before", statement.VERDICTS, verdicts)


def _members(location: str | None) -> str:
    if location is None:
        return statement.snapshot_view(f"({statement.nobody(MEMBER)})", "NULL::UINTEGER AS file_row")
    return statement.snapshot_view(parquet(location, "file_row_number = true"), FILE_ROW)


def _outbox_before(connection: duckdb.DuckDBPyConnection, head: Head | None) -> str:
    if head is None or head.outbox is None:
        return statement.nobody(COLUMNS)
    sent = statement.sent_before(columns_of(connection, head.outbox))
    rows = f"SELECT * REPLACE ({statement.status_before(head.held)} AS status) FROM {parquet(head.outbox)}"
    return rows if sent == "was_sent" else f"SELECT *, {sent} FROM ({rows})"


def _view(connection: duckdb.DuckDBPyConnection, name: str, select: str) -> None:
    connection.execute(f"CREATE TEMP VIEW {name} AS {select}")


def small_table(
    connection: duckdb.DuckDBPyConnection, name: str, columns: dict[str, str], rows: Sequence[Sequence[object]]
) -> None:
    """A small table; its columns travel as lists, since rows one by one take far longer."""
    connection.execute(
        f"CREATE TEMP TABLE {name} ({', '.join(f'{column} {kind}' for column, kind in columns.items())})"
    )
    if rows:
        values = ", ".join(f"unnest(?::{kind}[])" for kind in columns.values())
        connection.execute(f"INSERT INTO {name} SELECT {values}", [list(column) for column in zip(*rows, strict=True)])
