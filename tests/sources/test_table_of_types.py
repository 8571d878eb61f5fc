"""Every cell of the documentation's table of types is what that source makes of the value."""

import csv
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from sealing import Bench, read
from warehouses import Warehouse

from windsor_sync.errors import SnapshotError
from windsor_sync.snapshots.seal import Sealed
from windsor_sync.sources import DataFrameSource, Source, open_source

DOCUMENT = Path(__file__).parents[2] / "docs" / "sources.md"
NAMES = {"datetime": datetime, "date": date, "Decimal": Decimal, "UTC": UTC}
SOURCES = ("CSV", "JSON lines", "Parquet", "DataFrame", "PostgreSQL", "SQLite")


def table() -> list[dict[str, str]]:
    """The rows of the table, cells without their backquotes."""
    text = DOCUMENT.read_text(encoding="utf-8").split("## Types of values")[1]
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    header = [name.strip() for name in lines[0]]
    return [dict(zip(header, [cell.strip().strip("`") for cell in line], strict=True)) for line in lines[2:]]


def csv_of(bench: Bench, cell: str) -> Source:
    out = StringIO()
    csv.writer(out).writerows([("user_id", "total"), ("u0", cell)])
    return open_source(str(bench.write(out.getvalue())), format="csv", value_of="total")


def json_of(bench: Bench, cell: str) -> Source:
    path = bench.write(f'{{"user_id":"u0","total":{cell}}}\n', "members.jsonl")
    return open_source(str(path), value_of="total")


def parquet_of(bench: Bench, cell: str) -> Source:
    path = bench.folder / "members.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 'u0' AS user_id, {cell} AS total) TO '{path}' (FORMAT parquet)")
    return open_source(str(path), value_of="total")


def frame_of(_: Bench, cell: str) -> Source:
    value = eval(cell, dict(NAMES))  # of our own documentation
    return DataFrameSource(pd.DataFrame({"user_id": ["u0"], "total": pd.Series([value])}), value_of="total")


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_makes_of_a_value_what_the_documentation_says(
    bench: Bench, kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "PostgreSQL":
        warehouse: Warehouse = request.getfixturevalue("on_postgres")
    else:
        warehouse = Warehouse(f"sqlite:///{bench.folder}/warehouse.db", "main")
    makers = {"CSV": csv_of, "JSON lines": json_of, "Parquet": parquet_of, "DataFrame": frame_of}
    wrong = []
    cells = [row for row in table() if row[kind] != "–"]
    for row in cells:
        query = warehouse.query(f"SELECT 'u0' AS user_id, {row[kind]} AS total", value_of="total")
        source = makers[kind](bench, row[kind]) if kind in makers else query
        try:
            found = [value for _, _, _, value in bench.members(source, wants_value=True)]
        except SnapshotError as error:  # one row, and it has no value
            found = [] if "none of its 1 rows has a value" in str(error) else [str(error)]
        if found != ([] if row["Windsor is told"] == "nothing" else [row["Windsor is told"]]):
            wrong.append((row["value"], row[kind], found))
    assert (wrong, len(cells) > 6) == ([], True)


def test_the_table_has_every_source() -> None:
    assert {name for row in table() for name in row} == {"value", *SOURCES, "Windsor is told"}


def of_values(bench: Bench, values: list[str]) -> Sealed:
    """Seal a CSV file with a column of these values."""
    rows = "".join(f'u{number},"{value}"\n' for number, value in enumerate(values))
    return bench.seal(bench.write(f"user_id,ltv\n{rows}"), format="csv", value_of="ltv", wants_value=True)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (["84,92", "1.234,5", "7"], ["84.92", "1234.5", "7"]),
        (["84,92", "84.92", "7,5"], ['"84,92"', "84.92", '"7,5"']),  # 84.92 may be meant as 8492
        (["84,92", "7,5", "none yet"], ['"84,92"', '"7,5"', '"none yet"']),
        (["a", "b", "7,5"], ['"a"', '"b"', '"7,5"']),
    ],
    ids=["all", "with a point", "with a text", "texts"],
)
def test_decimal_commas_are_numbers_where_the_whole_column_is_and_the_column_is_named_otherwise(
    bench: Bench, values: list[str], texts: list[str]
) -> None:
    sealed = of_values(bench, values)
    assert [row[3] for row in read(sealed)] == texts
    is_named = texts[0] == '"84,92"'
    assert [remark.split(":")[0] for remark in sealed.remarks] == is_named * [
        "The column ltv has numbers with a decimal comma beside other values"
    ]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (["7", "NA", "84.92"], ["7", "84.92"]),  # R
        ([".", "7", ".", "."], ["7"]),  # SAS
        (["TRUE", "NA", "FALSE"], ["true", "false"]),
        (["84,92", "NA", "7,5"], ["84.92", "7.5"]),
        (["NA", "EU", "APAC"], ['"NA"', '"EU"', '"APAC"']),  # a region
        (["NA", "."], ['"NA"', '"."']),
        (["7", "NA", "many"], ["7", '"NA"', '"many"']),
    ],
)
def test_what_r_and_sas_write_for_a_missing_number_is_no_value_among_numbers_and_text_among_texts(
    bench: Bench, values: list[str], texts: list[str]
) -> None:
    sealed = of_values(bench, values)
    assert [row[3] for row in read(sealed)] == texts
    assert sealed.remarks == ()


