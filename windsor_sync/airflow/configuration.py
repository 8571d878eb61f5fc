"""Settings that a DAG file needs while Airflow parses it: names and intervals, without network or database."""

from datetime import timedelta

from windsor_sync.settings import load


def events_interval() -> timedelta | None:
    """Return how often new events are forwarded; None when no `events:` are configured."""
    settings = load()
    return settings.schedule.events if settings.events is not None else None


def task_timeout() -> timedelta | None:
    """Return how long one try of a task may take."""
    return load().schedule.task_timeout


def names_by_key() -> dict[str, str]:
    """The name in Segment of each enabled audience and computed trait, by its trait key."""
    return {str(computation.key): computation.name for computation in load().computations if computation.enabled}
