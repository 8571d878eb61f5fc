"""The rules of `retries` as the retry policies that Airflow has since 3.3."""

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryPolicy, RetryRule

from windsor_sync.airflow.retries import A_PERSON_MUST_ACT_ON, LONGEST, PASSES_BY_ITSELF, SOON
from windsor_sync.errors import DestinationUnavailable

if TYPE_CHECKING:
    from airflow.sdk import Context, RetryDecision

ERRORS = "windsor_sync.errors"

A_PERSON_MUST_ACT = tuple(
    RetryRule(exception=f"{ERRORS}.{kind.__name__}", action=RetryAction.FAIL, reason="a person has to act")
    for kind in A_PERSON_MUST_ACT_ON
)
# They are looked at before those above, and a rule holds for subclasses too: SourceUnavailable is a SnapshotError.
TRY_AGAIN = tuple(
    RetryRule(exception=f"{ERRORS}.{kind.__name__}", action=RetryAction.RETRY, retry_delay=SOON, reason=reason)
    for kind, reason in PASSES_BY_ITSELF.items()
)
NOT_BY_WAITING = RetryRule(
    exception=f"{ERRORS}.DestinationUnavailable", action=RetryAction.FAIL, reason="clear the deliveries to go on"
)


class AskedOrRulesPolicy(RetryPolicy):
    """The rules above, but waits as long as Windsor asked when it did."""

    def __init__(self) -> None:
        self._rules = ExceptionRetryPolicy(rules=[*TRY_AGAIN, *A_PERSON_MUST_ACT])

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: "Context | None" = None
    ) -> "RetryDecision":
        """Decide how Airflow treats the exception."""
        from airflow.sdk.definitions.retry_policy import RetryDecision

        asked_s = exception.retry_after_s if isinstance(exception, DestinationUnavailable) else None
        if asked_s is not None:
            return RetryDecision.retry(
                delay=max(SOON, timedelta(seconds=min(asked_s, LONGEST.total_seconds()))),
                reason="Windsor asked to wait",
            )
        return self._rules.evaluate(exception, try_number, max_tries, context)


POLICY = AskedOrRulesPolicy()

CLOSING_POLICY = ExceptionRetryPolicy(rules=[NOT_BY_WAITING, *TRY_AGAIN, *A_PERSON_MUST_ACT])
"""For the task that only closes the books: it sends nothing, so it cannot wait for Windsor."""
