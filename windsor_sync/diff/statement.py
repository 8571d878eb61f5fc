"""The SQL that every engine runs, and what its views are made of."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources

from windsor_sync.diff.task import DiffTask, MergeFiles, Record
from windsor_sync.domain.change import COLUMNS, FALSE_FIRST, KINDS, Limits
from windsor_sync.domain.suppression import keyed_sql
from windsor_sync.state.ledger import Answers, Head
from windsor_sync.storage.duckdb_engine import quoted

PROGRESS = {"first": "BIGINT", "last": "BIGINT", "position": "BIGINT", "reach": "BIGINT"}
VERDICTS = {
    "seq": "BIGINT",
    "verdict": "VARCHAR",
    "code": "INTEGER",
    "in_doubt": "BOOLEAN",
    "answered_at": "TIMESTAMP",
}
RUN = {
    "number": "INTEGER",
    "taken_at": "TIMESTAMP",
    "moment": "TIMESTAMP",
    "previous_number": "INTEGER",
    "is_resync": "BOOLEAN",
    "is_recovery": "BOOLEAN",
    "drops_exits": "BOOLEAN",
    "retries": "BOOLEAN",
    "retry_code": "INTEGER",
    "retry_since": "TIMESTAMP",
    "salt": "VARCHAR",
    "inside": "VARCHAR",
    "outside": "VARCHAR",
    "merges_seen": "BIGINT",
    "joins": "BOOLEAN",
}
MERGES = {"id": "VARCHAR", "survivor": "VARCHAR", "number": "INTEGER", "since": "TIMESTAMP"}


SAYS_FALSE = f"change IN ({', '.join(quoted(change) for change in sorted(FALSE_FIRST))})"

MERGED = """
    WITH listed AS (
        SELECT m.id, m.survivor FROM {snapshot} s JOIN {merges} m ON m.id = coalesce(s.user_id, s.anonymous_id)
        WHERE m.id <> m.survivor
    ),
    persons AS (SELECT DISTINCT survivor FROM listed)
    SELECT
        (SELECT count(*) FROM listed) - (SELECT count(*) FROM persons)
        + (SELECT count(*) FROM {snapshot} s JOIN persons p ON p.survivor = coalesce(s.user_id, s.anonymous_id))
"""
"""Counts the further rows of persons who have several rows in the snapshot."""


@cache
def sql(name: str) -> str:
    """A statement of this folder."""
    return resources.files("windsor_sync.diff").joinpath(f"{name}.sql").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Dialect:
    """Expressions over {} that each engine writes in its own dialect."""

    sha256: str = "sha256({})"
    """hex"""
    to_bytes: str = "encode({})"
    lines: str = "unnest(string_split({}, chr(10)))"
    """yields a row for each line of a text"""


DUCKDB = Dialect()


def steps(text: str) -> Iterator[tuple[str, str]]:
    """Yield the named selects of a statement's WITH in their order, then the last select with an empty name."""
    end = 0
    for found in _STEP.finditer(text):
        yield found["name"], found["select"]
        end = found.end()
    yield "", text[end:]


_STEP = re.compile(r"^(?:WITH )?(?P<name>\w+) AS \($(?P<select>.*?)^\),?$", re.MULTILINE | re.DOTALL)


def changes_sql(dialect: Dialect = DUCKDB) -> str:
    """Return the statement that finds all changes."""
    split = {"anonymous_ids": "anonymous_id", "profile_ids": "profile_id", "told_profile_ids": "told_profile_id"}
    changes = sql("changes")
    for name, column in split.items():
        changes = changes.replace(f"{{{name}}}", dialect.lines.format(column))
    return changes


def merges_sql(files: MergeFiles) -> str:
    """Return the query of all known merges, over the views merges_base and merges_recent; one file needs no join."""
    if files.recent is None:
        return "SELECT * FROM merges_base"
    return sql("merges")


def snapshot_view(rows: str, *also: str) -> str:
    """A sealed snapshot as the statement reads it; `also`: columns that one engine needs beside."""
    columns = ", ".join(["user_id", "anonymous_id", "email", "profile_id", "value", *also])
    return f"SELECT coalesce('u' || user_id, 'a' || anonymous_id) AS identity, {columns} FROM {rows}"


def outbox_columns() -> list[str]:
    """The columns of an outbox without `seq`, which numbers its rows."""
    return [name for name in COLUMNS if name != "seq"]


def sendable(
    limits: Limits,
    changes: str,
    dialect: Dialect = DUCKDB,
    *,
    has_protected: bool = False,
    has_suppressed: bool = False,
) -> str:
    """Return the query of an outbox's rows without their numbers; changes that a backfill leaves for later are marked.

    A change that would tell a protected user false is withheld, whatever is approved.

    Which changes a limit lets through is decided by identity, so that a plan and its run, and every engine, agree.
    """
    later = []
    if limits.only:
        kinds = ", ".join(quoted(kind) for kind in KINDS[limits.only])
        later.append(f"change NOT IN ({kinds})")
    if limits.count is not None:
        counts = " AND ".join(["status = 'send'", *(f"NOT ({condition})" for condition in later)])
        so_far = f"sum(CASE WHEN {counts} THEN 1 ELSE 0 END) OVER (ORDER BY identity ROWS UNBOUNDED PRECEDING)"
        later.append(f"{so_far} > {limits.count}")
    status = f"CASE WHEN status = 'send' AND ({' OR '.join(later)}) THEN 'later' ELSE status END" if later else "status"
    columns = ", ".join(name for name in outbox_columns() if name != "status")
    sha256 = dialect.sha256
    user_hash = sha256.format("(SELECT salt FROM run) || coalesce(user_id, anonymous_id)")
    changes = f"({changes})"
    if has_protected:
        # A join, since Spark takes no subquery here. A person may be listed under any id that was merged into theirs.
        changes = f"""(
            WITH found AS {changes},
            leaving AS (SELECT coalesce(user_id, anonymous_id) AS survivor, {user_hash} AS user_hash FROM found WHERE {SAYS_FALSE}
                UNION SELECT m.survivor, {sha256.format("(SELECT salt FROM run) || m.id")}
                FROM merges m JOIN found c ON c.user_id = m.survivor WHERE {SAYS_FALSE})
            SELECT {columns}, CASE WHEN p.survivor IS NULL THEN c.status ELSE 'withheld' END AS status
            FROM found c LEFT JOIN (SELECT DISTINCT survivor FROM leaving JOIN protected USING (user_hash)) p
                ON {SAYS_FALSE} AND p.survivor = coalesce(c.user_id, c.anonymous_id))"""
    told = f"SELECT {columns}, {status} AS status FROM {changes}"
    if not has_suppressed:
        return told
    pads = "(SELECT inside FROM run)", "(SELECT outside FROM run)"
    keyed = keyed_sql(user_hash, *pads, sha256, dialect.to_bytes)
    return f"{told} WHERE change IN ('entered', 'updated') OR {keyed} NOT IN (SELECT user_hash FROM suppressed)"


