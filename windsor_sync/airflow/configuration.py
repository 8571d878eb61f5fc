"""Settings that a DAG file needs while Airflow parses it: names and intervals, without network or database."""

from datetime import timedelta

from windsor_sync.settings import Settings, load
from windsor_sync.settings.addresses import without_network
from windsor_sync.settings.timing import interval_of


def settings_of_dags() -> Settings:
    """Return the settings, without resolving any host name."""
    with without_network():
        return load()


def events_interval() -> timedelta | None:
    """Return how often new events are forwarded; None when no `events:` are configured."""
    settings = settings_of_dags()
    return settings.schedule.events if settings.events is not None else None


def audiences_interval() -> timedelta:
    """Return the shortest time between two syncs of the schedule that audiences share."""
    return interval_of(settings_of_dags().schedule.audiences)


def task_timeout() -> timedelta | None:
    """Return how long one try of a task may take."""
    return settings_of_dags().schedule.task_timeout


def names_by_key() -> dict[str, str]:
    """The name in Segment of each enabled audience and computed trait, by its trait key."""
    return {str(one.key): one.name for one in settings_of_dags().computations if one.enabled}
