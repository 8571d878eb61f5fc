"""An Airflow of the tests' own: its environment has to stand before anything imports Airflow."""

import os
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.airflow.serving import browser, site
from tests.support.person import Person, at_the_form
from tests.support.world import World

__all__ = ["browser", "site"]

ROOT = Path(__file__).parents[2]

for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[name]
HOME = Path(tempfile.mkdtemp(prefix="airflow-"))
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME}/airflow.db",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    "AIRFLOW__CORE__FERNET_KEY": urlsafe_b64encode(os.urandom(32)).decode(),
    "AIRFLOW__API_AUTH__JWT_SECRET": os.urandom(64).hex(),
}


@pytest.fixture(scope="session")
def airflow_db() -> Path:
    """Airflow's own database, migrated once."""
    from airflow.sdk.execution_time import supervisor
    from airflow.utils import db

    # Airflow 3.2 builds the server that a test's tasks talk to for each task anew, which takes two seconds.
    supervisor.in_process_api_server = cache(supervisor.in_process_api_server)
    db.initdb()
    return HOME / "airflow.db"


@pytest.fixture
def configured(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world that Airflow finds through WINDSOR_SYNC_CONFIG and a connection."""
    monkeypatch.setenv("WINDSOR_SYNC_CONFIG", str(world.config))
    monkeypatch.setenv(
        "AIRFLOW_CONN_WINDSOR_DEFAULT", f'{{"conn_type": "http", "password": "{world.windsor.api_key}"}}'
    )
    return world


@pytest.fixture
def load_dags(airflow_db: Path, configured: World) -> Callable[[], dict[str, Any]]:
    """Parse the DAG files against the configuration as it stands."""

    def load() -> dict[str, Any]:
        from airflow.dag_processing.dagbag import DagBag

        configured.config  # noqa: B018  the file is written anew
        bag = DagBag(str(ROOT / "dags"))
        assert bag.import_errors == {}
        return dict(bag.dags)

    return load


@pytest.fixture
def register_dag(airflow_db: Path) -> Callable[[Any], None]:
    """Let Airflow's database know a DAG that a test defines."""

    def register(dag: Any) -> None:
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

        DagBundlesManager().sync_bundles_to_db()
        bag = DagBag(dag_folder=os.devnull, collect_dags=False)
        bag.bag_dag(dag)
        sync_bag_to_db(bag, "dags-folder", None)

    return register


@pytest.fixture
def answer(airflow_db: Path) -> Iterator[Person]:
    """A person at the approval form, who answers as the test says."""
    with at_the_form() as person:
        yield person


@pytest.fixture
def run_sync(load_dags: Callable[[], dict[str, Any]]) -> Callable[[], Any]:
    """Run `engage_audience_sync` once, without waiting between tries; returns the DAG run."""

    def run() -> Any:
        dag = load_dags()["engage_audience_sync"]
        for task in dag.tasks:
            task.retries = 0
        return dag.test()

    return run
