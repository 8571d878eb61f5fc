"""What a DAG file asks of the settings while Airflow parses it: names and intervals, no network, no database."""

from datetime import timedelta

from windsor_sync.settings import Settings, load


def audience_keys() -> list[str]:
    """The trait key of each enabled audience and computed trait, in the file's order."""
    return [str(computation.key) for computation in load().computations if computation.enabled]


def audiences_by_shards() -> dict[int, list[str]]:
    """The same, grouped by the number of tasks that share an audience's delivery."""
    found: dict[int, list[str]] = {}
    for computation in load().computations:
        if computation.enabled:
            found.setdefault(computation.delivery_shards, []).append(str(computation.key))
    return found


def audience_interval() -> timedelta:
    """How often audiences are synced."""
    return load().schedule.audiences


def events_interval() -> timedelta | None:
    """How often new events are forwarded; None when no `events:` are configured."""
    settings = load()
    return settings.schedule.events if settings.events is not None else None


def names_by_key() -> dict[str, str]:
    """The name in Segment of each enabled audience and computed trait, by its trait key."""
    return {str(computation.key): computation.name for computation in load().computations if computation.enabled}


__all__ = [
    "Settings",
    "audience_interval",
    "audience_keys",
    "audiences_by_shards",
    "events_interval",
    "names_by_key",
]
