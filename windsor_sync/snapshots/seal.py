"""Seal a snapshot: one row a user, checked, counted, written once, known by a checksum of its content.

The source is evaluated once, into a draft; what is left out and who occurs twice is found in the draft's narrow columns.
Where that is nothing and nobody, the draft is the sealed file; otherwise it is written again without them.

Memory is bounded by the engine's limit. Duplicates are looked for among 64-bit hashes of the ids, and only users whose
hash occurs twice are looked at more closely; the wide rows are never sorted.
"""

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import duckdb

from windsor_sync.domain.labels import counted
from windsor_sync.domain.suppression import Suppressed, keyed_sql
from windsor_sync.errors import SnapshotError
from windsor_sync.private import make_folder
from windsor_sync.sources import EngageCsvSource, Source
from windsor_sync.sources.csv_text import HEADER_AGAIN
from windsor_sync.sources.damaged_ids import (
    COUNTS,
    IS_WHOLE_OR_ROUNDED,
    SEEMS_CHANGED,
    WHOLE,
    damage_of,
    has_rounded,
    rounded,
)
from windsor_sync.sources.files import confirm_unchanged, files_of
from windsor_sync.sources.json_text import define_macros, settle_numbers
from windsor_sync.sources.refusal import unusable
from windsor_sync.storage.duckdb_engine import no_room, open_duckdb, open_stored, parquet, quoted
from windsor_sync.storage.errors import store_unavailable

COLUMNS = ("user_id", "anonymous_id", "email", "profile_id", "value")
HASHES = 1 << 64
NO_EMAIL = "!"
"""Stands in the draft for what was in an e-mail's place and is none."""
ID_HASH = "hash(coalesce(user_id, anonymous_id))"
NOBODYS = "user_id IS NULL AND anonymous_id IS NULL"
"""Whether a row of the draft is left out."""
SLICE_ROWS = 200_000
FIRST_IDS = 1000
FIRST_LINES = 5
"""How many malformed rows are named."""
MAX_PROTECTED = 10_000
"""So many users of unreadable rows are known one by one; beyond that, each unreadable row may be any member's."""


class LeftOut(StrEnum):
    """The reason why a row did not become a member of its own, in the order in which this is decided."""

    MALFORMED = "malformed"
    MISSING_USER_ID = "missing_user_id"
    SUPPRESSED = "suppressed"
    NOT_MEMBERS = "not_members"
    MISSING_VALUE = "missing_value"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Recipe:
    """The rules by which rows become members."""

    identify_by: str = "user_id"
    """or `anonymous_id`: then users without a user id go by their anonymous id"""
    emails: str = "first"
    """or `last`, or `all` (one a line), of a user's distinct e-mails in order of appearance"""
    wants_value: bool = False
    """a computed trait: rows without a value are left out"""
    suppressed: Suppressed = field(default_factory=Suppressed)
    stamp: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Rows that could not be read: each may be the row of a member."""

    rows: int
    nameless: int
    """rows without a readable id: anybody's"""
    finding: str
    """how many, of what, why and where, as the beginning of a sentence"""
    protected: tuple[str, ...]
    """users whose id is readable in such a row, as hex SHA-256 of the salt and the id"""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A snapshot as a Parquet file (user_id, anonymous_id, email, profile_id, value) that never changes.

    With `identify_by: anonymous_id`, a user with a user id also keeps the anonymous ids of their rows, one a line.
    """

    path: Path
    rows_read: int
    members: int
    """one row each; user_id is set, or else anonymous_id"""
    left_out: Mapping[str, int]
    """rows by reason; every reason is there. rows_read = members + their sum"""
    malformed_lines: tuple[int, ...]
    """where the first malformed rows are in the source"""
    unreadable: Unreadable | None
    """None where every row could be read"""
    emails_left_out: int
    """members in whose e-mail's place something stood without an @"""
    remarks: tuple[str, ...]
    """sentences about columns whose values may not be what they seem"""
    checksum: str
    """SHA-256 of the content, whatever the order of its rows"""
    taken_at: datetime
    """UTC"""
    fingerprint: str | None
    """of the source file; None where an equal one would not prove equal content"""
    size_bytes: int


