"""A stage on each database."""

from pathlib import Path

import pytest

from tests.contracts.stage import Stage
from windsor_sync.state.database import Database
from windsor_sync.storage.file_store import FileStore


@pytest.fixture
def stage(database: Database, tmp_path: Path) -> Stage:
    """An empty state with a file store."""
    return Stage(database, FileStore(str(tmp_path / "files")))
