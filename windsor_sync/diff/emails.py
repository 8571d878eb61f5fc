"""E-mails from elsewhere: what the sealed snapshots of other audiences have for users whose own snapshot has no e-mail.

A borrowed e-mail stands in a column of its own of the outbox. The sealed snapshot and what Windsor was told stay as they were,
so that no e-mail of another audience makes a change, and none that is lost unmakes one.
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb

from windsor_sync.diff.duckdb import WRITTEN_AS, define_merges
from windsor_sync.diff.statement import snapshot_view
from windsor_sync.diff.task import MergeFiles
from windsor_sync.domain.change import BORROWED_EMAIL, Change
from windsor_sync.errors import StoredFileError
from windsor_sync.storage.duckdb_engine import open_stored, parquet, quoted, stored_files

CHOSEN = {
    "first": "split_part(email, chr(10), 1)",
    "last": "string_split(email, chr(10))[-1]",
    "all": "email",
}
"""Which of the e-mails that another audience has, as SQL; by the setting `emails` of the audience that borrows."""


LACKS = f"email IS NULL AND identity IS NOT NULL AND change <> {quoted(Change.MOVED_FROM)}"
"""Which rows of an outbox need an e-mail; the old id of a person needs none."""


def lacks_emails(draft: Path) -> bool:
    """Whether an outbox has a row that needs an e-mail."""
    with open_stored() as connection:
        return connection.execute(f"SELECT 1 FROM {parquet(str(draft))} WHERE {LACKS} LIMIT 1").fetchone() is not None


def borrow_emails(
    draft: Path, lenders: Sequence[str], merges: MergeFiles, *, emails: str = "first", stamp: str = ""
) -> None:
    """Add the e-mails of `lenders` to a finished outbox, in the rows that have none of their own.

    `lenders`: locations of sealed snapshots, the newest first; one that cannot be read lends nothing. A row takes the first
    e-mail that it finds.
    """
    with open_stored() as connection:
        connection.execute(
            f"CREATE TEMP TABLE wanted AS SELECT seq, identity AS person FROM {parquet(str(draft))} WHERE {LACKS}"
        )
        connection.execute("CREATE TEMP TABLE borrowed (seq BIGINT, email VARCHAR)")
        define_merges(connection, merges)
        for lender in lenders:
            if not _is_any(connection, "wanted"):
                break
            _borrow(connection, persons(lender, has_merges=any(merges)), CHOSEN[emails])
        if _is_any(connection, "borrowed"):
            _write_again(connection, draft, stamp)


def count_without(snapshot: str, lenders: Sequence[str], merges: MergeFiles) -> int:
    """Count the persons of a sealed snapshot who have no e-mail there, nor in a lender that can be read."""
    with open_stored() as connection:
        define_merges(connection, merges)
        rows = persons(snapshot, has_merges=any(merges))
        # Eight bytes a person, not the text; two persons with the same hash would be counted as one.
        connection.execute(
            f"CREATE TEMP TABLE without AS SELECT DISTINCT hash(person) AS key FROM ({rows}) WHERE email IS NULL"
        )
        for lender in (snapshot, *lenders) if any(merges) else lenders:
            if not _is_any(connection, "without"):
                break
            found = persons(lender, has_merges=any(merges))
            _of_lender(
                connection,
                "CREATE OR REPLACE TEMP TABLE without AS SELECT key FROM without "
                f"ANTI JOIN (SELECT hash(person) AS key FROM ({found}) WHERE email IS NOT NULL) USING (key)",
            )
        [(persons_without,)] = connection.execute("SELECT count(*) FROM without").fetchall()
        return int(persons_without)


def persons(location: str, *, has_merges: bool) -> str:
    """Return the query of a sealed snapshot's persons and their e-mails: the one of the surviving id, else of the first other."""
    rows = f"({snapshot_view(parquet(location))})"
    if not has_merges:
        return f"SELECT identity AS person, email FROM {rows}"
    id_of = "m.id = coalesce(s.user_id, s.anonymous_id)"
    place = "CASE WHEN s.identity = 'u' || m.survivor THEN '0' ELSE '1' END || s.identity"
    return f"""
        SELECT s.identity AS person, s.email FROM {rows} s ANTI JOIN merges m ON {id_of}
        UNION ALL
        SELECT 'u' || m.survivor, min_by(s.email, {place}) FILTER (s.email IS NOT NULL) FROM {rows} s JOIN merges m ON {id_of}
        GROUP BY m.survivor"""


def _borrow(connection: duckdb.DuckDBPyConnection, lent: str, email: str) -> None:
    found = f"SELECT seq, {email} FROM wanted JOIN (SELECT * FROM ({lent}) WHERE email IS NOT NULL) USING (person)"
    if _of_lender(connection, f"INSERT INTO borrowed {found}"):
        connection.execute("CREATE OR REPLACE TEMP TABLE wanted AS SELECT * FROM wanted ANTI JOIN borrowed USING (seq)")


def _of_lender(connection: duckdb.DuckDBPyConnection, statement: str) -> bool:
    """Run a statement that reads a lender; False when its file is gone or damaged, which that audience's own sync says."""
    try:
        with stored_files():
            connection.execute(statement)
    except StoredFileError:
        return False
    return True


def _is_any(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    return connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None


def _write_again(connection: duckdb.DuckDBPyConnection, draft: Path, stamp: str) -> None:
    """Write the outbox again with the column of borrowed e-mails."""
    fresh = draft.with_name(f".{draft.name}.emails")
    rows = f"SELECT o.*, b.email AS {BORROWED_EMAIL} FROM {parquet(str(draft))} o LEFT JOIN borrowed b USING (seq) ORDER BY seq"
    options = ", ".join(filter(None, (WRITTEN_AS, stamp)))
    connection.execute(f"COPY ({rows}) TO {quoted(str(fresh))} ({options})")
    fresh.replace(draft)
