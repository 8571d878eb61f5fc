"""Every example of docs/sources/warehouse.md does what the page says."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from windsor_sync.settings import ComputedTrait, load
from windsor_sync.snapshots.seal import seal
from windsor_sync.sources import source_for

PAGE = Path(__file__).parents[2] / "docs" / "sources" / "warehouse.md"
SECTION = re.compile(r"^## (.*)\n((?:(?!^## ).*\n)*)", re.MULTILINE)
BLOCK = re.compile(r"^```(sql|yaml|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = {
    name: blocks
    for name, body in SECTION.findall(PAGE.read_text(encoding="utf-8"))
    if (blocks := dict(BLOCK.findall(body)))
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_do_what_they_say(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = EXAMPLES[name]
    with closing(sqlite3.connect(tmp_path / "warehouse.db")) as warehouse:
        warehouse.executescript(example["sql"])
    monkeypatch.setenv("WINDSOR_CONNECTION_WAREHOUSE", f"sqlite:///{tmp_path}/warehouse.db")
    settings = tmp_path / "windsor.yaml"
    settings.write_text(f"destination: {{url: http://127.0.0.1:8474/}}\n{example['yaml']}", encoding="utf-8")
    (computation,) = load(settings, env={}).computations
    sealed = seal(source_for(computation), tmp_path / "s.parquet", wants_value=isinstance(computation, ComputedTrait))
    with duckdb.connect() as connection:
        rows = connection.execute(f"SELECT user_id, email, value FROM '{sealed.path}' ORDER BY user_id").fetchall()
    assert [" ".join(filter(None, row)) for row in rows] == example["text"].splitlines()


def test_the_page_has_an_example_of_each_way() -> None:
    assert len(EXAMPLES) == 5
    for way in ("query:", "profiles_sync:", "engage:"):
        assert any(way in example["yaml"] for example in EXAMPLES.values())
