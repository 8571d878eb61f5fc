"""What OpenLineage is told: which file became which audience, and how many users Windsor was told of."""

from collections import defaultdict
from typing import Any
from unittest import mock

import pytest
from airflow.sdk import DAG

from tests.support.world import KEY, World
from windsor_sync.airflow.operators.windsor import DeliverOperator, DiffOperator, SealSnapshotOperator


@pytest.fixture
def context() -> dict[str, Any]:
    return {"dag": DAG("lineage", schedule=None), "run_id": "one", "outlet_events": defaultdict(mock.Mock)}


def test_a_sync_leads_from_the_file_through_the_audience_to_windsor(
    configured: World, airflow_db: Any, context: dict[str, Any]
) -> None:
    configured.snapshot(["ana", "ben"])
    _ = configured.config
    with context["dag"]:
        seal = SealSnapshotOperator(task_id="seal", audience=KEY)
        sealed = seal.execute(context)  # type: ignore[arg-type]
        run = DiffOperator(task_id="diff", audience=KEY, sealed=sealed).execute(context)  # type: ignore[arg-type]
        deliver = DeliverOperator(task_id="deliver", audience=KEY, run=run)
        deliver.execute(context)  # type: ignore[arg-type]
    read, told = (task.get_openlineage_facets_on_complete(None) for task in (seal, deliver))
    assert [(one.namespace, one.name) for one in read.inputs] == [
        ("file", str(configured.folder / "snapshots/audience/*.csv"))
    ]
    assert [(one.namespace, one.name) for one in read.outputs] == [("segment", f"audiences/{KEY}")]
    assert [(one.namespace, one.name) for one in told.inputs] == [("segment", f"audiences/{KEY}")]
    (written,) = told.outputs
    assert (written.namespace, written.name) == ("windsor://windsor", f"traits/{KEY}")
    assert written.outputFacets["outputStatistics"].rowCount == 2


def test_a_task_that_failed_early_has_nothing_to_say(airflow_db: Any, context: dict[str, Any]) -> None:
    with context["dag"]:
        task = SealSnapshotOperator(task_id="seal", audience=KEY)
    found = task.get_openlineage_facets_on_complete(None)
    assert (list(found.inputs), list(found.outputs)) == ([], [])
