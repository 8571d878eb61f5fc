"""What a DAG file asks of the settings while Airflow parses it: names and intervals, no network, no database."""

from datetime import timedelta

from windsor_sync.settings import Settings, load


def audience_keys() -> list[str]:
    """The configured name of each enabled audience and computed trait, by its trait key, in order."""
    return [str(computation.key) for computation in load().computations if computation.enabled]


def audience_interval() -> timedelta:
    """How often audiences are synced."""
    return load().schedule.audiences


__all__ = ["Settings", "audience_interval", "audience_keys"]
