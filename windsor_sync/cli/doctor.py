"""Everything `check` looks at, in the order in which a sync would fail."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from windsor_sync.cli.airflow_look import examine_airflow, is_in_airflow, key_in_airflow
from windsor_sync.errors import ConfigError
from windsor_sync.settings import InvalidSettings, Settings, load
from windsor_sync.sources import engine_from_environment
from windsor_sync.usecases.check import Finding, Level, answers, examine, examine_origins, examine_settings
from windsor_sync.usecases.check_destination import Key, examine_destination
from windsor_sync.usecases.workspace import (
    API_KEY_VARIABLE,
    key_from_environment,
    open_workspace,
    token_from_environment,
)


def findings_about(config: Path | None) -> Iterator[Finding]:
    """Look on after an error: a person mends everything in one go."""
    try:
        settings = load(config)
    except InvalidSettings as error:
        yield from (Finding("configuration", Level.ERROR, str(mistake)) for mistake in error.mistakes)
        yield Finding(
            "configuration", Level.WARNING, "Nothing else was looked at: correct what is listed, then look again."
        )
    except ConfigError as error:
        yield Finding("configuration", Level.ERROR, str(error))
    else:
        yield from _findings_under(settings)


def _findings_under(settings: Settings) -> Iterator[Finding]:
    is_usable = True
    for finding in examine_settings(settings):
        is_usable = is_usable and finding.level is not Level.ERROR
        yield finding
    yield from examine_airflow(settings)
    yield from examine_destination(settings.destination, partial(_key, settings.destination.connection))
    if not is_usable:
        yield from examine_origins(settings, _reach)
        return
    with open_workspace(settings, segment_token=partial(_token, settings)) as workspace:
        yield from examine(workspace, _reach)


def _key(connection: str) -> Key:
    """Windsor's key as a task would have it, or as the command line has it."""
    if found := key_in_airflow(connection):
        return Key(found, f"Airflow's connection {connection}")
    return Key(key_from_environment(), API_KEY_VARIABLE)


def _token(settings: Settings) -> str:
    """Segment's token, in the same way."""
    assert settings.segment is not None
    return key_in_airflow(settings.segment.connection) or token_from_environment()


def _reach(connection: str) -> str:
    """Return how a warehouse answers; one that only Airflow's tasks can reach is not asked."""
    try:
        return answers(engine_from_environment, connection)
    except ConfigError:
        if is_in_airflow(connection):
            return "a connection of Airflow's, which only its tasks can ask"
        raise
