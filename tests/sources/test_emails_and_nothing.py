"""An e-mail has an @; what programs write where there is nothing is no e-mail and no value."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing import Bench, read
from warehouses import Warehouse

from tests.support.world import World
from windsor_sync.sources import DataFrameSource, Source, open_source
from windsor_sync.usecases.check import examine

NOTHING = ["", " ", r"\N", "NULL", "null", "nan", "NaN", "None", "<NA>", "N/A", "-"]
SEVERAL = [
    '["a@x.org","b@x.org"]',
    "a@x.org;b@x.org",
    "a@x.org, b@x.org",
    "['a@x.org', 'b@x.org']",
    "{a@x.org,b@x.org}",
]
NO_EMAIL = ["unknown", "ana at example.com", "0", "a;b", "not-an-email"]

Mails = Sequence[tuple[str, str]]


def by_csv(folder: Path, mails: Mails) -> Source:
    with (folder / "s.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("user_id", "email"), *mails])
    return open_source(str(folder / "s.csv"))


def by_pandas(folder: Path, mails: Mails) -> Source:
    pd.DataFrame(mails, columns=["user_id", "email"]).to_csv(folder / "s.csv", index=False)
    return open_source(str(folder / "s.csv"), format="csv")


def by_json(folder: Path, mails: Mails) -> Source:
    text = "".join(json.dumps({"user_id": user, "email": mail}) + "\n" for user, mail in mails)
    (folder / "s.jsonl").write_text(text, encoding="utf-8")
    return open_source(str(folder / "s.jsonl"))


def by_duckdb(folder: Path, mails: Mails) -> Source:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (user_id VARCHAR, email VARCHAR)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", list(mails))
        connection.execute(f"COPY t TO '{folder / 's.parquet'}'")
    return open_source(str(folder / "s.parquet"))


def by_frame(folder: Path, mails: Mails) -> Source:
    return DataFrameSource(pd.DataFrame(mails, columns=["user_id", "email"]))


def by_query(folder: Path, mails: Mails) -> Source:
    (folder / "w.db").unlink(missing_ok=True)
    warehouse = Warehouse(f"sqlite:///{folder}/w.db", "main")
    warehouse.run("CREATE TABLE t (user_id text, email text);")
    warehouse.add("t", "user_id, email", *mails)
    return warehouse.query("SELECT * FROM t")


WRITERS: dict[str, Callable[[Path, Mails], Source]] = {
    "csv": by_csv,
    "pandas": by_pandas,
    "JSON lines": by_json,
    "duckdb, Parquet": by_duckdb,
    "a DataFrame": by_frame,
    "a query": by_query,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_word_for_nothing_is_no_e_mail_and_is_not_counted(bench: Bench, writer: str) -> None:
    mails = [(f"u{number}", word) for number, word in enumerate(NOTHING)]
    sealed = bench.seal(WRITERS[writer](bench.folder, mails))
    assert {row[2] for row in read(sealed)} == {None}
    assert (sealed.members, sealed.emails_left_out) == (len(NOTHING), 0)


@pytest.mark.parametrize("writer", WRITERS)
def test_several_e_mails_in_a_cell_are_several(bench: Bench, writer: str) -> None:
    mails = [(f"u{number}", cell) for number, cell in enumerate(SEVERAL)]
    assert {row[2] for row in bench.members(WRITERS[writer](bench.folder, mails), emails="all")} == {"a@x.org\nb@x.org"}
    assert {row[2] for row in bench.members(WRITERS[writer](bench.folder, mails), emails="last")} == {"b@x.org"}


@pytest.mark.parametrize("writer", WRITERS)
def test_what_has_no_at_sign_is_left_out_and_counted_and_its_user_stays_a_member(bench: Bench, writer: str) -> None:
    mails = [*((f"u{number}", text) for number, text in enumerate(NO_EMAIL)), ("ana", "ana@example.com")]
    sealed = bench.seal(WRITERS[writer](bench.folder, mails))
    assert {row[0]: row[2] for row in read(sealed)} == {
        **{f"u{number}": None for number in range(len(NO_EMAIL))},
        "ana": "ana@example.com",
    }
    assert sealed.emails_left_out == len(NO_EMAIL)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from([*NOTHING, *NO_EMAIL, "c@x.org", " d@x.org "]), min_size=1, max_size=8),
    st.sampled_from(sorted(WRITERS)),
    st.sampled_from(["first", "last", "all"]),
)
def test_whatever_stands_in_the_cells_an_e_mail_that_is_sent_has_an_at_sign(
    shared_bench: Bench, cells: list[str], writer: str, emails: str
) -> None:
    mails = [(f"u{number}", cell) for number, cell in enumerate(cells)]
    sealed = shared_bench.seal(WRITERS[writer](shared_bench.folder, mails), emails=emails)
    assert {row[0]: row[2] for row in read(sealed)} == {
        user: cell.strip() if "@" in cell else None for user, cell in mails
    }
    assert sealed.emails_left_out == sum(cell in NO_EMAIL for cell in cells)


@pytest.mark.parametrize("kind", ["engage_csv", "csv"])
def test_a_word_for_nothing_is_no_value(bench: Bench, kind: str) -> None:
    rows = "".join(f"u{number},{word}\n" for number, word in enumerate(NOTHING))
    path = bench.write(f"user_id,value\nana,5\n{rows}")
    sealed = bench.seal(open_source(str(path), format=kind, value_of="ltv"), wants_value=True)
    assert (sealed.members, sealed.left_out["missing_value"]) == (1, len(NOTHING))


def test_an_e_mail_that_was_told_is_not_replaced_by_an_empty_one(world: World) -> None:
    world.snapshot({"ana": "ana@example.com", "ben": "ben@example.com"})
    world.sync()
    world.snapshot({"ana": "", "ben": "NULL"})
    assert world.sync().books.changes == 0
    world.snapshot({"ana": "new@example.com", "ben": "ben@example.com"})
    world.sync()
    assert world.windsor.store.accepted[-1].user_id in {"ana", "ben"}


def test_the_books_and_check_say_how_many_e_mails_were_left_out(world: World) -> None:
    world.snapshot({"ana": "unknown", "ben": "nobody", "cy": "cy@example.com"})
    assert world.sync().options["emails_left_out"] == 2
    texts = [finding.text for finding in examine(world.workspace)]
    assert any("in which 2 e-mails had no @ and were left out" in text for text in texts)
