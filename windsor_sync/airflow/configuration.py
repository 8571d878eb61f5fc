"""Settings that a DAG file needs while Airflow parses it: names and intervals, without network or database."""

from datetime import timedelta

from windsor_sync.settings import load


def audiences_by_shards() -> dict[int, list[str]]:
    """The trait keys of what is enabled, in the file's order, by the number of tasks that share an audience's delivery."""
    found: dict[int, list[str]] = {}
    for computation in load().computations:
        if computation.enabled:
            found.setdefault(computation.delivery_shards, []).append(str(computation.key))
    return found


def audience_interval() -> timedelta:
    """Return how often audiences are synced."""
    return load().schedule.audiences


def events_interval() -> timedelta | None:
    """Return how often new events are forwarded; None when no `events:` are configured."""
    settings = load()
    return settings.schedule.events if settings.events is not None else None


def names_by_key() -> dict[str, str]:
    """The name in Segment of each enabled audience and computed trait, by its trait key."""
    return {str(computation.key): computation.name for computation in load().computations if computation.enabled}