def seal(
    source: Source,
    path: Path,
    *,
    identify_by: str = "user_id",
    emails: str = "first",
    wants_value: bool = False,
    max_malformed_percent: float = 0.1,
    suppressed: Suppressed | None = None,
    salt: str = "",
    stamp: str = "",
) -> Sealed:
    """Read the source and write its members to `path`, whole or not at all.

    `salt`: of the hashes of users whose row cannot be read. `stamp`: an option of DuckDB's COPY that says in the
    file whose it is. Raises SnapshotError when the source cannot be used, or too many of its rows cannot.
    """
    recipe = Recipe(identify_by, emails, wants_value, suppressed or Suppressed(), stamp)
    reads = () if source.origin is None else files_of(source.origin)
    with open_duckdb(str(path.parent), *reads) as connection, _whole(path) as draft, _translated(source):
        began = datetime.now(UTC)
        remarks = _draft_rows(connection, source, recipe, draft)
        rows_read, left_out = _tally(connection, draft)
        _refuse_damaged_ids(connection, source, draft)
        if left_out[LeftOut.MALFORMED]:
            source.refuse_cut_short(connection)
        _refuse_nobody(source, recipe, rows_read, left_out)
        if left_out[LeftOut.NOT_MEMBERS]:
            _refuse_contradictions(connection, source)
        found = _malformed(connection, source, rows_read, left_out)
        _refuse_malformed(found, rows_read, max_malformed_percent)
        left_out[LeftOut.DUPLICATE] = _merge_duplicates(connection)
        emails_left_out = _emails_left_out(connection, draft)
        if left_out.total() or emails_left_out:
            _rewrite(connection, recipe, draft)
        members, checksum = _read_back(connection, draft)
        _confirm_books(source, rows_read, members, left_out)
        if source.origin:
            confirm_unchanged(source.origin)
        return Sealed(
            path=path,
            rows_read=rows_read,
            members=members,
            emails_left_out=emails_left_out,
            remarks=remarks,
            left_out={reason.value: left_out[reason] for reason in LeftOut},
            malformed_lines=found.lines if found else (),
            unreadable=_unreadable(connection, found, salt) if found else None,
            checksum=checksum,
            taken_at=source.origin.taken_at if source.origin else began,
            fingerprint=source.origin.trusted_fingerprint if source.origin else None,
            size_bytes=draft.stat().st_size,
        )


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; it becomes `path` when the block ends well, and vanishes otherwise."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    make_folder(path.parent)
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _translated(source: Source) -> Iterator[None]:
    """Return an error without DuckDB's words: they quote the data."""
    try:
        yield
    except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException):
        raise  # our own mistake, not the source's
    except duckdb.OutOfMemoryException:
        finding = f"Memory, or disk space for spilled data, ran out while {source.describe()} was sealed."
        raise unusable(finding, "Free space in the folder for temporary files, then run again.") from None
    except duckdb.Error as error:
        if words := no_room(error):
            raise store_unavailable(words) from None
        raise unusable(f"{source.describe()} is damaged: it cannot be read to its end.", "Export it again.") from None


_VALUE = """
    CASE WHEN value[1] <> '"' OR strlen(value) > 12 OR NOT is_nothing(json_extract_string(value, '$')) THEN value END"""
"""A text that stands for nothing is no value, whatever the source."""


