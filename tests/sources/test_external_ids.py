"""The ids of a row as JSON: where they are written as usual, the short way to read them comes to the same as the careful one."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing import Bench

from tests.support.engines import new_engines
from windsor_sync.sources import EngageCsvSource, json_text, newest
from windsor_sync.storage.duckdb_engine import open_duckdb

CAREFUL = {"is_usual(found, t)": "FALSE", "holds_only_texts(raw, t)": "FALSE"}
USUAL = '{"user_id":["u1"],"email":["a@x"]}'
STRINGS = ["u1", "", " a@x ", "1.10", "null", '","', '"],"email":["', "\\", 'a\\"', "[1, 2", ":7", "“q”", "\n", "é"]
ODD = ["1", "-0", "1.10", "1e5", "12345678901234567890123", "true", "null", "[]", '["u"]', '{"user_id": 1}', "NaN", ""]

strings = st.tuples(st.sampled_from(STRINGS), st.booleans()).map(lambda it: json.dumps(it[0], ensure_ascii=it[1]))
elements = strings | strings | st.sampled_from(ODD)
spaces = st.sampled_from(["", "", " ", "\n"])


@st.composite
def ids_as_json(draw: st.DrawFn) -> str:
    """An object of ids as somebody may write it, and now and then not quite an object."""
    space = draw(spaces)
    fields = []
    for key in draw(
        st.lists(st.sampled_from(["user_id", "email", "anonymous_id", "other", "user\\u005fid"]), max_size=4)
    ):
        found = draw(st.lists(elements, min_size=1, max_size=3))
        value = f"[{f',{space}'.join(found)}]" if draw(st.integers(0, 4)) else found[0]
        fields.append(f'"{key}":{space}{value}')
    text = f"{{{f',{space}'.join(fields)}}}"
    return text[draw(st.integers(0, 1)) :] if not draw(st.integers(0, 9)) else text


texts = ids_as_json() | st.tuples(strings, strings).map(lambda it: f'{{"user_id":[{it[0]}],"email":[{it[1]}]}}')


@pytest.fixture(scope="module", autouse=True)
def no_macros_of_before() -> Iterator[None]:
    """An engine that is used again has the macros of its use before."""
    with new_engines():
        yield


def rows_of(path: Path) -> list[Any]:
    with open_duckdb() as connection:
        EngageCsvSource(newest(str(path))).load(connection)
        return connection.execute("SELECT * FROM rows ORDER BY line, user_id").fetchall()


@settings(max_examples=15, deadline=None)
@given(written=st.lists(texts, min_size=1, max_size=60))
def test_ids_are_the_same_by_the_short_way_and_by_the_careful_one(shared_bench: Bench, written: list[str]) -> None:
    path = shared_bench.folder / "ids.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["key", "external_ids"], *(["k", text] for text in [USUAL, *written])])
    found = rows_of(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_text, "_MACROS", json_text._MACROS | CAREFUL)
        assert rows_of(path) == found


def test_ids_written_as_usual_are_read_by_the_short_way() -> None:
    with open_duckdb() as connection:
        json_text.define_macros(connection)
        found = 'from_json(t, \'{"user_id": ["VARCHAR"], "email": ["VARCHAR"]}\')'
        asked = f"SELECT is_usual({found}, t) FROM (SELECT unnest(?) AS t)"
        answers = connection.execute(asked, [[USUAL, USUAL.replace(":", ": "), '{"user_id":["u1","u2"]}']]).fetchall()
    assert answers == [(True,), (False,), (False,)]


def test_a_statement_gets_the_macros_that_it_uses_and_no_others() -> None:
    with open_duckdb() as connection:
        json_text.define_macros(connection, "SELECT mail(t)")
        assert connection.execute("SELECT mail(' a@b ')").fetchall() == [("a@b",)]
        names = "SELECT function_name FROM duckdb_functions() WHERE NOT internal"
        found = {name for (name,) in connection.execute(names).fetchall() if not name.startswith("macros_")}
        assert found == {"mail", "is_nothing", "holds_space"}
        json_text.define_macros(connection)
        assert connection.execute("SELECT tidy_json('1.0')").fetchall() == [("1",)]
