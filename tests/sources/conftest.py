from collections.abc import Iterator
from pathlib import Path

import pytest
from sealing import Bench
from warehouses import Warehouse

from tests.support.postgres import Postgres


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(scope="session")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One folder for all examples of a property."""
    return Bench(tmp_path_factory.mktemp("property"))


@pytest.fixture(params=["sqlite", "postgresql"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Warehouse]:
    """A database without tables, of each kind."""
    if request.param == "sqlite":
        yield Warehouse(f"sqlite:///{tmp_path}/warehouse.db", "main")
    else:
        with request.getfixturevalue("postgres").nothing() as url:
            yield Warehouse(url, "public")


@pytest.fixture
def on_postgres(postgres: Postgres) -> Iterator[Warehouse]:
    """A database without tables on PostgreSQL."""
    with postgres.nothing() as url:
        yield Warehouse(url, "public")
