"""The folders of these tests stand for a file store: engines may read below the temporary folder."""

import tempfile

import pytest

from windsor_sync.storage import duckdb_engine


@pytest.fixture(autouse=True)
def stored_in_the_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duckdb_engine, "_folders", {*duckdb_engine._folders, tempfile.gettempdir()})