def departed(records: Sequence[Record], table: Callable[[str], str], types: Mapping[str, str]) -> str:
    """Return a select over `records` of the users who were once told true.

    `table` makes a location a table, `types` names its columns.
    """
    if not records:
        return nobody({**types, "was_told": "BOOLEAN"})
    rows = " UNION ALL ".join(_of_record(record, table) for record in records)
    return f"""
        SELECT
            identity, any_value(user_id) AS user_id, any_value(anonymous_id) AS anonymous_id,
            max_by(email, number) AS email, max_by(is_member, number) AS was_told
        FROM ({rows}) AS records WHERE identity IS NOT NULL GROUP BY identity
    """


def _of_record(record: Record, table: Callable[[str], str]) -> str:
    columns, rows = "user_id, anonymous_id, email", table(record.location)
    if record.is_snapshot:
        identity = "coalesce('u' || user_id, 'a' || anonymous_id)"
        untold = f"WHERE {identity} NOT IN ({_untold(record.rest, table)})" if record.rest else ""
        return f"SELECT {identity} AS identity, {columns}, TRUE AS is_member, {record.number} AS number FROM {rows} {untold}"
    if not record.sent:
        return (
            f"SELECT identity, {columns}, FALSE AS is_member, {record.number} AS number FROM {rows} WHERE {SAYS_FALSE}"
        )
    sent = _were_sent(record)
    is_told = f"NOT ({sent if record.is_sure else 'FALSE'})"
    return f"""
        SELECT identity, {columns}, NOT {SAYS_FALSE} OR {is_told} AS is_member, {record.number} AS number
        FROM {rows} WHERE {SAYS_FALSE} OR was_told OR in_doubt OR {sent}
    """


def _untold(outbox: Record, table: Callable[[str], str]) -> str:
    """Return the query of users whose entry is in an outbox and was not sent yet."""
    return f"""
        SELECT identity FROM {table(outbox.location)}
        WHERE identity IS NOT NULL AND change IN ('entered', 'moved') AND NOT was_told AND NOT in_doubt
          AND NOT ({_were_sent(outbox)})
    """


def _were_sent(outbox: Record) -> str:
    """Return the SQL condition of the rows that may have been sent."""
    held = "".join(f" AND change <> {quoted(kind)}" for kind in outbox.held)
    return (
        " OR ".join(f"(seq >= {first} AND seq < {last} AND status = 'send'{held})" for first, last in outbox.sent)
        or "FALSE"
    )


def run_row(task: DiffTask) -> list[object]:
    """The one row of `run`."""
    limits, retry = task.limits, task.limits.retry
    return [
        task.number,
        naive(task.taken_at),
        naive(task.moment),
        task.head.number if task.head else 0,
        limits.is_resync,
        limits.is_recovery,
        limits.drops_exits,
        retry is not None,
        retry.code if retry else None,
        naive(retry.since) if retry and retry.since else None,
        task.salt,
        *task.suppressed.hash.pads,
        task.merges_seen,
        task.joins,
    ]


def progress_rows(answers: Head | Answers | None, start: int = 0) -> list[tuple[object, ...]]:
    """Return the rows of `progress_before`, where `start` is the number of the outbox's first row."""
    shards = answers.shards if answers else ()
    return [tuple(start + place for place in part) for shard in shards for part in shard.parts()]


def verdict_rows(answers: Head | Answers | None, start: int = 0) -> list[tuple[object, ...]]:
    """Return the rows of `verdicts_before`, where `start` is the number of the outbox's first row."""
    verdicts = answers.verdicts if answers else ()
    return [(start + v.seq, v.verdict.value, v.code, v.in_doubt, naive(v.answered_at)) for v in verdicts]


def sent_before(columns: Collection[str]) -> str:
    """Return `was_sent` of the last outbox as SQL over its `columns`; an older outbox has only `in_doubt`."""
    return "was_sent" if "was_sent" in columns else "in_doubt AS was_sent"


def status_before(held: Iterable[str]) -> str:
    """Return SQL for the status of a row of an outbox: `held` are the kinds of change that the guard withheld."""
    kinds = ", ".join(map(quoted, held)) or "''"
    return f"CASE WHEN status = 'send' AND change IN ({kinds}) THEN 'withheld' ELSE status END"


def nobody(columns: dict[str, str]) -> str:
    """A select without rows."""
    return "SELECT " + ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in columns.items()) + " LIMIT 0"


def naive(moment: datetime) -> datetime:
    """A TIMESTAMP has no zone; ours are UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None)
