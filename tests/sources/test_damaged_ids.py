"""Ids that a program changed, footers, columns in another spelling, numbers as texts: what real exports bring along."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing import Bench, read

from tests.support.world import KEY, World
from windsor_sync.domain.run import RunState
from windsor_sync.errors import SnapshotError
from windsor_sync.sources import DataFrameSource, open_source
from windsor_sync.usecases.request import Request


def table(*rows: str) -> str:
    return "".join(f"{row}\n" for row in rows)


# -- ids -----------------------------------------------------------------------------------------------------


def test_ids_that_pandas_made_fractions_of_are_refused(bench: Bench) -> None:
    frame = pd.DataFrame({"user_id": [123, 456, None], "email": ["a@x.org", "b@x.org", "c@x.org"]})
    frame.to_csv(bench.folder / "s.csv", index=False)
    with pytest.raises(SnapshotError, match=r"2 of 2 user ids end in \.0: a program such as pandas"):
        bench.seal(bench.folder / "s.csv")


@pytest.mark.parametrize("written", ["1.23457E+11", "1,23457E+11", "1.2E+15", "9E+10"])
def test_ids_that_a_spreadsheet_rounded_are_refused(bench: Bench, written: str) -> None:
    with pytest.raises(SnapshotError, match=r"2 of 3 user ids are written like 1.2E.11: a program such as Excel or R"):
        bench.seal(bench.write(table("user_id,email", f'"{written}",a@x.org', f'"{written}",b@x.org', "u3,")))


def test_ids_in_formulas_are_refused(bench: Bench) -> None:
    with (bench.folder / "s.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["user_id"], ['="00123"'], ['="00456"']])
    with pytest.raises(SnapshotError, match="2 of 2 user ids stand in a formula"):
        bench.seal(bench.folder / "s.csv")


def test_such_ids_are_refused_in_parquet_and_frames_too(bench: Bench) -> None:
    duckdb.sql("SELECT unnest(['1.0', '2.0', 'u3']) AS user_id").write_parquet(str(bench.folder / "s.parquet"))
    for source in (bench.folder / "s.parquet", DataFrameSource(pd.DataFrame({"user_id": ["1.0", "2.0"]}))):
        with pytest.raises(SnapshotError, match=r"end in \.0"):
            bench.seal(source)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.from_regex(r"[a-z][0-9]{1,3}", fullmatch=True), min_size=3, max_size=9, unique=True), st.data())
def test_one_such_id_among_others_stays_an_id(shared_bench: Bench, others: list[str], data: st.DataObject) -> None:
    odd = data.draw(st.sampled_from(["123.0", "1.23457E+11", '="00123"', "1e5", "00123"]))
    frame = pd.DataFrame({"user_id": [*others, odd]})
    frame.to_csv(shared_bench.folder / "s.csv", index=False)
    assert shared_bench.user_ids(shared_bench.folder / "s.csv") == sorted([*others, odd])


def test_ids_that_lost_their_leading_zeros_are_refused_unless_a_person_names_the_file(world: World) -> None:
    world.snapshot(["00123", "00456", "00789", "x"])
    world.sync()
    path = world.snapshot(["123", "456", "789", "x"])
    with pytest.raises(SnapshotError, match=r"3 user ids .* lack the leading zeros that Windsor was told"):
        world.sync()
    assert world.members_shown() == {"00123", "00456", "00789", "x"}
    named = world.sync(KEY, Request(kind="backfill", snapshot_path=str(path)))
    assert named.state is RunState.DONE


def test_users_who_leave_and_others_who_come_lost_no_zeros(world: World) -> None:
    world.snapshot(["00123", "00456", "00789", "x"])
    world.sync()
    world.snapshot(["123", "00789", "x", "y"])
    assert world.sync().state is RunState.DONE


# -- footers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "footer",
    ["(2 rows)", "(2 rows affected)", "Total 2", '"Grand Totals (2 records)"', "-- end --", "2 rows selected."],
)
@pytest.mark.parametrize("header", ["user_id", "user_id,email"])
def test_a_footer_is_refused_by_name_and_never_a_user(bench: Bench, header: str, footer: str) -> None:
    path = bench.write(table(header, *[f"u{number}{',' * header.count(',')}" for number in range(2)], footer, ""))
    with pytest.raises(SnapshotError, match="ends with a footer in line 4"):
        bench.seal(path)


@pytest.mark.parametrize("user_id", ["totally", "total-1", "(ana)", "--ana", "12 rows", "generated"])
def test_an_id_that_resembles_a_footer_is_an_id(bench: Bench, user_id: str) -> None:
    assert bench.user_ids(bench.write(table("user_id", "u1", user_id))) == sorted(["u1", user_id])


@pytest.mark.parametrize("quoted", [r'"say \"hi\""', r'"a \" b",x'])
def test_quotation_marks_escaped_with_a_backslash_are_named(bench: Bench, quoted: str) -> None:
    rows = [f"u{number},n" for number in range(20)]
    path = bench.write(table("user_id,name", *rows, f"u20,{quoted}", *rows))
    with pytest.raises(SnapshotError, match=r"backslash|is never closed"):
        bench.seal(path)


# -- columns in another spelling -----------------------------------------------------------------------------

IDS = ["USER_ID", "userId", "UserID", "User ID", "user-id", "userid"]
MAILS = ["Email", "EMAIL", "E-mail", "E-Mail", "email_address", "emailAddress", "Mail"]


def as_csv(folder: Path, row: dict[str, str]) -> Path:
    pd.DataFrame([row]).to_csv(folder / "s.csv", index=False)
    return folder / "s.csv"


def as_json(folder: Path, row: dict[str, str]) -> Path:
    (folder / "s.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return folder / "s.jsonl"


def as_parquet(folder: Path, row: dict[str, str]) -> Path:
    frame = pd.DataFrame([row])
    duckdb.from_df(frame).write_parquet(str(folder / "s.parquet"))
    return folder / "s.parquet"


WRITERS: dict[str, Callable[[Path, dict[str, str]], Path]] = {"csv": as_csv, "json": as_json, "parquet": as_parquet}


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(IDS), st.sampled_from(MAILS), st.sampled_from(sorted(WRITERS)))
def test_a_known_column_is_known_in_every_spelling(shared_bench: Bench, user_id: str, mail: str, writer: str) -> None:
    path = WRITERS[writer](shared_bench.folder, {user_id: "00123", mail: "a@x.org"})
    assert shared_bench.members(path) == [("00123", None, "a@x.org", None)]


@pytest.mark.parametrize("writer", WRITERS)
def test_two_columns_that_may_be_the_same_one_are_refused_by_name(bench: Bench, writer: str) -> None:
    path = WRITERS[writer](bench.folder, {"user_id": "u1", "Email": "a@x.org", "email_address": "b@x.org"})
    with pytest.raises(SnapshotError, match="several columns that may be email: Email and email_address"):
        bench.seal(path)


@pytest.mark.parametrize("writer", ["csv", "json"])  # to the engine that writes Parquet here the two names are one
def test_the_column_that_is_spelled_as_ours_is_the_one(bench: Bench, writer: str) -> None:
    path = WRITERS[writer](bench.folder, {"user_id": "u1", "email": "a@x.org", "Email": "b@x.org"})
    assert bench.members(path)[0][2] == "a@x.org"


@pytest.mark.parametrize("kind", ["csv", "engage_csv"])
def test_a_column_that_is_often_the_user_id_is_named_and_not_taken_for_it(bench: Bench, kind: str) -> None:
    path = as_csv(bench.folder, {"customer_id": "u1", "email": "a@x.org"})
    with pytest.raises(SnapshotError, match=r"If customer_id is the user id, say .*columns: \{user_id: customer_id\}"):
        bench.seal(open_source(str(path), format=kind))


# -- numbers and booleans as texts ---------------------------------------------------------------------------


def values(bench: Bench, path: Path) -> list[str]:
    return [row[3] for row in read(bench.seal(path, value_of="ltv", wants_value=True))]


@pytest.mark.parametrize("cell", ["True", "TRUE", "true"])
def test_a_boolean_is_one_in_any_case(bench: Bench, cell: str) -> None:
    assert values(bench, bench.write(table("user_id,value", f"u1,{cell}"))) == ["true"]


def test_numbers_with_decimal_commas_are_numbers_where_the_whole_column_is(bench: Bench) -> None:
    rows = ['u1,"84,92"', 'u2,"1.234,50"', "u3,7", "u4,"]
    assert values(bench, bench.write(table("user_id,value", *rows))) == ["84.92", "1234.5", "7"]


def test_texts_with_commas_stay_texts(bench: Bench) -> None:
    rows = ['u1,"84,92"', "u2,most viewed"]
    assert values(bench, bench.write(table("user_id,value", *rows))) == ['"84,92"', '"most viewed"']


def test_whole_numbers_as_texts_in_json_are_numbers_where_the_whole_column_is(bench: Bench) -> None:
    def lines(*cells: object) -> Path:
        rows = [json.dumps({"user_id": f"u{number}", "value": cell}) for number, cell in enumerate(cells)]
        return bench.write(table(*rows), "s.jsonl")

    assert values(bench, lines("42", "-7", None, "9007199254740993")) == ["42", "-7", "9007199254740993"]
    assert values(bench, lines("42", "gold")) == ['"42"', '"gold"']
    assert values(bench, lines("00123", "00456")) == ['"00123"', '"00456"']
