"""What people change while a run is under way: Airflow's tasks read windsor.yaml, and the DAG file, each anew."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from tests.support.world import KEY, World
from windsor_sync.airflow.operators.windsor import (
    DeliverApprovedOperator,
    DeliverOperator,
    DiffOperator,
    SealSnapshotOperator,
)
from windsor_sync.delivery.bounds import Delivery
from windsor_sync.domain.run import Run, RunState
from windsor_sync.errors import ChangesWithheld, ConfigError, Interrupted
from windsor_sync.state.runs import recent

# A task before Airflow 3.3 fails by AirflowFailException where a person has to act.
ROOT = Path(__file__).parents[2]
MEMBERS = ["ana", "ben", "cleo"]


@pytest.fixture
def context(airflow_db: Path, configured: World) -> dict[str, Any]:
    """What a task is handed; `configured` has an audience with three members."""
    configured.snapshot(MEMBERS)
    _ = configured.config
    return {"dag": DAG("engage_audience_sync", schedule=None), "run_id": "manual__1", "outlet_events": Events()}


class Events:
    """Takes the events of any asset."""

    def __getitem__(self, asset: Any) -> "Events":
        return self

    def add(self, asset: Any, extra: Any) -> None:
        """Nobody listens."""


@pytest.fixture
def run_task(context: dict[str, Any]) -> Callable[..., Any]:
    """Execute one task as Airflow does after it has resolved the map index."""

    def run(kind: type[Any], task_id: str, **arguments: Any) -> Any:
        with context["dag"]:
            return kind(task_id=task_id, **arguments).execute(context)

    return run


def test_an_audience_put_before_others_while_a_run_is_under_way_gets_nobody_elses_members(
    configured: World, run_task: Callable[..., Any]
) -> None:
    sealed = run_task(SealSnapshotOperator, "seal", audience=KEY)
    configured.document["audiences"].insert(0, configured.entry("VIP", "vip"))
    configured.snapshot(["vic"], folder="vip")
    _ = configured.config
    # Airflow looks the map index up in the list as it is now, and finds another audience there.
    run = run_task(DiffOperator, "diff", audience="vip", sealed=sealed)
    run_task(DeliverOperator, "deliver", audience="vip", run=run)
    assert configured.shown("vip") == {}
    assert configured.members_shown() == set(MEMBERS)
    with pytest.raises((ChangesWithheld, AirflowFailException), match=KEY):
        run_task(DeliverApprovedOperator, "deliver_approved", audience="vip", run=run)


def test_an_audience_taken_out_while_a_run_is_under_way_is_told_nothing_more(
    configured: World, run_task: Callable[..., Any]
) -> None:
    run = run_task(DiffOperator, "diff", audience=KEY, sealed=run_task(SealSnapshotOperator, "seal", audience=KEY))
    configured.document["audiences"] = []
    _ = configured.config
    with pytest.raises((ConfigError, AirflowFailException), match=KEY):
        run_task(DeliverOperator, "deliver", audience=KEY, run=run)
    assert configured.sent == 0


def test_an_audience_switched_off_while_a_run_is_under_way_is_told_nothing_more(
    configured: World, run_task: Callable[..., Any]
) -> None:
    run = run_task(DiffOperator, "diff", audience=KEY, sealed=run_task(SealSnapshotOperator, "seal", audience=KEY))
    configured.document["audiences"][0]["enabled"] = False
    _ = configured.config
    with pytest.raises(AirflowSkipException, match="enabled: false"):
        run_task(DeliverOperator, "deliver", audience=KEY, run=run)
    assert configured.sent == 0


def test_a_stop_commits_what_was_answered_and_the_next_try_sends_the_rest(
    configured: World, context: dict[str, Any], run_task: Callable[..., Any]
) -> None:
    users = [f"user-{number:04}" for number in range(3000)]
    configured.snapshot(users)
    run = run_task(DiffOperator, "diff", audience=KEY, sealed=run_task(SealSnapshotOperator, "seal", audience=KEY))
    with context["dag"]:
        task = DeliverOperator(task_id="deliver", audience=KEY, run=run)

    def stopped(run: Run, delivery: Delivery) -> None:
        if delivery.delivered:
            task.on_kill()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(task, "report", stopped)
        with pytest.raises(Interrupted):
            task.execute(context)  # type: ignore[arg-type]
    (stood,) = recent(configured.workspace.database)
    assert (stood.state, stood.books.in_doubt) == (RunState.INTERRUPTED, 0)
    assert 0 < configured.sent == stood.books.delivered < len(users)
    task.execute(context)  # type: ignore[arg-type]
    assert (configured.members_shown(), configured.sent) == (set(users), len(users))


@pytest.mark.parametrize(
    ("text", "is_said"),
    [("schedule: {audiences: often}\n", "schedule.audiences"), ("{", "windsor.yaml"), (None, "windsor.yaml")],
)
def test_a_configuration_that_cannot_be_used_is_an_import_error_in_words_and_breaks_no_other_dag(
    airflow_db: Path, configured: World, tmp_path: Path, text: str | None, is_said: str
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    if text is None:
        (configured.folder / "windsor.yaml").unlink(missing_ok=True)
    else:
        configured.config.write_text(text, encoding="utf-8")
    dags = tmp_path / "dags"
    dags.mkdir()
    for path in (ROOT / "dags").glob("*.py"):
        (dags / path.name).symlink_to(path)
    (dags / "other.py").write_text("from airflow.sdk import DAG\ndag = DAG('other', schedule=None)\n", encoding="utf-8")
    bag = DagBag(str(dags))
    assert set(bag.dags) == {"other"}
    assert len(bag.import_errors) == 4
    for error in bag.import_errors.values():
        assert is_said in error


def test_without_an_audience_that_is_switched_on_the_dags_are_there_and_do_nothing(
    configured: World, load_dags: Callable[[], dict[str, Any]]
) -> None:
    configured.document["audiences"][0]["enabled"] = False
    configured.document["computed_traits"] = []
    dags = load_dags()
    assert dags["engage_audience_sync"].task_dict == {}
    assert "engage_audience_backfill" in dags
