"""The engine is the one that the settings name."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from states import State, outbox_as_set, states

from windsor_sync.diff import duckdb
from windsor_sync.diff.choice import engine
from windsor_sync.errors import ConfigError
from windsor_sync.storage.duckdb_engine import open_duckdb


def test_duckdb_is_the_engine_unless_spark_is_named() -> None:
    assert engine("duckdb") is duckdb.duckdb_diff


def test_spark_that_is_not_installed_is_a_mistake_of_the_settings_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("windsor_sync.diff.spark", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyspark"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "windsor_sync.diff.spark", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_WithoutSpark(), *sys.meta_path])
    with pytest.raises(ConfigError, match=r"pip install 'windsor-sync\[spark\]'"):
        engine("spark")


class _WithoutSpark:
    """An environment in which pyspark cannot be found."""

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] == "pyspark":
            raise ModuleNotFoundError(f"No module named {name!r}", name="pyspark")


@settings(max_examples=10, deadline=None)
@given(state=states())
def test_an_outbox_of_before_was_sent_what_it_had_in_doubt(state: State) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = replace(state, outbox=[{**row, "was_sent": row["in_doubt"]} for row in state.outbox]).task(folder)
        duckdb.duckdb_diff(task, folder / "now.draft")
        if task.head is not None and task.head.outbox is not None:
            rest = duckdb.remains(task.head)
            without_column(task.head.outbox)
            assert duckdb.remains(task.head) == rest
        duckdb.duckdb_diff(task, folder / "before.draft")
        assert outbox_as_set(str(folder / "before.draft")) == outbox_as_set(str(folder / "now.draft"))


def without_column(outbox: str) -> None:
    """Write the file anew as an earlier version wrote it."""
    with open_duckdb() as connection:
        connection.execute(f"CREATE TABLE kept AS SELECT * EXCLUDE (was_sent) FROM read_parquet('{outbox}')")
        connection.execute(f"COPY kept TO '{outbox}' (FORMAT parquet)")
