"""Tables whose columns have types: Parquet files and pandas DataFrames."""

import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import duckdb

from windsor_sync.sources.columns import columns_among, hint, recognized
from windsor_sync.sources.csv_text import shown_columns
from windsor_sync.sources.files import SourceFile
from windsor_sync.sources.json_text import define_macros
from windsor_sync.sources.membership import define_rows, flag_of
from windsor_sync.sources.refusal import AGAIN, unusable
from windsor_sync.sources.text import local_copy
from windsor_sync.sources.warehouse_cells import id_text, plain
from windsor_sync.storage.duckdb_engine import parquet

if TYPE_CHECKING:
    import pandas as pd

WHOLE_NUMBERS = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"}
)
FRACTIONS = frozenset({"FLOAT", "DOUBLE"})
OF_NOTHING = FRACTIONS | {"BLOB", "BOOLEAN"}
"""Types that programs give to columns without a value."""
TEXTS = frozenset({"VARCHAR", "ENUM", "UUID", "NULL"})
MAP_COLUMNS = "Name the column in the snapshot's columns setting (columns: {user_id: …}), or export it."
MAP_FRAME = 'Name the column in columns={"user_id": …}; an index becomes a column with reset_index().'
AS_TEXT = "Export the column as text, or as whole numbers."


class ParquetSource:
    """A Parquet file whose columns `columns` maps: ours → the file's; what it does not name goes by our name.

    Types mean what they say: a value that is text is text, also where it reads as a number.
    """

    unit = "row"
    numbers = None
    """its types say what is a number"""

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
        self._mapping = dict(columns or {})
        self._value_of = value_of
        self._members_of = members_of

    def describe(self) -> str:
        """Say what is read."""
        return f"{self.origin.path} (Parquet)"

    def load(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Define the view `rows`. Raises SnapshotError for a file that cannot be used."""
        define_macros(connection)
        table = parquet(str(local_copy(self.origin, connection)), "file_row_number = true")
        types = _types(self.origin.path, table, connection)
        names = _names(self.origin.path, types, self._mapping, self._value_of, self._members_of)
        flag = None if self._value_of else flag_of(tuple(types), self._members_of, self._mapping, self.origin.path)
        types = _without_types_of_nothing(types, names, table, connection)
        columns = {name: (found, types[found]) for name, found in names.items()}
        value = f"{_quoted(flag.column)}::VARCHAR" if flag else None
        rows = _rows(self.origin.path, table, "file_row_number + 1", columns, value)
        define_rows(connection, rows, flag, self.describe())
        self.columns = frozenset(names)

    def refuse_cut_short(self, connection: duckdb.DuckDBPyConnection) -> None:
        """A Parquet file that is cut short cannot be read at all."""

    def physical_lines(self, rows: Sequence[int]) -> tuple[int, ...]:
        """Rows, counted from 1."""
        return tuple(sorted(set(rows)))


class DataFrameSource:
    """A pandas DataFrame with a row for each member; `columns` maps our names to the frame's."""

    origin: SourceFile | None = None
    unit = "row"
    numbers = None
    """its types say what is a number"""

    def __init__(
        self,
        frame: "pd.DataFrame",
        *,
        columns: Mapping[str, str] | None = None,
        value_of: str | None = None,
        members_of: str | None = None,
        name: str = "DataFrame",
    ) -> None:
        self.columns: frozenset[str] = frozenset()
        self._frame = frame
        self._mapping = dict(columns or {})
        self._value_of = value_of
        self._members_of = members_of
        self._name = name

    def describe(self) -> str:
        """Say what is read."""
        return self._name

    def load(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Define the view `rows`. Raises SnapshotError for a frame that cannot be used."""
        define_macros(connection)
        found = {str(column): "" for column in self._frame.columns}
        names = _names(self._name, found, self._mapping, self._value_of, self._members_of, MAP_FRAME)
        flag = None if self._value_of else flag_of(tuple(found), self._members_of, self._mapping, self._name)
        names |= {"value": flag.column} if flag else {}
        canonical, overrides = self._canonical(names)
        connection.register("frame", canonical)
        types = _types(self._name, "frame", connection) | overrides
        types = _without_types_of_nothing(types, {name: name for name in names}, "frame", connection)
        columns = {name: (name, types[name]) for name in names}
        rows = _rows(self._name, "frame", "line", columns, "value::VARCHAR" if flag else None)
        define_rows(connection, rows, flag, self._name)
        self.columns = frozenset(names)

    def refuse_cut_short(self, connection: duckdb.DuckDBPyConnection) -> None:
        """A frame is whole."""

    def physical_lines(self, rows: Sequence[int]) -> tuple[int, ...]:
        """Rows, counted from 1."""
        return tuple(sorted(set(rows)))

    def _canonical(self, names: dict[str, str]) -> tuple["pd.DataFrame", dict[str, str]]:
        """The columns we use under our names, and the types of those that were made text of another kind."""
        import pandas as pd

        by_name = {str(column): column for column in self._frame.columns}
        twice = [name for name in names.values() if [str(column) for column in self._frame.columns].count(name) > 1]
        if twice:
            raise unusable(f"{self._name} has several columns called {', '.join(twice)}.", "Keep one of them.")
        series = {name: _plain_typed(self._frame[by_name[found]]) for name, found in names.items()}
        overrides: dict[str, str] = {}
        for name, values in series.items():
            # DuckDB would judge a column of Python objects by a sample: a late '00123' among integers would become 123.
            if values.dtype == object:
                convert = {"value": _value_text, "email": _mail_text}.get(name, _id_text)
                series[name] = self._converted(values, names[name], convert)
                overrides |= {"value": {"value": "JSON"}, "email": {"email": "LINES"}}.get(name, {})
        return pd.DataFrame({"line": range(1, len(self._frame) + 1), **series}), overrides

    def _converted(self, values: "pd.Series[Any]", name: str, convert: Callable[[Any], str]) -> "pd.Series[Any]":
        missing = values.isna()
        try:
            return values.astype("object").where(missing, values[~missing].map(convert)).mask(missing, None)
        except (TypeError, ValueError):
            raise unusable(f"Column {name} of {self._name} holds {_OBJECTS[convert]}.", AS_TEXT) from None


def _plain_typed(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """The column without its index, as Python objects where pandas keeps it in a way that DuckDB does not know."""
    import pandas as pd

    values = values.reset_index(drop=True)
    kind = values.dtype
    if isinstance(kind, pd.CategoricalDtype):  # it would make texts of true and 1, and fractions of 1 beside a gap
        is_known = isinstance(kind.categories.dtype, pd.StringDtype)
    else:
        is_known = getattr(kind, "kind", "O") in "biufM" and not isinstance(kind, pd.SparseDtype | pd.ArrowDtype)
        is_known = is_known or (isinstance(kind, pd.StringDtype) and kind.storage == "python")
    return values if is_known else values.astype(object)


def _id_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, UUID | Decimal):  # as drivers of databases hand them over
        return str(id_text(value))
    if isinstance(value, bool):
        raise TypeError
    return str(operator.index(value))  # a whole number of any library


def _mail_text(value: Any) -> str:
    """An e-mail or several; what pandas has for a missing one is none."""
    import numpy as np

    if isinstance(value, np.ndarray | list | tuple):
        return "\n".join(_mail_text(mail) for mail in value if isinstance(mail, str) or not _is_missing(mail))
    if not isinstance(value, str):
        raise TypeError
    return value


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _value_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    import numpy as np

    return value.tolist() if isinstance(value, np.generic | np.ndarray) else plain(value)


_OBJECTS: dict[Callable[[Any], str], str] = {
    _id_text: "objects that are neither text nor numbers",
    _mail_text: "objects that are neither text nor lists of it",
    _value_text: "objects that JSON has no word for",
}


def _types(name: str, table: str, connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()
    except duckdb.Error:
        raise unusable(f"{name} is no Parquet file, or it is cut short or damaged.", AGAIN) from None
    return {column: kind.strip('"') for column, kind, *_ in described if column != "file_row_number"}


def _without_types_of_nothing(
    types: Mapping[str, str], names: Mapping[str, str], table: str, connection: duckdb.DuckDBPyConnection
) -> dict[str, str]:
    """Call a column without any value empty, whatever its type: pandas makes one of fractions, fastparquet one of bytes."""
    typed = [found for ours, found in names.items() if ours != "value" and types[found].split("(")[0] in OF_NOTHING]
    if not typed:
        return dict(types)
    counts = ", ".join(f"count({_valued(column, types[column])})" for column in typed)
    [found] = connection.execute(f"SELECT {counts} FROM {table}").fetchall()
    return dict(types) | {column: "NULL" for column, count in zip(typed, found, strict=True) if not count}


def _valued(column: str, kind: str) -> str:
    cell = _quoted(column)
    return f"CASE WHEN NOT isnan({cell}) THEN 1 END" if kind in FRACTIONS else cell


def _names(
    name: str,
    types: Mapping[str, str],
    mapping: Mapping[str, str],
    value_of: str | None,
    members_of: str | None,
    remedy: str = MAP_COLUMNS,
) -> dict[str, str]:
    """Return which column of the table each of ours is."""
    keys = tuple(filter(None, (value_of, members_of)))
    spelled = dict(zip(types, types, strict=True)) | dict(
        zip(recognized(tuple(types), name, mapping, keys), types, strict=True)
    )
    known = columns_among(spelled, mapping, value_of, mapping.keys() - {"value"})
    if known.missing:
        raise unusable(
            f"{name} lacks {', '.join(known.missing)}: found {shown_columns(tuple(types))}.",
            remedy + hint(tuple(types)),
        )
    return {ours: spelled[theirs] for ours, theirs in known.found.items() if ours != "value" or value_of}


def _rows(name: str, table: str, line: str, columns: dict[str, tuple[str, str]], flag: str | None) -> str:
    ids = {
        ours: _id(name, *columns[ours]) if ours in columns else "NULL::VARCHAR"
        for ours in ("user_id", "anonymous_id", "profile_id")
    }
    emails = _emails(name, *columns["email"]) if "email" in columns else "NULL::VARCHAR[]"
    value, is_bad = (flag or "NULL::VARCHAR", "FALSE")
    if "value" in columns and flag is None:
        value, is_bad = _value(*columns["value"])
    return f"""
        SELECT {line} AS line, {ids["user_id"]} AS user_id, {ids["anonymous_id"]} AS anonymous_id, {emails} AS emails,
            {ids["profile_id"]} AS profile_id, {value} AS value,
            CASE WHEN {is_bad} THEN 'a value that is not JSON' END AS malformed
        FROM {table}"""


def _id(name: str, column: str, kind: str) -> str:
    family = kind.split("(")[0]
    if family in TEXTS | WHOLE_NUMBERS or (family == "DECIMAL" and kind.endswith(",0)")):
        return f"{_quoted(column)}::VARCHAR"
    if family in FRACTIONS | {"DECIMAL"}:
        finding = f"Column {column} of {name} holds numbers with fractions: an id read as such has lost its zeros."
    else:
        finding = f"Column {column} of {name} holds {family}, which is no id."
    raise unusable(finding, AS_TEXT)


def _emails(name: str, column: str, kind: str) -> str:
    cell = _quoted(column)
    if kind == "VARCHAR[]":
        return f"mails({cell})"
    if kind == "LINES":
        return f"mails(string_split({cell}, chr(10)))"
    if kind.split("(")[0] in TEXTS | {"INTEGER"}:  # some writers call a column without any value that
        return f"mails([{cell}::VARCHAR])"
    raise unusable(f"Column {column} of {name} holds {kind.split('(')[0]}, which is no e-mail.", AS_TEXT)


def _value(column: str, kind: str) -> tuple[str, str]:
    """Return two expressions in SQL: the value as JSON text, and whether it cannot be written so."""
    cell, family = _quoted(column), kind.split("(")[0]
    if kind in FRACTIONS:
        text = f"CASE WHEN isfinite({cell}) THEN tidy_json(to_json({cell}::VARCHAR::DOUBLE)::VARCHAR) END"
        return text, f"isinf({cell})"
    if kind == "JSON":
        text = f"nullif({cell}::VARCHAR, 'null')"
        return f"CASE WHEN is_json({text}) THEN tidy_json({text}) END", f"NOT is_json({text})"
    if family == "DECIMAL":
        return f"plain_number({cell}::VARCHAR)", "FALSE"
    text = f"to_json({_with_moments(cell, kind)})::VARCHAR"
    return text, f"NOT is_json({text})" if kind.endswith("]") or family in {"STRUCT", "MAP"} else "FALSE"


def _with_moments(cell: str, kind: str) -> str:
    """The cell with moments in it, at whatever depth, written as Segment does: 2026-01-02T03:04:05.678Z."""
    return _moments(cell, duckdb.type(kind), 0) if "TIMESTAMP" in kind else cell


def _moments(cell: str, kind: Any, depth: int) -> str:
    """Return `cell` of a type of DuckDB's with its moments written so; `depth` keeps apart the names in nested lists."""
    if kind.id.startswith("timestamp"):
        return f"strftime({cell}::TIMESTAMP, '%Y-%m-%dT%H:%M:%S.%gZ')"
    if "TIMESTAMP" not in str(kind):
        return cell
    each = f"each{depth}"
    if kind.id in ("list", "array"):
        return f"list_transform({cell}, lambda {each}: {_moments(each, kind.children[0][1], depth + 1)})"
    if kind.id == "struct":
        fields = [
            f"{_quoted(name)} := {_moments(f'({cell}).{_quoted(name)}', of, depth)}" for name, of in kind.children
        ]
        return f"CASE WHEN {cell} IS NOT NULL THEN struct_pack({', '.join(fields)}) END"
    if kind.id == "map":
        values = f"list_transform(map_values({cell}), lambda {each}: {_moments(each, kind.children[1][1], depth + 1)})"
        return f"CASE WHEN {cell} IS NOT NULL THEN map(map_keys({cell}), {values}) END"
    return cell


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
