"""A forwarding that stood still past its lease is no success and no skip: Airflow tries it again."""

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from sqlalchemy import update

from tests.support.archive import Archive, arrived, sent
from tests.support.world import World
from windsor_sync.airflow.forwarding import ForwardEventsOperator
from windsor_sync.airflow.retries import fails_at_once
from windsor_sync.errors import LeaseLost
from windsor_sync.state.tables import leases


def test_a_forwarding_that_lost_its_lease_is_tried_again_and_loses_nothing(
    configured: World, airflow_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(configured)
    archive.write([archive.message("track", f"user-{number % 7}") for number in range(300)])
    configured.document["audiences"] = configured.document["computed_traits"] = []
    _ = configured.config
    context: Any = {"dag": DAG("lost", schedule=None), "run_id": "one"}
    with context["dag"]:
        task = ForwardEventsOperator(task_id="forward")

    def taken_over(_run: object, _delivery: object) -> None:
        with configured.workspace.database.write() as connection:
            connection.execute(update(leases).values(token=leases.c.token + 1, holder=None))

    with monkeypatch.context() as patched:
        patched.setattr(task, "_report", taken_over)
        with pytest.raises(LeaseLost, match="The next run tells Windsor what is owed or in doubt") as lost:
            task.execute(context)
    assert not fails_at_once(lost.value, sends=True)
    task.execute(context)
    assert arrived(configured) == sent(archive.written)
