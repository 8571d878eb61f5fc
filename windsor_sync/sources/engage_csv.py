"""The CSV downloads of Engage: every format that Segment has published, told apart by the names of the columns.

- formatted: ids and traits as columns (`user_id`, `email`, `email_1`, …), in any order; other columns are ignored
- unformatted: `key`, the ids as JSON (`external_ids`), the traits as JSON (the name of that column is not published)
- computed traits: the same with `value`; also with one row for each further id, the other cells repeated

A profile with several user ids becomes a row for each: they are several users of Windsor.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import duckdb

from windsor_sync.sources.columns import hint, recognized
from windsor_sync.sources.csv_text import (
    HEADER_AGAIN,
    Header,
    header_again,
    read_header,
    refuse_late_header,
    shown_columns,
)
from windsor_sync.sources.delimited import Rows, Split, holds, refuse_cut_short, seems_one_row_a_line, split
from windsor_sync.sources.files import SourceFile
from windsor_sync.sources.json_text import WITH_COMMA, MaybeNumbers, define_macros, pointer
from windsor_sync.sources.membership import Flag, define_rows, flag_of
from windsor_sync.sources.refusal import unusable
from windsor_sync.sources.text import PlainText, plain_text

SAMPLE_ROWS = 1000
NUMBERED = re.compile(r"(user_id|anonymous_id|email)(?:_(\d+))?")
EXTERNAL_IDS = '{"user_id": ["VARCHAR"], "anonymous_id": ["VARCHAR"], "email": ["VARCHAR"]}'
AS_JSON = EXTERNAL_IDS.replace("VARCHAR", "JSON")
DOWNLOAD_AGAIN = "Download the audience again and choose user_id (and email) among the external ids."


@dataclass(frozen=True, slots=True)
class Layout:
    """The cells of a row and what they hold."""

    user_ids: tuple[str, ...]
    anonymous_ids: tuple[str, ...]
    emails: tuple[str, ...]
    """in the order of their numbers"""
    key: str | None
    external_ids: str | None
    named: dict[str, str]
    """all cells by column name"""
    is_header: str
    """whether a row is the header again, as SQL"""


class _Look(NamedTuple):
    """The facts that the bytes and the first line of a file tell."""

    text: PlainText
    header: Header
    """as it is written"""
    known: Header
    """with our names"""
    layout: Layout
    flag: Flag | None


class EngageCsvSource:
    """A file that Engage made for an audience, or for the computed trait whose key is `value_of`."""

    unit = "line"

    def __init__(self, file: SourceFile, *, value_of: str | None = None, members_of: str | None = None) -> None:
        self.origin = file
        self.columns: frozenset[str] = frozenset()
        self.numbers: MaybeNumbers | None = None
        self._value_of = value_of
        self._members_of = members_of
        self._split: Split | None = None
        self._look: _Look | None = None
        """found by `assume`, and used by `load` after it"""

    def describe(self) -> str:
        """Say what is read."""
        return f"{self.origin.path} (Engage CSV)"

    def load(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Define the view `rows`. Raises SnapshotError for a file that cannot be used."""
        text, header, known, layout, flag = self._looked_at(connection)
        self._split = split(text, known, connection)
        _refuse_hashed(text.name, header, connection)
        value, traits = self._value(known, layout, connection)
        if flag:
            value = f"c{header.names.index(flag.column)}"
        rows = _rows(layout, value, traits)
        if self._value_of and not traits:
            self.numbers = MaybeNumbers(self._value_of, WITH_COMMA)
        if not self._value_of:
            define_macros(connection, rows)
        define_rows(connection, rows, flag, self.describe())
        self._look = None
        self._has_columns(layout, has_value=value.startswith("json_of_cell"))

    def assume(self, connection: duckdb.DuckDBPyConnection) -> bool:
        """Define the view `rows` as if each line of the file were a row; False where the file does not seem to be so.

        This spares the scan that counts rows. `confirm` says afterwards whether each line was a row. Raises
        SnapshotError for a file that cannot be used.
        """
        self._look = text, _, known, layout, flag = self._looked_at(connection)
        if self._value_of or flag or not seems_one_row_a_line(text, known):
            return False
        self._split = split(text, known, connection, Rows.ASSUMED)
        connection.execute("CREATE OR REPLACE TEMP SEQUENCE several_ids")
        rows = _rows(layout, "NULL::VARCHAR", None, "CASE WHEN nextval('several_ids') > 0 THEN user_ids END")
        define_macros(connection, rows)
        define_rows(connection, rows, None, self.describe())
        self._has_columns(layout, has_value=False)
        return True

    def confirm(self, connection: duckdb.DuckDBPyConnection, rows: int) -> bool:
        """Return whether each line of the file was a row; `rows` is how many one reading since `assume` found."""
        assert self._split is not None
        [(used,)] = connection.execute(
            "SELECT count(last_value) FROM duckdb_sequences() WHERE sequence_name = 'several_ids'"
        ).fetchall()
        return holds(self._split, connection, None if used else rows)

    def _looked_at(self, connection: duckdb.DuckDBPyConnection) -> _Look:
        if self._value_of:
            define_macros(connection)
        if self._look:
            return self._look
        text = plain_text(self.origin, connection)
        header = read_header(text)
        keys = tuple(filter(None, (self._value_of, self._members_of)))
        known = _with_short_rows(replace(header, names=recognized(header.names, text.name, wanted=keys)))
        layout = _layout(known, header_again(header))
        _refuse_nameless(text, header, layout)
        flag = None if self._value_of else flag_of(header.names, self._members_of, {}, text.name)
        return _Look(text, header, known, layout, flag)

    def _has_columns(self, layout: Layout, *, has_value: bool) -> None:
        own = {"user_id": layout.user_ids, "anonymous_id": layout.anonymous_ids, "value": has_value}
        self.columns = frozenset(name for name, found in own.items() if found)

    def refuse_cut_short(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Raise SnapshotError if the last row is malformed: the rest of the file may be missing."""
        if self._split:
            refuse_cut_short(self._split, connection)

    def physical_lines(self, rows: Sequence[int]) -> tuple[int, ...]:
        """Return where in the file these rows begin, lines counted from 1."""
        return self._split.physical_lines(rows) if self._split else ()

    def _value(self, header: Header, layout: Layout, connection: duckdb.DuckDBPyConnection) -> tuple[str, str | None]:
        """The value as SQL, and the cell that must be JSON for it."""
        key = self._value_of
        if key is None:
            return "NULL::VARCHAR", None
        own = layout.named.get("value") or layout.named.get(key)
        if own:
            return f"json_of_cell({own})", None
        traits = _traits_cell(layout, key, connection)
        if traits:
            return f"tidy_json(nullif(json_extract(traits, '{_sql(pointer(key))}')::VARCHAR, 'null'))", traits
        if self._split and not self._split.rows:
            return "NULL::VARCHAR", None
        raise unusable(
            f"{self.origin.path} holds no values of {key}: expected a column value or {key}, or the traits as JSON; "
            f"found {shown_columns(header.names)}.",
            "Download the computed trait, or choose it among the traits of the download.",
        )


def _with_short_rows(header: Header) -> Header:
    """Segment's samples leave out the numbered cells at the end of a row when they are empty."""
    needed = [place for place, name in enumerate(header.names, 1) if not _is_numbered(name, header.names)]
    return replace(header, least_cells=max(needed))


def _is_numbered(name: str, names: Sequence[str]) -> bool:
    base, _, number = name.rpartition("_")
    return number.isdecimal() and base in names


def _layout(header: Header, is_header: str) -> Layout:
    numbered: dict[str, list[tuple[int, str]]] = {"user_id": [], "anonymous_id": [], "email": []}
    named: dict[str, str] = {}
    for index, name in enumerate(header.names):
        named.setdefault(name, f"c{index}")
        if match := NUMBERED.fullmatch(name):
            numbered[match[1]].append((int(match[2] or 0), f"c{index}"))
    cells = {name: tuple(cell for _, cell in sorted(found)) for name, found in numbered.items()}
    return Layout(
        user_ids=cells["user_id"],
        anonymous_ids=cells["anonymous_id"],
        emails=cells["email"],
        key=named.get("key"),
        external_ids=named.get("external_ids"),
        named=named,
        is_header=is_header,
    )


def _refuse_nameless(text: PlainText, header: Header, layout: Layout) -> None:
    if layout.user_ids or layout.anonymous_ids or layout.external_ids:
        return
    name = text.name
    refuse_late_header(text, ("userid", "anonymousid", "externalids"))
    if header.names == ("email",):
        raise unusable(
            f"{name} holds e-mails only (Engage hashes the ids of one-column downloads): its rows name no user.",
            DOWNLOAD_AGAIN,
        )
    raise unusable(
        f"{name} names no user: expected a column user_id or external_ids in line {header.lines}, "
        f"found {shown_columns(header.names)}.",
        DOWNLOAD_AGAIN + hint(header.names).replace("columns:", "format: csv, columns:"),
    )


def _refuse_hashed(name: str, header: Header, connection: duckdb.DuckDBPyConnection) -> None:
    """A one-column download holds SHA-256 hashes by default; no user of Windsor goes by them."""
    if len(header.names) > 1:
        return
    [(is_hashed,)] = connection.execute(
        f"SELECT bool_and(regexp_full_match(c0, '[0-9A-Fa-f]{{64}}')) FROM (SELECT c0 FROM cells LIMIT {SAMPLE_ROWS})"
    ).fetchall()
    if is_hashed:
        raise unusable(f"{name} holds hashed ids (SHA-256): they name no user.", DOWNLOAD_AGAIN)


def _traits_cell(layout: Layout, key: str, connection: duckdb.DuckDBPyConnection) -> str | None:
    """The column that holds the traits as JSON: nobody says what it is called.

    The one whose objects have the key, since other columns may hold JSON too; else the first with objects.
    """
    others = [cell for name, cell in layout.named.items() if not NUMBERED.fullmatch(name)]
    others = [cell for cell in others if cell not in {layout.key, layout.external_ids}]
    with_objects = []
    for cell in others:
        sample = f"SELECT readable_object({cell}) AS found FROM cells WHERE {cell} IS NOT NULL LIMIT {SAMPLE_ROWS}"
        has_key = f"count(json_extract(found, '{_sql(pointer(key))}'))"
        [(objects, keys)] = connection.execute(f"SELECT count(found), {has_key} FROM ({sample})").fetchall()
        if keys:
            return cell
        if objects:
            with_objects.append(cell)
    return with_objects[0] if with_objects else None


def _rows(layout: Layout, value: str, traits: str | None, several: str = "user_ids") -> str:
    """The canonical rows as SQL over `cells` and `broken`; `several`: the list of which each id becomes a row."""
    ids = _wanted(layout) if layout.external_ids else "NULL::VARCHAR"
    readable = f"readable_object({traits})"
    return f"""
        SELECT line, {_one_user_id(layout, several)} AS user_id, anonymous_id, emails, profile_id, value, malformed FROM (
            SELECT *, {_user_ids(layout)} AS user_ids, {_anonymous_id(layout)} AS anonymous_id,
                {_emails(layout)} AS emails, {layout.key or "NULL::VARCHAR"} AS profile_id,
                {value} AS value, {_malformed(layout, traits)} AS malformed
            FROM (SELECT *, CASE WHEN is_usual THEN NULL
                WHEN is_plain THEN texts ELSE from_json(ids, '{EXTERNAL_IDS}') END AS found
            FROM (SELECT *, CASE WHEN is_usual THEN NULL
                WHEN is_plain THEN readable_ids ELSE numbers_as_text(readable_ids) END AS ids
            FROM (SELECT *, CASE WHEN NOT is_usual
                THEN holds_only_texts(from_json(readable_ids, '{AS_JSON}'), readable_ids) END AS is_plain
            FROM (SELECT *, CASE WHEN NOT is_usual THEN from_json(readable_ids, '{EXTERNAL_IDS}') END AS texts
            FROM (SELECT *, CASE WHEN NOT is_usual THEN readable_object({ids}) END AS readable_ids,
                {f"CASE WHEN is_json({readable}) THEN {readable} END" if traits else "NULL"} AS traits
            FROM (SELECT *, (firsts[1] <> '' AND firsts[2] <> ''
                AND is_usual({{'user_id': first_user_id, 'email': first_email}}, {ids})) IS TRUE AS is_usual
            FROM (SELECT *, [firsts[1]] AS first_user_id, [firsts[2]] AS first_email
            FROM (SELECT *, first_ids({ids}) AS firsts FROM cells)))))))))
        UNION ALL
        SELECT line, NULL, NULL, NULL, NULL, NULL, reason FROM broken"""


def _one_user_id(layout: Layout, several: str) -> str:
    if layout.external_ids or len(layout.user_ids) > 1:
        return (
            f"unnest(CASE WHEN len(user_ids) = 1 THEN user_ids WHEN len(user_ids) > 1 THEN {several} ELSE [NULL] END)"
        )
    return layout.user_ids[0] if layout.user_ids else "NULL::VARCHAR"


def _wanted(layout: Layout) -> str:
    """The ids as JSON where the columns do not say who it is: JSON is slow to read."""
    if not layout.user_ids or not layout.emails:
        return str(layout.external_ids)
    return f"CASE WHEN coalesce({', '.join(layout.user_ids)}) IS NULL THEN {layout.external_ids} END"


def _user_ids(layout: Layout) -> str:
    in_columns = f"nullif(without_blanks([{', '.join(layout.user_ids)}]), [])" if layout.user_ids else ""
    in_json = "CASE WHEN is_usual THEN first_user_id ELSE ids_under(found.user_id, ids, 'user_id') END"
    return _first_of(in_columns, in_json if layout.external_ids else "")


def _anonymous_id(layout: Layout) -> str:
    in_columns = ", ".join(f"nullif({cell}, '')" for cell in layout.anonymous_ids)
    in_json = "ids_under(found.anonymous_id, ids, 'anonymous_id')[1]" if layout.external_ids else ""
    return _first_of(in_columns, in_json)


def _emails(layout: Layout) -> str:
    in_columns = f"nullif(mails([{', '.join(layout.emails)}]), [])" if layout.emails else ""
    in_json = (
        "CASE WHEN is_usual AND is_one_mail(first_email[1]) THEN first_email WHEN is_usual THEN mails(first_email) "
        "ELSE mails(ids_under(found.email, ids, 'email')) END"
    )
    return _first_of(in_columns, in_json if layout.external_ids else "")


def _first_of(*expressions: str) -> str:
    known = [each for each in expressions if each]
    return f"coalesce({', '.join(known)})" if known else "NULL"


def _malformed(layout: Layout, traits: str | None) -> str:
    cases = [f"WHEN {layout.is_header} THEN '{HEADER_AGAIN}'"]
    if layout.external_ids:
        cases.append(
            f"WHEN {_wanted(layout)} IS NOT NULL AND NOT is_usual AND ids IS NULL THEN 'unreadable external_ids'"
        )
        odd = "holds_odd_ids(found, ids) OR holds_no_number(ids)"
        cases.append(f"WHEN NOT is_usual AND NOT is_plain AND ({odd}) THEN 'an id that is neither text nor a number'")
    if traits:
        cases.append(f"WHEN {traits} IS NOT NULL AND traits IS NULL THEN 'unreadable traits'")
    return f"CASE {' '.join(cases)} END"


def _sql(text: str) -> str:
    return text.replace("'", "''")
