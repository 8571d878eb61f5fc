"""Plain CSV and JSON lines from anywhere, with the customer's own column names."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import duckdb

from windsor_sync.sources.columns import columns_among, folded, hint, recognized
from windsor_sync.sources.csv_text import (
    HEADER_AGAIN,
    Header,
    header_again,
    read_header,
    refuse_late_header,
    shown_columns,
)
from windsor_sync.sources.delimited import Split, refuse_cut_short, some_row_is_readable, split
from windsor_sync.sources.files import SourceFile
from windsor_sync.sources.json_text import AS_STRINGS, WITH_COMMA, MaybeNumbers, define_macros, pointer
from windsor_sync.sources.membership import Flag, define_rows, flag_of
from windsor_sync.sources.refusal import AGAIN, unusable
from windsor_sync.sources.text import PlainText, plain_text
from windsor_sync.storage.duckdb_engine import csv, quoted

SAMPLE_KEYS = 10_000
MAP_COLUMNS = "Name the column in the snapshot's columns setting (columns: {user_id: …}), or export it."


class CsvSource:
    """A CSV file whose columns `columns` maps: ours → the file's; what it does not name goes by our name."""

    unit = "line"

    def __init__(
        self,
        file: SourceFile,
        *,
        columns: Mapping[str, str] | None = None,
        value_of: str | None = None,
        members_of: str | None = None,
    ) -> None:
        self.origin = file
        self.columns: frozenset[str] = frozenset()
        self.numbers: MaybeNumbers | None = None
        self._mapping = dict(columns or {})
        self._value_of = value_of
        self._members_of = members_of
        self._split: Split | None = None

    def describe(self) -> str:
        """Say what is read."""
        return f"{self.origin.path} (CSV)"

    def load(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Define the view `rows`. Raises SnapshotError for a file that cannot be used."""
        define_macros(connection)
        text = plain_text(self.origin, connection)
        header = read_header(text)
        name, keys = self.origin.path, filter(None, (self._value_of, self._members_of))
        known = replace(header, names=recognized(header.names, name, self._mapping, tuple(keys)))
        flag = None if self._value_of else flag_of(header.names, self._members_of, self._mapping, name)
        cells = self._cells(known, text)
        self._split = split(text, header, connection)
        value = f"json_of_cell({cells['value']})" if self._value_of else "NULL::VARCHAR"
        if flag:
            value = f"c{header.names.index(flag.column)}"
        rows = self._rows(cells, known, value, header_again(header))
        if self._value_of:
            self.numbers = MaybeNumbers(self._mapping.get("value", self._value_of), WITH_COMMA)
        define_rows(connection, rows, flag, self.describe())
        self.columns = frozenset(cells)

    def refuse_cut_short(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Raise SnapshotError if the last row is malformed: the rest of the file may be missing."""
        if self._split:
            refuse_cut_short(self._split, connection)

    def physical_lines(self, rows: Sequence[int]) -> tuple[int, ...]:
        """Return where in the file these rows begin, lines counted from 1."""
        return self._split.physical_lines(rows) if self._split else ()

    def _cells(self, header: Header, text: PlainText) -> dict[str, str]:
        """The cell that holds each of our columns, where the file has it."""
        places = {name: f"c{index}" for index, name in reversed(list(enumerate(header.names)))}
        known = columns_among(places, self._mapping, self._value_of, self._mapping.keys() - {"value"})
        if known.missing:
            refuse_late_header(text, [folded(name) for name in known.missing])
            raise unusable(
                f"{self.origin.path} lacks {', '.join(known.missing)}: line {header.lines} names {shown_columns(header.names)}.",
                MAP_COLUMNS + hint(header.names),
            )
        return {ours: places[theirs] for ours, theirs in known.found.items()}

    def _rows(self, cells: dict[str, str], header: Header, value: str, is_header: str) -> str:
        numbered = [
            (int(match[1]), f"c{place}")
            for place, name in enumerate(header.names)
            if "email" not in self._mapping and (match := re.fullmatch(r"email_(\d+)", name))
        ]
        emails = [cells["email"]] if "email" in cells else []
        emails += [cell for _, cell in sorted(numbered)]
        return f"""
            SELECT line, {cells.get("user_id", "NULL::VARCHAR")} AS user_id,
                {cells.get("anonymous_id", "NULL::VARCHAR")} AS anonymous_id,
                mails([{", ".join(emails) or "NULL::VARCHAR"}]) AS emails,
                {cells.get("profile_id", "NULL::VARCHAR")} AS profile_id,
                {value} AS value, CASE WHEN {is_header} THEN '{HEADER_AGAIN}' END AS malformed
            FROM cells
            UNION ALL
            SELECT line, NULL, NULL, NULL, NULL, NULL, reason FROM broken"""


class JsonLinesSource:
    """One JSON object a line; `columns` maps our names to its keys. Ids may be numbers: they stay as they are written."""

    unit = "line"

    def __init__(
        self,
        file: SourceFile,
        *,
        columns: Mapping[str, str] | None = None,
        value_of: str | None = None,
        members_of: str | None = None,
    ) -> None:
        self.origin = file
        self.columns: frozenset[str] = frozenset()
        self.numbers: MaybeNumbers | None = None
        self._mapping = dict(columns or {})
        self._value_of = value_of
        self._members_of = members_of

    def describe(self) -> str:
        """Say what is read."""
        return f"{self.origin.path} (JSON lines)"

    def load(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Define the view `rows`. Raises SnapshotError for a file that cannot be used."""
        define_macros(connection)
        text = plain_text(self.origin, connection)
        _define_lines(text, connection)
        keys = _keys(connection)
        name, meant = self.origin.path, tuple(filter(None, (self._value_of, self._members_of)))
        known = recognized(keys, name, self._mapping, meant)
        spelled = {ours: theirs for ours, theirs in zip(known, keys, strict=True) if ours != theirs} | self._mapping
        flag = None if self._value_of else flag_of(keys, self._members_of, self._mapping, name)
        rows = self._rows(spelled, flag)
        if self._value_of:
            self.numbers = MaybeNumbers(self._mapping.get("value", self._value_of), AS_STRINGS)
        define_rows(connection, rows, flag, self.describe())

    def refuse_cut_short(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Raise SnapshotError if the last row is malformed: the rest of the file may be missing."""
        if not some_row_is_readable(connection):
            return
        at_end = "SELECT line, malformed FROM rows WHERE line = (SELECT max(line) FROM lines WHERE NOT is_blank)"
        for line, reason in connection.execute(at_end).fetchall():
            if reason is not None:
                raise unusable(f"{self.origin.path} is cut short: its last line, {line}, is broken ({reason}).", AGAIN)

    def physical_lines(self, rows: Sequence[int]) -> tuple[int, ...]:
        """Return where in the file these rows are, lines counted from 1."""
        return tuple(sorted(set(rows)))

    def _rows(self, spelled: Mapping[str, str], flag: Flag | None) -> str:
        names = ["user_id", "anonymous_id", "email", "emails", "profile_id", "value", self._value_of or "value"]
        if flag:
            spelled = {**spelled, "value": flag.column}
        pointers = [quoted(pointer(spelled.get(name, name))) for name in names]
        user_id, anonymous_id, profile_id = (
            f"id_of_json(found[{names.index(name) + 1}]::VARCHAR, line_text, {pointers[names.index(name)]})"
            for name in ("user_id", "anonymous_id", "profile_id")
        )
        has_value = self._value_of or flag
        value = "nullif(coalesce(found[6], found[7])::VARCHAR, 'null')" if has_value else "NULL::VARCHAR"
        return f"""
            SELECT line, user_id, anonymous_id, emails, profile_id,
                CASE WHEN value NOT IN ('NaN', 'Infinity', '-Infinity') THEN tidy_json(value) END AS value,
                CASE
                    WHEN found IS NULL THEN 'not a JSON object'
                    WHEN user_id = '' OR anonymous_id = '' THEN 'an id that is neither text nor a number'
                    WHEN value[1] <> '"' AND value NOT IN ('NaN', 'Infinity', '-Infinity') AND NOT is_json(value)
                        THEN 'a value that is not JSON'
                END AS malformed
            FROM (SELECT line, found, {user_id} AS user_id, {anonymous_id} AS anonymous_id, {profile_id} AS profile_id,
                    mails(coalesce(texts_of_json(found[3]), texts_of_json(found[4]))) AS emails, {value} AS value
                FROM (SELECT line, line_text, json_extract(readable_object(line_text), [{", ".join(pointers)}]) AS found
                    FROM lines WHERE NOT is_blank))"""


def _keys(connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """The keys of the first objects, in their order."""
    found = connection.execute(
        f"SELECT unnest(json_keys(readable_object(line_text))) FROM lines WHERE NOT is_blank LIMIT {SAMPLE_KEYS}"
    ).fetchall()
    return tuple(dict.fromkeys(key for (key,) in found))


def _define_lines(text: PlainText, connection: duckdb.DuckDBPyConnection) -> None:
    """The view `lines` (line, line_text, is_blank); splitting at line feeds alone, which JSON text cannot contain."""
    reader = csv(
        str(text.path),
        "header = false, delim = chr(1), quote = '', escape = '', columns = {'line_text': 'VARCHAR'}, strict_mode = false",
    )
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW lines AS SELECT *, trim(coalesce(line_text, ''), ' ' || chr(9) || chr(13)) = '' AS is_blank "
        f"FROM (SELECT row_number() OVER () AS line, line_text FROM {reader})"
    )
    try:
        [(lines, first)] = connection.execute(
            "SELECT count(*), arg_min(line_text[1:9], line) FILTER (NOT is_blank) FROM lines"
        ).fetchall()
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:
        lines, first = -1, None
    if lines != text.lines + text.blank_lines_at_end:
        raise unusable(f"{text.name} cannot be split into lines (is one longer than 2 MB?).", AGAIN)
    if first and first.lstrip().startswith("["):
        raise unusable(f"{text.name} is a JSON array, not JSON lines.", "Export one object a line.")
