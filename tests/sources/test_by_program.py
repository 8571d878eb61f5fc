"""What each program's export comes to, a case for each row of the table in docs/sources/files.md."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from sealing import Bench
from writers import ONE_FILE, Table, by_pandas_csv

from windsor_sync.errors import SnapshotError
from windsor_sync.sources import open_source

MEMBERS: Table = [("00123", "a@x.org"), ("two\nlines", None), ('say "hi"', "b@x.org")]


@dataclass(frozen=True, slots=True)
class Made:
    """One export, and what comes of it."""

    content: str | bytes | Callable[[Path], None]
    says: str = ""
    """of the refusal; empty where it is read"""
    members: tuple[tuple[str, str | None], ...] = (("ana", "a@x.org"), ("ben", None))
    file: str = "s.csv"
    key: str | None = None
    """of the computed trait whose values are asked for"""


def table(*lines: str, end: str = "\n") -> str:
    return end.join((*lines, ""))


def written(writer: str) -> Made:
    ending, write = ONE_FILE[writer]
    rows = tuple((user_id, mail) for user_id, mail in sorted(MEMBERS))
    return Made(lambda path: write(path, MEMBERS), members=rows, file=f"s{ending}")


def by_pandas(path: Path) -> None:
    pd.DataFrame({"user_id": ["ana", "ben"], "consent": [True, False]}).to_csv(path)


def parquet(select: str) -> Callable[[Path], None]:
    return lambda path: duckdb.sql(select).write_parquet(str(path))


def ids(*found: str) -> str:
    return table("user_id,email", *(f'"{each}",' for each in found))


FLAG = "the column consent says true or false"
TWO = "ana,a@x.org", "ben,"
CASES: dict[str, list[Made]] = {
    "pandas, polars, pyarrow, duckdb, fastparquet": [
        written(name)
        for name in ("pandas", "polars", "pyarrow", "duckdb", "pandas, JSON lines", "fastparquet, gzip", "pyarrow, Parquet")
    ],
    "pandas": [
        Made(by_pandas, FLAG),
        Made(table("Unnamed: 0,user_id,consent", "0,ana,True", "1,ben,False"), FLAG),
        Made(table("index,user_id,consent", "0,ana,True", "1,ben,False"), FLAG),
        Made(table("...1,user_id,consent", "1,ana,TRUE", "2,ben,FALSE"), FLAG),
        Made(table(",user_id,email", "0,ana,a@x.org", "1,ben,")),
    ],
    "Excel, LibreOffice, Google Sheets": [written("openpyxl, as CSV"), Made("\ufeff" + table("user_id,email", *TWO, end="\r\n"))],
    "Excel": [Made(lambda path: ONE_FILE["openpyxl"][1](path, MEMBERS), "is an Excel workbook")],
    "Excel, R in Europe": [Made(lambda path: by_pandas_csv(sep=";")(path, MEMBERS), "with semicolons in line 1")],
    "Tableau, MySQL, bcp": [
        Made(table("user_id\temail", "ana\t").encode("utf-16"), "with tabs in line 1"),
        Made(table("user_id\temail", "ana\tNULL"), "with tabs in line 1"),
    ],
    "R": [
        Made(table('"user_id","email"', '"ana","a@x.org"', '"ben",NA')),
        Made(table("user_id", "99999", "1e+05", "100001"), r"1 of 3 user ids are written like 1.2E\+11: .*Excel or R"),
        Made(table('"user_id"', "1e+05", "2e+06"), r"2 of 2 user ids are written like"),
        Made(table("user_id", "99999", "3e3", "100001"), r"1 of 3 user ids are written like 1.2E\+11: .*Excel or R"),
        Made(table("user_id,email", "x1,", "3e3,", "3e8f,"), members=(("3e3", None), ("3e8f", None), ("x1", None))),
        Made(table("user_id,email", "x1,", "1e+05,"), members=(("1e+05", None), ("x1", None))),
    ],
    "Metabase, reports": [
        Made(ids("1,234", "12,345"), "have commas between their thousands"),
        Made(ids("1,2", "a,b"), members=(("1,2", None), ("a,b", None))),
    ],
    "mongoexport": [Made(ids("ObjectId(60f6)", "ObjectId(60f7)"), r"stand in ObjectId\(…\)")],
    "exports made safe for spreadsheets": [Made(ids("'00123", "'=a", "'-b"), "begin with an apostrophe")],
    "CHAR columns": [
        Made(ids("ana   ", "ben   "), "are padded with blanks"),
        Made(ids("ana ", "ben"), members=(("ana ", None), ("ben", None))),
    ],
    "psql `--csv`, `COPY`, sqlite3 `-csv`": [written("sqlite3"), Made(table("user_id,email", *TWO))],
    "psql as it prints": [Made(table(" user_id | email ", "---------+-------", " ana     | ", "(1 row)"), "with vertical bars")],
    "sqlcmd": [
        Made(table("user_id,email", "-------,-----", *TWO), "dashes or the types of its columns in line 2"),
        Made(table("user_id", "-------", "ana"), "dashes or the types of its columns in line 2"),
        Made(table("user_id,email", "--,a@x.org"), members=(("--", "a@x.org"),)),
    ],
    "ClickHouse `CSVWithNamesAndTypes`": [
        Made(table('"user_id","email"', '"UInt64","Nullable(String)"', '1,"a@x.org"'), "the types of its columns in line 2"),
        Made(table("user_id,email", "String,a@x.org"), members=(("String", "a@x.org"),)),
    ],
    "MySQL `INTO OUTFILE`": [
        Made(table("ana", "ben"), "names no user: .* found one column of another name"),
        Made(table('"00123","a@x.org"', '"u,2",\\N'), "names no user"),
        Made(table('"user_id","email"', r'"say \"x\"","b@x.org"', *TWO), "escaped by a backslash"),
    ],
    "SQL*Plus, SQLcl": [Made(table('"USER_ID"', '"ana"', '"ben"', "", "2 rows selected. "), "ends with a footer in line 5")],
    "reports, Influx": [
        Made(table("sep=,", "user_id,email", *TWO), "names its columns in line 2, and not in its first line"),
        Made(table("VIP customers,", "", "user_id,email", *TWO), "names its columns in line 3"),
        Made(table("#datatype,string", "#group,false", "user_id,email", *TWO), "names its columns in line 3"),
    ],
    "Fivetran, Airbyte, Singer, Debezium": [
        Made(table(f"user_id,email,{mark}", "ana,,false"), f"the column {mark} marks rows that were deleted")
        for mark in ("_fivetran_deleted", "_ab_cdc_deleted_at", "_sdc_deleted_at", "__deleted", "__op", "deleted_at", "deletedAt")
    ],
    "DBeaver, SPSS, Excel, JavaScript": [
        Made(table("user_id,ltv", "ana,2", f"ben,{word}"), members=(("ana", None),), key="ltv")
        for word in ("[NULL]", "#NULL!", "#REF!", "undefined")
    ],
    "pandas, a carriage return": [
        Made(f"user_id,email\n{rows}", r"has a carriage return at the beginning of line \d, outside quotation marks")
        for rows in ("\rana,a@x.org\nben,\n", "ben,\n\rana,a@x.org\n", '"b\nen",\n\r\rana,\nx,\n')
    ] + [
        Made("user_id,email\nben,\na\rna,a@x.org\n", "mixes line endings"),
        Made('user_id,email\n"\rana",a@x.org\nben,\n', members=(("\rana", "a@x.org"), ("ben", None))),
        Made("user_id,email\r\nana,a@x.org\r\n\r\nben,\r\n"),
    ],
    "Google Sheets, portals": [Made("<!DOCTYPE html><html>Sign in</html>", "is a web page")],
    "Airbyte, Singer, DynamoDB": [
        Made(line + "\n", f"the rows stand in .*{name}", file="s.jsonl")
        for name, line in (
            ("Airbyte", '{"_airbyte_ab_id": "1", "_airbyte_data": {"user_id": "ana"}}'),
            ("Singer", '{"type": "RECORD", "stream": "vip", "record": {"user_id": "ana"}}'),
            ("Singer", '{"type": "SCHEMA", "stream": "vip", "schema": {}, "key_properties": ["user_id"]}'),
            ("DynamoDB", '{"Item": {"user_id": {"S": "ana"}}}'),
            ("Debezium", '{"before": null, "after": {"user_id": "ana"}, "op": "c"}'),
            ("Kafka Connect", '{"schema": {}, "payload": {"user_id": "ana"}}'),
        )
    ] + [
        Made(table("_airbyte_ab_id,_airbyte_data", '1,"{""user_id"":""ana""}"'), "the rows stand in .*Airbyte"),
        Made(parquet("SELECT '{}' AS _airbyte_data, 1 AS _airbyte_emitted_at"), "the rows stand in .*Airbyte", file="s.parquet"),
        Made('{"Item": "lamp", "user_id": "ana"}\n', members=(("ana", None),), file="s.jsonl"),
    ],
    "mongoexport, JSON": [Made('{"user_id": {"$oid": "60f6"}}\n', "an id that is neither text nor a number", file="s.jsonl")],
    "Impala, older Hive": [Made(parquet("SELECT 'ana'::BLOB AS user_id"), "holds BLOB, which is no id", file="s.parquet")],
    "Snowflake, Parquet": [Made(parquet("SELECT 'ana' AS _COL_0"), "lacks user_id", file="s.parquet")],
}  # fmt: skip
ROWS = [(program, made) for program, cases in CASES.items() for made in cases]


@pytest.mark.parametrize(("program", "made"), ROWS, ids=[f"{program}-{n}" for n, (program, _) in enumerate(ROWS)])
def test_what_a_program_writes_is_read_or_refused_for_its_true_reason(bench: Bench, program: str, made: Made) -> None:
    path = bench.folder / made.file
    if callable(made.content):
        made.content(path)
    else:
        path.write_bytes(made.content if isinstance(made.content, bytes) else made.content.encode())
    keys = {"value_of": made.key} if made.key else {"members_of": "vip"}
    source = open_source(str(path), **keys)
    if made.says:
        with pytest.raises(SnapshotError, match=made.says):
            bench.seal(source)
    else:
        found = bench.members(source, wants_value=made.key is not None)
        assert sorted(((row[0], row[2]) for row in found), key=repr) == sorted(made.members, key=repr)


def test_each_program_of_the_page_is_tried_here() -> None:
    page = (Path(__file__).parents[2] / "docs/sources/files.md").read_text(encoding="utf-8")
    rows = page.partition("| the program |")[2].partition("\n\n")[0].splitlines()[2:]
    programs = [row.removeprefix("| ").split(" | ") for row in rows]
    assert list(dict.fromkeys(program for program, *_ in programs)) == list(CASES)
    for program, _, outcome in programs:
        assert any(bool(made.says) == outcome.startswith("refused") for made in CASES[program]), program
