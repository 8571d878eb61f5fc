from pathlib import Path

import pytest
from settings_folder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """One folder for all examples of a property."""
    return Folder(tmp_path_factory.mktemp("property"))
