"""Which errors Airflow tries again, and after how long."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG

from windsor_sync.airflow import retries, windsor_task
from windsor_sync.airflow.retries import HAS_POLICIES, fails_at_once
from windsor_sync.airflow.windsor_task import WindsorOperator
from windsor_sync.errors import (
    ChangesWithheld,
    ConfigError,
    CredentialsRefused,
    DestinationUnavailable,
    LeaseHeld,
    LeaseLost,
    MessagesRejected,
    SegmentUnavailable,
    SnapshotError,
    SourceUnavailable,
    StateUnavailable,
    StoredFileError,
)

A_PERSON_ACTS = (
    ConfigError,
    SnapshotError,
    StoredFileError,
    CredentialsRefused,
    ChangesWithheld,
    MessagesRejected,
)
PASSES = (DestinationUnavailable, StateUnavailable, SourceUnavailable, SegmentUnavailable, LeaseHeld)

with_policies = pytest.mark.skipif(not HAS_POLICIES, reason="Airflow has retry policies since 3.3")


@pytest.mark.parametrize("kind", A_PERSON_ACTS)
def test_what_a_person_has_to_mend_fails_at_once(kind: type[Exception]) -> None:
    assert fails_at_once(kind("no"), sends=True)
    assert fails_at_once(kind("no"), sends=False)


@pytest.mark.parametrize("kind", [*PASSES, LeaseLost, RuntimeError])
def test_what_passes_by_itself_or_is_unknown_is_tried_again(kind: type[Exception]) -> None:
    assert not fails_at_once(kind("later"), sends=True)


def test_the_task_that_closes_the_books_does_not_wait_for_windsor() -> None:
    assert fails_at_once(DestinationUnavailable("later"), sends=False)
    assert not fails_at_once(LeaseHeld("later"), sends=False)


@with_policies
@pytest.mark.parametrize("kind", [*A_PERSON_ACTS, *PASSES])
@pytest.mark.parametrize("sends", [True, False])
def test_a_policy_decides_as_the_rules_say_and_waits_a_minute(kind: type[Exception], sends: bool) -> None:
    from airflow.sdk import RetryAction

    from windsor_sync.airflow.retry_policies import CLOSING_POLICY, POLICY

    decision = (POLICY if sends else CLOSING_POLICY).evaluate(kind("no"), 1, 3)
    if fails_at_once(kind("no"), sends=sends):
        assert decision.action is RetryAction.FAIL
    else:
        assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, timedelta(minutes=1))


@with_policies
@pytest.mark.parametrize(("asked_s", "waits_s"), [(3600, 3600), (2, 60), (1e20, 86_400)])
def test_windsor_is_given_the_time_it_asked_for(asked_s: float, waits_s: float) -> None:
    from airflow.sdk import RetryAction

    from windsor_sync.airflow.retry_policies import POLICY

    decision = POLICY.evaluate(DestinationUnavailable("later", asked_s), 1, 3)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, timedelta(seconds=waits_s))


@pytest.mark.parametrize(("kind", "tries"), [(CredentialsRefused, 1), (DestinationUnavailable, 3)])
def test_without_policies_a_task_is_tried_again_only_where_that_may_help(
    register_dag: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch, kind: type[Exception], tries: int
) -> None:
    monkeypatch.setattr(windsor_task, "HAS_POLICIES", False)
    monkeypatch.setattr(retries, "HAS_POLICIES", False)
    tried: list[None] = []

    class Failing(WindsorOperator):
        def execute(self, context: Any) -> None:
            tried.append(None)
            raise kind("Windsor said so.")

    with DAG(f"fails_{kind.__name__}", schedule=None) as dag:
        Failing(task_id="fail", retries=2, retry_delay=timedelta(0))
    register_dag(dag)
    (task,) = dag.test().get_task_instances()
    assert (task.state, len(tried)) == ("failed", tries)