def _define_checked(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> None:
    """The view `checked`: rows with their identity, and the reason to leave them out."""
    connection.execute("CREATE OR REPLACE TEMP TABLE suppressed (user_hash VARCHAR)")
    reasons = [
        f"WHEN malformed IS NOT NULL THEN '{LeftOut.MALFORMED}'",
        f"WHEN identity IS NULL THEN '{LeftOut.MISSING_USER_ID}'",
    ]
    if recipe.suppressed:
        connection.execute("INSERT INTO suppressed SELECT unnest(?)", [sorted(recipe.suppressed.hashes)])
        user_hash = _hash_of("coalesce(user_id, anonymous_id)", recipe)
        reasons.append(f"WHEN {user_hash} IN (SELECT user_hash FROM suppressed) THEN '{LeftOut.SUPPRESSED}'")
    if recipe.wants_value:
        define_macros(connection, _VALUE)
        reasons.append(f"WHEN value IS NULL THEN '{LeftOut.MISSING_VALUE}'")
    else:
        reasons.append(f"WHEN is_no_member THEN '{LeftOut.NOT_MEMBERS}'")
    identity, anonymous_id = "user_id", "NULL::VARCHAR"
    if recipe.identify_by == "anonymous_id":
        identity = "coalesce('u' || user_id, 'a' || anonymous_id)"
        anonymous_id = "anonymous_id"
        if recipe.suppressed:
            is_suppressed = f"{_hash_of('anonymous_id', recipe)} IN (SELECT user_hash FROM suppressed)"
            anonymous_id = f"CASE WHEN user_id IS NULL OR NOT ({is_suppressed}) THEN anonymous_id END"
    connection.execute(f"""
        CREATE OR REPLACE TEMP VIEW checked AS SELECT *, CASE {" ".join(reasons)} END AS reason FROM (
            SELECT line, user_id, {anonymous_id} AS anonymous_id, {identity} AS identity, emails, profile_id,
                {_VALUE if recipe.wants_value else "NULL::VARCHAR"} AS value, malformed, value = 'false' AS is_no_member
            FROM (SELECT * REPLACE (nullif(user_id, '') AS user_id, nullif(anonymous_id, '') AS anonymous_id) FROM rows))
    """)


def _draft_rows(connection: duckdb.DuckDBPyConnection, source: Source, recipe: Recipe, draft: Path) -> tuple[str, ...]:
    """Write all rows of the source to the draft, and return remarks about its values.

    If each line of a file seems to be a row, the file is read under that assumption. If the assumption proves wrong,
    the file is read again and its rows are counted.
    """
    if isinstance(source, EngageCsvSource) and source.assume(connection):
        with suppress(duckdb.Error):  # the second reading meets the error again, where it is translated
            _define_checked(connection, recipe)
            _write(connection, recipe, draft)
            if source.confirm(connection, _count(connection, draft)):
                return ()
    source.load(connection)
    remarks = settle_numbers(connection, source.numbers)
    _define_checked(connection, recipe)
    _write(connection, recipe, draft)
    return remarks


def _hash_of(user_id: str, recipe: Recipe) -> str:
    """Return the SQL of a suppressed user's hash."""
    found = recipe.suppressed.hash
    return keyed_sql(f"sha256({quoted(found.salt)} || {user_id})", *map(quoted, found.pads))


def _write(connection: duckdb.DuckDBPyConnection, recipe: Recipe, draft: Path) -> None:
    """Write all rows; one that is left out has no id, and the reason where the value stands."""
    _copy(
        connection,
        f"""SELECT CASE WHEN reason IS NULL THEN user_id END AS user_id,
            CASE WHEN reason IS NULL THEN anonymous_id END AS anonymous_id,
            {_email(recipe)} AS email, profile_id, coalesce(reason, value) AS value
        FROM checked""",
        draft,
        recipe.stamp,
    )


def _tally(connection: duckdb.DuckDBPyConnection, draft: Path) -> tuple[int, Counter[LeftOut]]:
    """Count rows by what becomes of them, and define `repeated`: hashes of ids that more than one row has."""
    rows = parquet(str(draft))
    counts = connection.execute(f"SELECT value, count(*) FROM {rows} WHERE {NOBODYS} GROUP BY value").fetchall()
    connection.execute(f"""
        CREATE TEMP TABLE repeated AS
        SELECT {ID_HASH} AS id_hash FROM {rows} WHERE NOT ({NOBODYS}) GROUP BY id_hash HAVING count(*) > 1
    """)
    return _count(connection, draft), Counter({LeftOut(reason): count for reason, count in counts})


def _count(connection: duckdb.DuckDBPyConnection, draft: Path) -> int:
    [(rows,)] = connection.execute(f"SELECT count(*) FROM {parquet(str(draft))}").fetchall()
    return int(rows)


def _refuse_nobody(source: Source, recipe: Recipe, rows_read: int, left_out: Counter[LeftOut]) -> None:
    """Rows of which none names a user, or has a value, are a download without that column rather than an empty audience."""
    readable = rows_read - left_out[LeftOut.MALFORMED]
    ids = {"user_id", recipe.identify_by}
    if readable and left_out[LeftOut.MISSING_USER_ID] == readable and not ids & source.columns:
        raise unusable(
            f"{source.describe()}: none of its {readable} rows has {' or '.join(sorted(ids, reverse=True))}.",
            "Choose user_id among the external ids when downloading, or say in `columns` which column it is; where users "
            "have only anonymous ids, set identify_by: anonymous_id.",
        )
    if left_out[LeftOut.MISSING_VALUE] == readable > 0 and "value" not in source.columns:
        raise unusable(
            f"{source.describe()}: none of its {readable} rows has a value of the computed trait.",
            "Choose the trait when downloading, or name its column in the snapshot's columns setting.",
        )


def _refuse_damaged_ids(connection: duckdb.DuckDBPyConnection, source: Source, draft: Path) -> None:
    if _are_mostly_as_they_were(connection, draft):
        return
    [(ids, *counts)] = connection.execute(f"SELECT {COUNTS} FROM {parquet(str(draft))}").fetchall()
    if refusal := damage_of(source.describe(), ids, counts):
        raise refusal
    if has_rounded(counts):
        [(whole,)] = connection.execute(f"SELECT {WHOLE} FROM {parquet(str(draft))}").fetchall()
        if refusal := rounded(source.describe(), ids, counts, whole):
            raise refusal


def _are_mostly_as_they_were(connection: duckdb.DuckDBPyConnection, draft: Path) -> bool:
    """Whether a little more than half of the user ids prove that most are undamaged, and not all are numbers."""
    [(ids,)] = connection.execute(f"SELECT count(user_id) FROM {parquet(str(draft))}").fetchall()
    some = f"SELECT user_id FROM {parquet(str(draft))} WHERE user_id IS NOT NULL LIMIT"
    [(looked_at, changed)] = connection.execute(
        f"SELECT count(*), count(*) FILTER ({SEEMS_CHANGED}) FROM ({some} {ids * 5 // 9 + 1})"
    ).fetchall()
    has_texts = f"SELECT bool_or(NOT {IS_WHOLE_OR_ROUNDED}) FROM ({some} {FIRST_IDS})"
    return 2 * (changed + ids - looked_at) <= ids and connection.execute(has_texts).fetchall() == [(True,)]


def _refuse_contradictions(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    """A table with a history says true and false of one user, and not in which order."""
    [(users,)] = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM checked WHERE malformed IS NULL AND identity IS NOT NULL GROUP BY identity "
        "HAVING bool_or(coalesce(is_no_member, FALSE)) AND NOT bool_and(coalesce(is_no_member, FALSE)))"
    ).fetchall()
    if users:
        raise unusable(
            f"{source.describe()} says both true and false of {counted(users, 'user')}, in rows of their own.",
            "Export each user's newest row only.",
        )


@dataclass(frozen=True, slots=True)
class _Malformed:
    """The malformed rows of a source."""

    rows: int
    lines: tuple[int, ...]
    """where the first of them are"""
    finding: str


def _malformed(
    connection: duckdb.DuckDBPyConnection, source: Source, rows_read: int, left_out: Counter[LeftOut]
) -> _Malformed | None:
    """Find the malformed rows, if there are any, and say where."""
    malformed = left_out[LeftOut.MALFORMED]
    if not malformed:
        return None
    found = connection.execute(
        "SELECT line, any_value(malformed) FROM checked WHERE malformed IS NOT NULL GROUP BY line ORDER BY line LIMIT ?",
        [FIRST_LINES],
    ).fetchall()
    lines = source.physical_lines([line for line, _ in found])
    more = ", …" if malformed > len(lines) else ""
    finding = (
        f"{source.describe()}: {malformed} of {rows_read} rows cannot be read ({found[0][1]}; {source.unit} "
        f"{', '.join(map(str, lines))}{more})"
    )
    return _Malformed(malformed, lines, finding)


def _refuse_malformed(found: _Malformed | None, rows_read: int, max_percent: float) -> None:
    """Raise SnapshotError if too many rows are malformed."""
    if found is None:
        return
    if found.rows == rows_read:  # nobody is left, whatever is allowed
        raise unusable(f"{found.finding}.", "Look whether it is what the snapshot's `format` says, or export it again.")
    if found.rows * 100 > max_percent * rows_read:
        raise unusable(
            f"{found.finding}; at most {max_percent:g} % may be.",
            "Export it again; if these rows can be done without, raise max_malformed_percent.",
        )


def _unreadable(connection: duckdb.DuckDBPyConnection, found: _Malformed, salt: str) -> Unreadable:
    """Tell apart the malformed rows that name their user and those that may be anybody's."""
    is_anybodys = f"malformed IS NOT NULL AND malformed <> '{HEADER_AGAIN}' AND identity IS NULL"
    [(nameless,)] = connection.execute(f"SELECT count(*) FROM checked WHERE {is_anybodys}").fetchall()
    users = connection.execute(
        f"SELECT DISTINCT sha256({quoted(salt)} || coalesce(user_id, anonymous_id)) AS user_hash FROM checked "
        f"WHERE malformed IS NOT NULL AND identity IS NOT NULL ORDER BY user_hash LIMIT {MAX_PROTECTED + 1}"
    ).fetchall()
    if len(users) > MAX_PROTECTED:
        return Unreadable(found.rows, found.rows, found.finding, ())
    return Unreadable(found.rows, nameless, found.finding, tuple(user_hash for (user_hash,) in users))


def _merge_duplicates(connection: duckdb.DuckDBPyConnection) -> int:
    """Define `merged`, one row for each user of several rows, and return how many rows that saves.

    The rows concerned are put in order of their hashes and merged slice by slice: aggregated texts do not spill to disk.
    """
    connection.execute(
        "CREATE TEMP TABLE merged (user_id VARCHAR, anonymous_id VARCHAR, emails VARCHAR[], profile_id VARCHAR, value VARCHAR)"
    )
    [(repeated,)] = connection.execute("SELECT count(*) FROM repeated").fetchall()
    if not repeated:
        return 0
    connection.execute(f"""
        CREATE TEMP TABLE several AS
        SELECT checked.* REPLACE (array_to_string(emails, chr(10)) AS emails), id_hash
        FROM checked JOIN repeated ON {ID_HASH} = id_hash WHERE reason IS NULL
    """)
    # A step of its own: joined and sorted at once, the rows need more memory than there is.
    connection.execute("CREATE TEMP TABLE sorted AS SELECT * FROM several ORDER BY id_hash")
    connection.execute("DROP TABLE several")
    [(rows,)] = connection.execute("SELECT count(*) FROM sorted").fetchall()
    slices = 1 + rows // SLICE_ROWS
    bounds = [HASHES * number // slices for number in range(slices + 1)]
    for low, high in pairwise(bounds):
        connection.execute(f"""
            INSERT INTO merged
            SELECT any_value(user_id), string_agg(DISTINCT anonymous_id, chr(10) ORDER BY anonymous_id),
                string_split(string_agg(nullif(emails, ''), chr(10) ORDER BY line), chr(10)),
                arg_max(profile_id, line), arg_max(value, line)
            FROM sorted WHERE id_hash BETWEEN {low} AND {high - 1} GROUP BY identity
        """)
    connection.execute("DROP TABLE sorted")
    [(users,)] = connection.execute("SELECT count(*) FROM merged").fetchall()
    return int(rows - users)


def _rewrite(connection: duckdb.DuckDBPyConnection, recipe: Recipe, draft: Path) -> None:
    """Write the draft again without the rows that are left out, users of several rows merged into one."""
    [(merged,)] = connection.execute("SELECT count(*) FROM merged").fetchall()
    everything = draft.with_name(f"{draft.name}.all")
    draft.rename(everything)
    members = f"SELECT * REPLACE (nullif(email, '{NO_EMAIL}') AS email) FROM {parquet(str(everything))}"
    if merged:
        members += f" ANTI JOIN repeated ON {ID_HASH} = id_hash"
    members += f" WHERE NOT ({NOBODYS})"
    if merged:
        email = f"nullif({_email(recipe)}, '{NO_EMAIL}') AS email"
        members += f" UNION ALL SELECT user_id, anonymous_id, {email}, profile_id, value FROM merged"
    try:
        _copy(connection, members, draft, recipe.stamp)
    finally:
        everything.unlink()


def _email(recipe: Recipe) -> str:
    """The e-mail of a member, as SQL over its `emails`."""
    is_new = "lambda each, place: contains(each, '@') AND list_position(emails, each) = place"
    distinct = f"list_filter(emails, {is_new})"
    chosen = {"first": f"({distinct})[1]", "last": f"({distinct})[-1]", "all": f"array_to_string({distinct}, chr(10))"}
    return f"""
        CASE WHEN len(emails) = 1 AND contains(emails[1], '@') THEN emails[1]
        WHEN len(emails) > 0 THEN coalesce(nullif({chosen[recipe.emails]}, ''), '{NO_EMAIL}') END"""


def _emails_left_out(connection: duckdb.DuckDBPyConnection, draft: Path) -> int:
    rows = f"SELECT count(*) FROM {parquet(str(draft))} WHERE email = '{NO_EMAIL}' AND NOT ({NOBODYS})"
    [(members,)] = connection.execute(rows).fetchall()
    return int(members)


def _copy(connection: duckdb.DuckDBPyConnection, members: str, path: Path, stamp: str) -> None:
    """Write rows in any order: to keep theirs would take more memory, and one thread."""
    connection.execute("SET preserve_insertion_order = false")
    options = ", ".join(filter(None, ("FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1", stamp)))
    connection.execute(f"COPY ({members}) TO {quoted(str(path))} ({options})")
    connection.execute("RESET preserve_insertion_order")


def _read_back(connection: duckdb.DuckDBPyConnection, path: Path) -> tuple[int, str]:
    """Count the members of a sealed file and compute its checksum.

    MD5 of each row, exclusive-ored: independent of order, the same in every version of DuckDB (its own hash() is not).
    Rows cannot cancel each other, since no two of them are equal.
    """
    # The lengths, or else 'ab' and 'c' would be 'a' and 'bc', and an empty text would be none.
    parts = ", ".join([*COLUMNS, *(f"':', strlen({name})" for name in COLUMNS)])
    [(members, digest)] = connection.execute(
        f"SELECT count(*), bit_xor(md5_number(concat({parts}))) FROM {parquet(str(path))}"
    ).fetchall()
    return members, hashlib.sha256(f"{members}:{digest or 0:032x}".encode()).hexdigest()


def content_checksum(path: Path) -> str:
    """The checksum of a sealed file's content, whatever the order of its rows."""
    with open_stored() as connection:
        return _read_back(connection, path)[1]


def write_nobody(path: Path, options: str) -> None:
    """Write a sealed snapshot without members."""
    columns = ", ".join(f"NULL::VARCHAR AS {name}" for name in COLUMNS)
    with open_stored() as connection:
        connection.execute(f"COPY (SELECT {columns} LIMIT 0) TO {quoted(str(path))} (FORMAT parquet, {options})")


def common_members(one: str, other: str) -> int:
    """Return how many members two sealed snapshots have in common."""
    members = "SELECT coalesce('u' || user_id, 'a' || anonymous_id) AS identity FROM"
    with open_stored() as connection:
        [(common,)] = connection.execute(
            f"SELECT count(*) FROM ({members} {parquet(one)}) SEMI JOIN ({members} {parquet(other)}) USING (identity)"
        ).fetchall()
    return int(common)


def _confirm_books(source: Source, rows_read: int, members: int, left_out: Counter[LeftOut]) -> None:
    if rows_read != members + left_out.total():
        raise SnapshotError(
            f"The books of {source.describe()} do not balance: {rows_read} rows read, {members} members written, "
            f"{left_out.total()} left out. Nothing was sent; the last good snapshot stands. Report this as a bug."
        )
