"""`false` is not membership: which column says who is a member, in the files that programs really write."""

import csv
import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing import Bench, read
from sqlalchemy import create_engine
from warehouses import Warehouse

from windsor_sync.errors import SnapshotError
from windsor_sync.settings import Audience, Snapshot
from windsor_sync.sources import DataFrameSource, Source, WarehouseSource, open_source, source_for
from windsor_sync.sources.warehouse import Query

Flags = Sequence[tuple[str, bool]]
FLAGS: Flags = [("00123", True), ("u2", False), ("u3", True), ("u4", False)]


def rewritten(words: dict[bool, Any]) -> Callable[[Path, Flags], Path]:
    """A CSV file with these words for true and false."""

    def write(folder: Path, flags: Flags) -> Path:
        path = folder / "s.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["user_id", "vip"])
            writer.writerows([user, words[flag]] for user, flag in flags)
        return path

    return write


def frame(flags: Flags) -> pd.DataFrame:
    return pd.DataFrame({"user_id": [user for user, _ in flags], "vip": [flag for _, flag in flags]}).astype(
        {"user_id": "string[python]", "vip": bool}
    )


def by_pandas_csv(folder: Path, flags: Flags) -> Path:
    frame(flags).to_csv(folder / "s.csv", index=False)
    return folder / "s.csv"


def by_pandas_json(folder: Path, flags: Flags) -> Path:
    frame(flags).to_json(folder / "s.jsonl", orient="records", lines=True)
    return folder / "s.jsonl"


def by_pyarrow(kind: str) -> Callable[[Path, Flags], Path]:
    def write(folder: Path, flags: Flags) -> Path:
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet")
        ids = pa.array([user for user, _ in flags], pa.string())
        table = pa.table({"user_id": ids, "vip": pa.array([flag for _, flag in flags], pa.bool_()).cast(kind)})
        pa.parquet.write_table(table, folder / "s.parquet")
        return folder / "s.parquet"

    return write


def by_duckdb(name: str) -> Callable[[Path, Flags], Path]:
    def write(folder: Path, flags: Flags) -> Path:
        with duckdb.connect() as connection:
            connection.execute("CREATE TABLE t (user_id VARCHAR, vip BOOLEAN)")
            if flags:
                connection.executemany("INSERT INTO t VALUES (?, ?)", flags)
            connection.execute(f"COPY t TO '{folder / name}'")
        return folder / name

    return write


def by_sqlite(folder: Path, flags: Flags) -> Source:
    path = folder / "warehouse.db"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE users (user_id TEXT, vip BOOLEAN)")
        connection.executemany("INSERT INTO users VALUES (?, ?)", flags)
    query = Query("SELECT user_id, vip FROM users", {}, members_of="vip")
    return WarehouseSource("warehouse", query, lambda _: create_engine(f"sqlite:///{path}"))


def by_frame(folder: Path, flags: Flags) -> Source:
    return DataFrameSource(frame(flags), members_of="vip")


WRITERS: dict[str, Callable[[Path, Flags], Path | Source]] = {
    "csv: true, false": rewritten({True: "true", False: "false"}),
    "Excel: TRUE, FALSE": rewritten({True: "TRUE", False: "FALSE"}),
    "Python: True, False": rewritten({True: True, False: False}),
    "PostgreSQL: t, f": rewritten({True: "t", False: "f"}),
    "Oracle: Y, N": rewritten({True: "Y", False: "N"}),
    "MySQL: 1, 0": rewritten({True: 1, False: 0}),
    "pandas, CSV": by_pandas_csv,
    "pandas, JSON lines": by_pandas_json,
    "pyarrow, booleans": by_pyarrow("bool"),
    "pyarrow, numbers": by_pyarrow("int8"),
    "pyarrow, texts": by_pyarrow("string"),
    "duckdb, CSV": by_duckdb("s.csv"),
    "duckdb, JSON": by_duckdb("s.jsonl"),
    "duckdb, Parquet": by_duckdb("s.parquet"),
    "sqlite3, a query": by_sqlite,
    "pandas, a DataFrame": by_frame,
}


def opened(made: Path | Source, key: str = "vip") -> Source:
    return open_source(str(made), members_of=key) if isinstance(made, Path) else made


@pytest.mark.parametrize("writer", WRITERS)
def test_true_rows_are_members_and_false_rows_are_counted_as_not_members(bench: Bench, writer: str) -> None:
    sealed = bench.seal(opened(WRITERS[writer](bench.folder, FLAGS)))
    assert [row[0] for row in read(sealed)] == ["00123", "u3"]
    assert (sealed.rows_read, sealed.members, sealed.left_out["not_members"]) == (4, 2, 2)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.text("ab01", min_size=1, max_size=3), st.booleans()), min_size=1, unique_by=lambda row: row[0]
    ),
    st.sampled_from(sorted(name for name in WRITERS if "pyarrow" not in name)),
)
def test_whatever_table_of_flags_by_whatever_writer_its_true_rows_are_the_members(
    shared_bench: Bench, flags: Flags, writer: str
) -> None:
    sealed = shared_bench.seal(opened(WRITERS[writer](shared_bench.folder, flags)))
    assert [row[0] for row in read(sealed)] == sorted(user for user, is_member in flags if is_member)
    assert sealed.left_out["not_members"] == sum(not is_member for _, is_member in flags)


