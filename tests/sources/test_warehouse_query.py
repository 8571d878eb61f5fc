"""Any SQL is a snapshot: its rows are the members, its ids are text, and its size is of no concern."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing import Bench, read
from warehouses import Warehouse

from tests.chaos.processes import IS_CHAOS
from windsor_sync.errors import SnapshotError
from windsor_sync.sources.warehouse_cells import (
    UnreadableCell,
    emails_text,
    id_text,
    is_true,
    untyped_value_text,
    value_text,
)

ROWS = "SELECT * FROM (SELECT '00123' AS \"User_ID\", 'a@x' AS \"EMAIL\", 'p1' AS profile_id) AS t"


def test_columns_are_known_by_their_names_in_any_case(bench: Bench, warehouse: Warehouse) -> None:
    sealed = bench.seal(warehouse.query(ROWS))
    assert read(sealed, ("user_id", "email", "profile_id")) == [("00123", "a@x", "p1")]


def test_columns_of_other_names_are_mapped(bench: Bench, warehouse: Warehouse) -> None:
    source = warehouse.query(
        "SELECT 1 AS customer, 2.50 AS total", {"user_id": "Customer", "value": "total"}, "revenue"
    )
    assert bench.members(source, wants_value=True) == [("1", None, None, "2.5")]
    by_key = warehouse.query("SELECT 'u1' AS user_id, 7 AS revenue", value_of="revenue")
    assert bench.members(by_key, wants_value=True) == [("u1", None, None, "7")]


@pytest.mark.parametrize(
    ("sql", "columns", "value_of", "finding"),
    [
        ("SELECT 'u1' AS customer, 1 AS x", {}, None, "no column user_id: found the columns customer, x."),
        ("SELECT 'u1' AS user_id", {"email": "mail"}, None, "no column mail: found the columns user_id."),
        ("SELECT 'u1' AS user_id", {}, "revenue", "no column revenue: found the columns user_id."),
        ("SELECT 'u1' AS user_id, 7 AS value", {}, None, "value of an audience says neither true nor false"),
        ("SELECT 'u1' AS user_id, 'u2' AS \"USER_ID\"", {}, None, "several columns called user_id"),
        ("UPDATE t SET i = 2", {}, None, "warehouse"),
    ],
)
def test_a_query_that_cannot_be_a_snapshot_is_refused_with_what_it_returns(
    bench: Bench, warehouse: Warehouse, sql: str, columns: dict[str, str], value_of: str | None, finding: str
) -> None:
    warehouse.run("CREATE TABLE t (i integer); INSERT INTO t VALUES (1);")
    with pytest.raises(Exception, match=r"Nothing was sent; the last good snapshot stands\. [A-Z]") as caught:
        bench.seal(warehouse.query(sql, columns, value_of), wants_value=value_of is not None)
    assert finding in str(caught.value)
    assert bench.user_ids(warehouse.query("SELECT i AS user_id FROM t")) == ["1"]  # nothing was written


def test_a_percent_sign_a_colon_and_a_semicolon_at_the_end_are_left_as_they_are(
    bench: Bench, warehouse: Warehouse
) -> None:
    sql = "SELECT '50% :off %s' AS user_id WHERE 'abc' LIKE 'a%' ; \n"
    assert bench.user_ids(warehouse.query(sql)) == ["50% :off %s"]


def test_ids_keep_their_digits_in_every_type_of_column(bench: Bench, on_postgres: Warehouse) -> None:
    on_postgres.run(
        "CREATE TABLE ids (a bigint, b numeric(30, 2), c double precision, d uuid, e text);"
        "INSERT INTO ids VALUES (9007199254740993, 12345678901234567890123.00, 123, "
        "'0A000000-0000-0000-0000-00000000000B', '1e5');"
    )
    union = " UNION ALL ".join(f"SELECT {name}::text AS user_id FROM ids WHERE false" for name in "abcde")
    found = [bench.user_ids(on_postgres.query(f"SELECT {name} AS user_id FROM ids")) for name in "abcde"]
    assert found == [
        ["9007199254740993"], ["12345678901234567890123"], ["123"], ["0a000000-0000-0000-0000-00000000000b"], ["1e5"],
    ]  # fmt: skip
    assert bench.seal(on_postgres.query(union)).members == 0


def test_an_id_of_null_is_missing_and_an_id_null_is_an_id(bench: Bench, warehouse: Warehouse) -> None:
    sql = "SELECT NULL AS user_id UNION ALL SELECT 'null' UNION ALL SELECT 'NULL' UNION ALL SELECT ''"
    sealed = bench.seal(warehouse.query(sql))
    assert [row[0] for row in read(sealed)] == ["NULL", "null"]
    assert sealed.left_out["missing_user_id"] == 2


def test_an_id_with_a_fraction_is_malformed_and_too_many_are_refused_by_row(bench: Bench, warehouse: Warehouse) -> None:
    sql = "SELECT 1.5 AS user_id UNION ALL SELECT 2"
    with pytest.raises(SnapshotError, match=r"1 of 2 rows cannot be read \(an id that is .*whole number; row 1\)"):
        bench.seal(warehouse.query(sql))
    sealed = bench.seal(warehouse.query(sql), max_malformed_percent=50)
    assert (sealed.malformed_lines, sealed.members) == ((1,), 1)


def test_values_keep_their_types(bench: Bench, on_postgres: Warehouse) -> None:
    cells = {
        "true": "true", "450.00::numeric": "450", "0.1::float8": "0.1", "'00123'::text": '"00123"', "'[\"b\"]'::text": '["b"]',
        "ARRAY['a', 'b']": '["a","b"]', "'{\"a\": 1.50}'::jsonb": '{"a":1.5}', "'\"x\"'::jsonb": '"x"',
        "date '2026-01-02'": '"2026-01-02"', "timestamptz '2026-01-02 01:00+01'": '"2026-01-02T00:00:00.000Z"',
        "timestamp '2026-01-02 03:04:05.678'": '"2026-01-02T03:04:05.678Z"', "'NaN'::float8": None, "NULL::text": None,
    }  # fmt: skip
    for cell, expected in cells.items():
        sealed = bench.seal(on_postgres.query(f"SELECT 1 AS user_id, {cell} AS value", value_of="v"), wants_value=True)
        assert [row[3] for row in read(sealed)] == ([expected] if expected else []), cell


def test_an_array_of_e_mails_is_several_e_mails(bench: Bench, on_postgres: Warehouse) -> None:
    for emails in ("ARRAY['b@x', NULL, ' a@x ']", '\'["b@x", null, " a@x "]\'::jsonb', '\'["b@x", "a@x"]\'::text'):
        source = on_postgres.query(f"SELECT 1 AS user_id, {emails} AS email")
        assert bench.members(source, emails="all") == [("1", None, "b@x\na@x", None)]


def test_the_same_rows_are_the_same_snapshot_and_the_time_is_that_of_the_query(
    bench: Bench, warehouse: Warehouse
) -> None:
    rows = ["SELECT 'u1' AS user_id, 'a@x' AS email", "SELECT 'u2', 'b@x'"]
    before = datetime.now(UTC)
    first = bench.seal(warehouse.query(" UNION ALL ".join(rows)))
    between = datetime.now(UTC)
    second = bench.seal(warehouse.query("SELECT 'u2' AS user_id, 'b@x' AS email UNION ALL SELECT 'u1', 'a@x'"))
    assert first.checksum == second.checksum
    assert before <= first.taken_at <= between <= second.taken_at
    assert first.fingerprint is None


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
ids = st.one_of(texts, st.sampled_from(["NA", "null", "1e5", "00123", " x ", "TRUE", "1.0", "\r\n"]))


@settings(max_examples=15, deadline=None)
@given(found=st.lists(ids, min_size=1, max_size=30, unique=True))
def test_text_ids_come_through_to_the_letter(shared_bench: Bench, found: list[str]) -> None:
    path = shared_bench.folder / "ids.db"
    path.unlink(missing_ok=True)
    warehouse = Warehouse(f"sqlite:///{path}", "main")
    warehouse.run("CREATE TABLE ids (id text);")
    warehouse.add("ids", "id", *[(each,) for each in found])
    assert sorted(map(str, shared_bench.user_ids(warehouse.query("SELECT id AS user_id FROM ids")))) == sorted(found)


@given(number=st.integers(-(10**38), 10**38), places=st.integers(0, 6))
def test_a_whole_number_is_an_id_by_its_digits_in_any_type(number: int, places: int) -> None:
    assert id_text(number) == id_text(Decimal(f"{number}.{'0' * places}")) == str(number)
    if abs(number) < 2**53:
        assert id_text(float(number)) == str(number)


@pytest.mark.parametrize(
    "cell",
    [True, 1.5, float(2**53), float("nan"), Decimal("1.5"), Decimal("NaN"), Decimal("1e99999999"), b"x", UTC, ["a"]],
)
def test_what_is_no_id_is_not_made_one(cell: object) -> None:
    with pytest.raises(UnreadableCell):
        id_text(cell)


@given(
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**60), 2**60)
        | st.floats(allow_nan=False, allow_infinity=False)
        | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=6,
    )
)
def test_a_value_is_the_same_json_whether_it_arrives_parsed_or_as_text(value: Any) -> None:
    text = value_text(value)
    assert json.loads(text or "null") == value if not isinstance(value, str) or value[0] not in "[{" else text
    if isinstance(value, list | dict):
        assert json.loads(str(value_text(json.dumps(value)))) == value


def test_cells_that_are_no_value_or_e_mail_are_malformed() -> None:
    for value in (float("inf"), Decimal("Infinity"), b"x", ["\ud800"], {"a": b"x"}, {1, 2}):
        with pytest.raises(UnreadableCell):
            value_text(value)
    for email in (1, b"a@x", [1], {"a": 1}):
        with pytest.raises(UnreadableCell):
            emails_text(email)
    assert value_text(UUID(int=1)) == '"00000000-0000-0000-0000-000000000001"'
    assert value_text("[" * 100_000) == json.dumps("[" * 100_000)
    assert [untyped_value_text(cell) for cell in ("", "1.5", "1e5", "true", "TRUE", "null", 3)] == [
        None, "1.5", '"1e5"', "true", '"TRUE"', '"null"', "3",
    ]  # fmt: skip
    assert [is_true(cell) for cell in (True, 1, Decimal(1), " True", "t", "1")] == [True] * 6
    assert not any(is_true(cell) for cell in (False, 0, 2, None, "false", "yes please", "", b"1"))


MEASURE = """
import sys
sys.modules["pyarrow"] = None  # no dependency of ours, though some tests write files with it
from pathlib import Path
from sealing import highest_mb
from sqlalchemy import create_engine
from windsor_sync.storage import duckdb_engine as embedded
from windsor_sync.snapshots.seal import seal
from windsor_sync.sources.warehouse import Query, WarehouseSource
embedded.MEMORY_LIMIT_MB = 100

def sealed(rows):
    columns = "'user-' || i AS user_id, i || '@example.com' AS email, repeat('x', 300) AS note"
    sql = f"SELECT {columns} FROM generate_series(1, {rows}) i"
    source = WarehouseSource("warehouse", Query(sql, {}), lambda _: create_engine(sys.argv[1]))
    members = seal(source, Path(sys.argv[2])).members
    return members, highest_mb()

_, before = sealed(1_000)
members, after = sealed(1_000_000)
print(members, after - before)
"""


@pytest.mark.skipif(not IS_CHAOS, reason="takes a quarter of a minute; make chaos runs it")
def test_a_million_rows_take_no_more_memory_than_a_chunk_and_the_engine_s_share(
    on_postgres: Warehouse, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", MEASURE, on_postgres.url, str(tmp_path / "sealed.parquet")]
    here = Path(__file__).parent  # where it finds `sealing`
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, cwd=here).stdout
    members, growth_mb = map(int, printed.split())
    assert members == 1_000_000
    assert growth_mb < 300  # the answer itself is over 500 MB
