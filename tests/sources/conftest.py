from pathlib import Path

import pytest
from sealing import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(scope="session")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One folder for all examples of a property."""
    return Bench(tmp_path_factory.mktemp("property"))