@pytest.mark.parametrize(
    "values", [["$12", "$1,234.50"], ["1,234.5", "12,345.0", "7"], ["€ 12", "-€5"], ["12 %", "7%"], ["$12", "NA"]]
)
def test_numbers_as_reports_show_them_are_told_as_text_and_the_column_is_named(bench: Bench, values: list[str]) -> None:
    sealed = of_values(bench, values)
    assert [row[3] for row in read(sealed)] == [
        value if value == "7" else json.dumps(value, ensure_ascii=False) for value in values
    ]
    assert [remark.split(",")[0] for remark in sealed.remarks] == ["The column ltv has numbers as reports show them"]


def test_parts_of_one_snapshot_are_judged_together(bench: Bench) -> None:
    """One part alone would be numbers, and the other one texts."""
    for number, values in enumerate((["84,92", "7,5"], ["3,5", "none yet"])):
        rows = "".join(f'u{number}{place},"{value}"\n' for place, value in enumerate(values))
        bench.write(f"user_id,ltv\n{rows}", f"part-0000{number}.csv")
    source = open_source(str(bench.folder / "*.csv"), format="csv", value_of="ltv", consists_of="all_files")
    sealed = bench.seal(source, wants_value=True)
    assert [row[3] for row in read(sealed)] == ['"84,92"', '"7,5"', '"3,5"', '"none yet"']
    assert len(sealed.remarks) == 1


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["42", "-7"], ["42", "-7"]),
        (["84.92", "3"], ["84.92", "3"]),
        (["1.10", "1.2"], ['"1.10"', '"1.2"']),  # numbers of versions
        (["007", "42"], ['"007"', '"42"']),
        (["42", "many"], ['"42"', '"many"']),
    ],
)
def test_numbers_as_json_strings_are_numbers_where_all_of_them_can_be_nothing_else(
    bench: Bench, texts: list[str], values: list[str]
) -> None:
    lines = "".join(f'{{"user_id":"u{number}","ltv":"{text}"}}\n' for number, text in enumerate(texts))
    path = bench.write(lines, "members.jsonl")
    assert [row[3] for row in bench.members(path, value_of="ltv", wants_value=True)] == values


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("[TIMESTAMP '2026-01-02 03:04:05', NULL]", '["2026-01-02T03:04:05.000Z",null]'),
        (
            "{'a': [{'b': TIMESTAMPTZ '2026-01-02 05:04:05+02'}], 'c': 1}",
            '{"a":[{"b":"2026-01-02T03:04:05.000Z"}],"c":1}',
        ),
        ("MAP {'k': TIMESTAMP '2026-01-02 03:04:05'}", '{"k":"2026-01-02T03:04:05.000Z"}'),
        ("{'a b': [[TIMESTAMP '2026-01-02 03:04:05']]}", '{"a b":[["2026-01-02T03:04:05.000Z"]]}'),
        ("{'a': NULL::TIMESTAMP, 'b': NULL::STRUCT(c TIMESTAMP)}", '{"a":null,"b":null}'),
    ],
)
def test_a_moment_at_any_depth_of_a_parquet_value_is_written_as_segment_does(bench: Bench, sql: str, told: str) -> None:
    assert bench.members(parquet_of(bench, sql), wants_value=True) == [("u0", None, None, told)]
