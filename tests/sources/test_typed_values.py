"""A value keeps its meaning whichever typed table it comes from: a number stays one, a moment is written as Segment does."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import duckdb
import numpy as np
import pandas as pd
import pytest
from sealing import Bench

from windsor_sync.errors import SnapshotError
from windsor_sync.sources import DataFrameSource, open_source

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def frame_of(*values: object) -> pd.DataFrame:
    users = [f"u{number}" for number in range(len(values))]
    return pd.DataFrame({"user_id": users, "total": pd.Series(values, dtype=object)})


@pytest.mark.parametrize(
    ("sql", "value", "text"),
    [
        ("1200.50::DECIMAL(10,2)", Decimal("1200.50"), "1200.5"),
        ("7::DECIMAL(10,2)", Decimal("7.00"), "7"),
        ("7::BIGINT", np.int64(7), "7"),
        ("2.5::FLOAT", np.float32(2.5), "2.5"),
        ("true", np.True_, "true"),
        ("TIMESTAMP '2026-01-02 03:04:05.678'", MOMENT.replace(tzinfo=None), '"2026-01-02T03:04:05.678Z"'),
        ("TIMESTAMPTZ '2026-01-02 03:04:05.678+00'", MOMENT, '"2026-01-02T03:04:05.678Z"'),
        (
            "TIMESTAMP '2026-01-02 03:04:05.678'",
            pd.Timestamp(MOMENT.replace(tzinfo=None)),
            '"2026-01-02T03:04:05.678Z"',
        ),
        ("DATE '2026-01-02'", date(2026, 1, 2), '"2026-01-02"'),
        ("uuid '00000000-0000-0000-0000-000000000001'", UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        ("{'a': 1, 'b': ['x']}", {"a": 1, "b": ["x"]}, '{"a":1,"b":["x"]}'),
        ("{'on': DATE '2026-01-02'}", {"on": date(2026, 1, 2)}, '{"on":"2026-01-02"}'),
    ],
)
def test_a_parquet_column_and_python_objects_give_the_same_json(
    bench: Bench, sql: str, value: object, text: str
) -> None:
    path = bench.folder / "members.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 'u0' AS user_id, {sql} AS total) TO '{path}' (FORMAT parquet)")
    parquet = bench.members(path, value_of="total", wants_value=True)
    frame = bench.members(DataFrameSource(frame_of(value), value_of="total"), wants_value=True)
    assert parquet == frame == [("u0", None, None, text)]


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), Decimal("Infinity"), {"deep": b"x"}])
def test_an_object_that_json_has_no_word_for_is_refused_by_its_column(bench: Bench, value: object) -> None:
    with pytest.raises(SnapshotError, match="Column total of DataFrame holds objects"):
        bench.seal(DataFrameSource(frame_of(value), value_of="total"), wants_value=True)


def test_a_row_whose_number_is_infinite_is_named_by_its_row(bench: Bench) -> None:
    path = bench.folder / "members.parquet"
    numbers = "SELECT 'u' || i AS user_id, if(i = 2, 'inf', '1.5')::DOUBLE AS total FROM range(1, 4) t(i)"
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({numbers}) TO '{path}' (FORMAT parquet)")
        frame = connection.execute(numbers).df()
    for source in (open_source(str(path), value_of="total"), DataFrameSource(frame, value_of="total")):
        with pytest.raises(SnapshotError, match=r"1 of 3 rows cannot be read \(a value that is not JSON; row 2\)"):
            bench.seal(source, wants_value=True)


ODD_IDS = {
    "whole numbers with gaps": (pd.array([7, None, 2**53 + 1], dtype="Int64"), ["7", "9007199254740993"]),
    "unsigned": (np.array([2**64 - 1], dtype="uint64"), ["18446744073709551615"]),
    "texts with gaps": (pd.array(["00123", None, "NA"], dtype="string"), ["00123", "NA"]),
    "texts and what stands for none": (
        pd.Series(["nan", None, np.nan, pd.NA, pd.NaT, ""], dtype=object),
        ["nan"],
    ),
    "texts among numbers": (pd.Series([1, "00123", np.int8(2), np.str_("x")], dtype=object), ["00123", "1", "2", "x"]),
    "categories of texts": (pd.Categorical(["b", "00123", None, "b"]), ["00123", "b"]),
    "categories of numbers": (pd.Categorical([30, 4]), ["30", "4"]),
    "categories of numbers with gaps": (pd.Categorical([30, None, 4]), ["30", "4"]),
    "categories, a late text among numbers": (pd.Categorical([*range(10, 5010), "00123"]), ["00123", "10"]),
    "sparse": (pd.arrays.SparseArray([0, 7]), ["0", "7"]),
    "UUIDs, as a driver hands them over": ([UUID(int=1)], ["00000000-0000-0000-0000-000000000001"]),
    "decimals, as a driver hands them over": ([Decimal("7"), Decimal("8.00")], ["7", "8"]),
    "nothing at all": ([np.nan, None], []),
}


@pytest.mark.parametrize(("ids", "users"), ODD_IDS.values(), ids=ODD_IDS)
def test_ids_are_the_same_texts_however_pandas_keeps_them(bench: Bench, ids: object, users: list[str]) -> None:
    frame = pd.DataFrame({"user_id": pd.Series(ids)})  # type: ignore[call-overload]
    assert bench.user_ids(DataFrameSource(frame))[: len(users)] == users
    frame.index = pd.Index([5] * len(frame))  # an index says nothing, not even that rows are different ones
    assert bench.user_ids(DataFrameSource(frame))[: len(users)] == users


@pytest.mark.parametrize(
    ("ids", "finding"),
    [
        ([1.0, np.nan], "user_id of DataFrame holds numbers with fractions: an id read as such has lost its zeros"),
        ([Decimal("1.5")], "Column user_id of DataFrame holds objects that are neither text nor numbers"),
        ([True, "x"], "Column user_id of DataFrame holds objects that are neither text nor numbers"),
        (pd.period_range("2026", periods=1, freq="M"), "holds objects that are neither text nor numbers"),
        (pd.interval_range(0, 1), "holds objects that are neither text nor numbers"),
    ],
    ids=["gaps made fractions of numbers", "fractions", "truth", "months", "intervals"],
)
def test_what_is_no_id_is_refused_by_its_column(bench: Bench, ids: object, finding: str) -> None:
    with pytest.raises(SnapshotError, match=finding):
        bench.seal(DataFrameSource(pd.DataFrame({"user_id": pd.Series(ids)})))  # type: ignore[call-overload]


def test_users_in_the_index_are_not_looked_for_there_and_the_refusal_says_so(bench: Bench) -> None:
    frame = pd.DataFrame({"user_id": ["u1"], "email": ["a@x"]}).set_index("user_id")
    with pytest.raises(SnapshotError, match=r"lacks user_id: found the columns email.*reset_index\(\)"):
        bench.seal(DataFrameSource(frame))
    assert bench.user_ids(DataFrameSource(frame.reset_index())) == ["u1"]


@pytest.mark.parametrize(
    ("cell", "mails"),
    [
        (["b@x", np.nan, None, pd.NA, "a@x"], "b@x\na@x"),  # as groupby(…).agg(list) makes them
        (np.array(["b@x", "a@x"], dtype=object), "b@x\na@x"),  # as read_parquet does
        ([], None),
        ([np.nan], None),
    ],
)
def test_several_e_mails_come_in_a_list_with_gaps_or_an_array(bench: Bench, cell: object, mails: str | None) -> None:
    frame = pd.DataFrame({"user_id": ["u1"], "email": pd.Series([cell], dtype=object)})
    assert bench.members(DataFrameSource(frame), emails="all") == [("u1", None, mails, None)]


@pytest.mark.parametrize("cell", [{"a@x": 1}, {"a@x"}, b"a@x", ["a@x", 7]])
def test_what_is_no_e_mail_is_refused_by_its_column(bench: Bench, cell: object) -> None:
    frame = pd.DataFrame({"user_id": ["u1"], "email": pd.Series([cell], dtype=object)})
    with pytest.raises(SnapshotError, match="Column email of DataFrame holds objects that are neither text nor lists"):
        bench.seal(DataFrameSource(frame))


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pd.Categorical([True, 1, "1"]), ["true", "true", '"1"']),
        (pd.Categorical(["x", None, "y"]), ['"x"', '"y"']),
        (pd.array([True, None, False], dtype="boolean"), ["true", "false"]),
        (pd.array([1, None, 3], dtype="Int64"), ["1", "3"]),
        (pd.arrays.SparseArray([1.5, 0, 0]), ["1.5", "0", "0"]),
        (pd.Series([np.array([1, 2]), [np.int8(3)], None], dtype=object), ["[1,2]", "[3]"]),
        (pd.to_datetime(["2026-01-02T05:04:05.678+02:00", None]), ['"2026-01-02T03:04:05.678Z"']),
    ],
    ids=lambda one: str(getattr(one, "dtype", "")),
)
def test_a_value_is_the_same_json_however_pandas_keeps_it(bench: Bench, values: object, texts: list[str]) -> None:
    column = pd.Series(values)  # type: ignore[call-overload]
    frame = pd.DataFrame({"user_id": [f"u{number}" for number in range(len(column))], "total": column})
    found = [row[3] for row in bench.members(DataFrameSource(frame, value_of="total"), wants_value=True)]
    assert found == texts


def test_a_frame_with_one_name_for_two_columns_is_refused(bench: Bench) -> None:
    with pytest.raises(SnapshotError, match="several columns called user_id"):
        bench.seal(DataFrameSource(pd.DataFrame([["u1", "u2"]], columns=["user_id", "user_id"])))
