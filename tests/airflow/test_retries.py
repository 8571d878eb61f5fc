"""Which errors Airflow tries again, and after how long."""

from datetime import timedelta

import pytest
from airflow.sdk import RetryAction

from windsor_sync.airflow.retries import CLOSING_POLICY, POLICY
from windsor_sync.errors import (
    ChangesWithheld,
    ConfigError,
    CredentialsRefused,
    DestinationUnavailable,
    LeaseHeld,
    MessagesRejected,
    SegmentUnavailable,
    SnapshotError,
    SourceUnavailable,
    StateUnavailable,
)


@pytest.mark.parametrize("kind", [ConfigError, SnapshotError, CredentialsRefused, ChangesWithheld, MessagesRejected])
def test_what_a_person_has_to_mend_fails_at_once(kind: type[Exception]) -> None:
    assert POLICY.evaluate(kind("no"), 1, 3).action is RetryAction.FAIL


@pytest.mark.parametrize(
    "kind", [DestinationUnavailable, StateUnavailable, SourceUnavailable, SegmentUnavailable, LeaseHeld]
)
def test_what_passes_by_itself_is_tried_again_after_a_minute(kind: type[Exception]) -> None:
    decision = POLICY.evaluate(kind("later"), 1, 3)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, timedelta(minutes=1))


@pytest.mark.parametrize(("asked_s", "waits_s"), [(3600, 3600), (2, 60), (1e20, 86_400)])
def test_windsor_is_given_the_time_it_asked_for(asked_s: float, waits_s: float) -> None:
    decision = POLICY.evaluate(DestinationUnavailable("later", asked_s), 1, 3)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, timedelta(seconds=waits_s))


def test_the_task_that_closes_the_books_does_not_wait_for_windsor() -> None:
    assert CLOSING_POLICY.evaluate(DestinationUnavailable("later"), 1, 3).action is RetryAction.FAIL
    assert CLOSING_POLICY.evaluate(LeaseHeld("later"), 1, 3).action is RetryAction.RETRY
