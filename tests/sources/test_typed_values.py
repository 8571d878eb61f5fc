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


def test_a_frame_with_one_name_for_two_columns_is_refused(bench: Bench) -> None:
    with pytest.raises(SnapshotError, match="several columns called user_id"):
        bench.seal(DataFrameSource(pd.DataFrame([["u1", "u2"]], columns=["user_id", "user_id"])))
