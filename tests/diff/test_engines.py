"""The engine is the one that the settings name."""

import sys

import pytest

from windsor_sync.diff import duckdb
from windsor_sync.diff.choice import engine
from windsor_sync.errors import ConfigError


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