@pytest.mark.parametrize("name", ["vip", "VIP", "value", "is_member", "isMember", "member"])
def test_the_column_may_be_called_as_the_key_or_by_what_it_says(bench: Bench, name: str) -> None:
    path = bench.write(f"user_id,{name},email\nana,true,a@example.com\nben,false,b@example.com\n")
    for kind in ("engage_csv", "csv"):
        assert bench.user_ids(open_source(str(path), format=kind, members_of="vip")) == ["ana"]


@pytest.mark.parametrize("kind", ["csv", "query"])
def test_a_name_of_ones_own_goes_into_the_columns_setting(bench: Bench, kind: str) -> None:
    if kind == "csv":
        bench.write("customer,active\nana,true\nben,false\n")
        snapshot = Snapshot(
            path=str(bench.folder / "snapshot.csv"), format="csv", columns={"user_id": "customer", "value": "active"}
        )
        assert bench.user_ids(source_for(Audience(name="VIP", snapshot=snapshot))) == ["ana"]
    else:
        database = Warehouse(f"sqlite:///{bench.folder}/w.db", "main")
        database.run("CREATE TABLE t (user_id text, active int); INSERT INTO t VALUES ('ana', 1), ('ben', 0);")
        assert bench.user_ids(database.query("SELECT * FROM t", {"value": "active"}, members_of="vip")) == ["ana"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.csv", "user_id,consent\nana,true\nben,false\n"),
        ("s.csv", "user_id,consent\nana,t\nben,f\n"),
        ("s.csv", "user_id,email,consent\nana,a@example.com,True\nben,b@example.com,True\n"),
        ("s.jsonl", '{"user_id":"ana","consent":true}\n{"user_id":"ben","consent":false}\n'),
    ],
)
def test_a_column_of_booleans_of_another_name_alone_beside_the_ids_is_refused_by_name(
    bench: Bench, name: str, content: str
) -> None:
    with pytest.raises(SnapshotError, match=r"the column consent says true or false .*\{value: consent\}"):
        bench.seal(open_source(str(bench.write(content, name)), members_of="vip"))


def test_a_query_or_a_frame_with_such_a_column_is_refused_too(bench: Bench, warehouse: Warehouse) -> None:
    warehouse.run("CREATE TABLE t (user_id text, consent boolean); INSERT INTO t VALUES ('ana', true);")
    with_words = "SELECT user_id, CASE WHEN consent THEN 'true' ELSE 'false' END AS consent FROM t"
    with pytest.raises(SnapshotError, match="the column consent says true or false"):
        bench.seal(warehouse.query(with_words))
    with pytest.raises(SnapshotError, match="the column consent says true or false"):
        bench.seal(DataFrameSource(frame(FLAGS).rename(columns={"vip": "consent"})))


@pytest.mark.parametrize(
    "content",
    [
        "user_id,plan\nana,gold\nben,silver\n",
        "user_id,initial\nana,n\nben,n\n",
        "user_id,visits\nana,1\nben,0\n",
        "user_id,consent,country\nana,true,de\nben,false,fr\n",
        "key,user_id,consent\nuse_1,ana,true\nuse_2,ben,false\n",
        "user_id,member\nana,gold\nben,\n",
        "user_id,value\nana,\nben,\n",
    ],
)
def test_other_columns_say_nothing_of_membership(bench: Bench, content: str) -> None:
    assert bench.user_ids(open_source(str(bench.write(content)), members_of="vip")) == ["ana", "ben"]


@pytest.mark.parametrize("cell", ["", "NULL", "maybe", '""'])
def test_a_row_that_says_neither_is_unreadable_and_its_user_is_protected(bench: Bench, cell: str) -> None:
    path = bench.write(f"user_id,vip\nana,true\nben,{cell}\ncy,false\ndee,true\n")
    sealed = bench.seal(open_source(str(path), members_of="vip"), max_malformed_percent=30)
    assert sealed.members == 2
    assert sealed.unreadable is not None
    assert (sealed.unreadable.nameless, len(sealed.unreadable.protected)) == (0, 1)
    assert "neither true nor false about the membership; line 3" in sealed.unreadable.finding


def test_a_table_with_a_history_is_refused(bench: Bench) -> None:
    path = bench.write("user_id,vip\nana,true\nben,true\nana,false\n")
    with pytest.raises(SnapshotError, match="says both true and false of 1 user"):
        bench.seal(open_source(str(path), members_of="vip"))


def test_of_a_computed_trait_true_and_false_are_values(bench: Bench) -> None:
    path = bench.write(json.dumps({"user_id": "ana", "value": False}) + "\n", "s.jsonl")
    assert bench.members(path, value_of="vip", wants_value=True) == [("ana", None, None, "false")]
