"""Says after which errors a task of ours is tried again: a person has to act on some, and waiting may help with others.

Airflow 3.3 has retry policies, which `retry_policies` makes of this. Before it, a task knows one delay for all errors: it is
tried again after a minute, also where Windsor asked to wait for longer, and an error that waiting cannot mend fails it at once.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import wraps
from importlib.util import find_spec
from typing import Any

from windsor_sync import errors

SOON = timedelta(minutes=1)

LONGEST = timedelta(days=1)
"""However long Windsor asks to wait: a number without sense must not park a task for years."""

A_PERSON_MUST_ACT_ON: tuple[type[Exception], ...] = (
    errors.ConfigError,
    errors.SnapshotError,
    errors.StoredFileError,
    errors.CredentialsRefused,
    errors.ChangesWithheld,
    errors.MessagesRejected,
)
PASSES_BY_ITSELF: Mapping[type[Exception], str] = {
    errors.DestinationUnavailable: "Windsor is not available; the run resumes where it stopped",
    errors.SourceUnavailable: "the snapshot's source is out of reach",
    errors.SegmentUnavailable: "Segment's Public API is out of reach",
    errors.StateUnavailable: "the state database or the file store is out of reach",
    errors.LeaseHeld: "another run is writing to this audience",
}
"""Looked at first: some of these are kinds of those above. Each with its reason."""

HAS_POLICIES = find_spec("airflow.sdk.definitions.retry_policy") is not None


def fails_at_once(error: BaseException, *, sends: bool) -> bool:
    """Tell whether a task fails without being tried again, because a person has to act on the error.

    A task that sends nothing and only closes the books (`sends=False`) does not wait for an unavailable Windsor either.
    """
    if isinstance(error, errors.DestinationUnavailable) and not sends:
        return True
    return not isinstance(error, tuple(PASSES_BY_ITSELF)) and isinstance(error, A_PERSON_MUST_ACT_ON)


def cause_of(error: BaseException) -> BaseException:
    """Return our own error behind the one that made a task fail for good."""
    return error.__cause__ if isinstance(error.__cause__, errors.WindsorSyncError) else error


def settings_of(*, sends: bool) -> dict[str, Any]:
    """Return the arguments of an operator that make Airflow keep to these rules, as far as it has them."""
    if not HAS_POLICIES:
        return {"retry_delay": SOON}
    from windsor_sync.airflow.retry_policies import CLOSING_POLICY, POLICY

    return {"retry_policy": POLICY if sends else CLOSING_POLICY}


def without_policies(execute: Callable[..., Any], *, sends: bool) -> Callable[..., Any]:
    """Return a task's `execute` that fails for good, in the same words, where waiting cannot mend it."""

    @wraps(execute)
    def failing(*given: Any, **named: Any) -> Any:
        from airflow.sdk.exceptions import AirflowFailException

        try:
            return execute(*given, **named)
        except Exception as error:
            given[0].failure = error  # for its callbacks: `airflow dags test` hands them no exception
            if fails_at_once(error, sends=sends):
                raise AirflowFailException(str(error)) from error
            raise

    return failing
