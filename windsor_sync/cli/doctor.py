"""Everything `check` looks at, in the order in which a sync would fail."""

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from windsor_sync.cli.airflow_look import examine_airflow, key_in_airflow
from windsor_sync.cli.opening import open_for_command, warehouse
from windsor_sync.errors import ConfigError, WindsorSyncError
from windsor_sync.settings import Examined, InvalidSettings, Settings, examined
from windsor_sync.settings.addresses import without_network
from windsor_sync.settings.partial import NOWHERE
from windsor_sync.usecases.check import (
    Finding,
    Level,
    examine,
    examine_origins,
    examine_schedule,
    examine_settings,
    examine_stores,
    named_sources,
)
from windsor_sync.usecases.check_destination import Key, examine_destination
from windsor_sync.usecases.workspace import (
    API_KEY_VARIABLE,
    key_from_environment,
)

STATE_SETTINGS = frozenset(
    {"state", "readable_by", "files", "destination", "destination.url", "destination.name", "segment", "space"}
)
"""Where one of them is wrong, the state is not opened: it could be another one, or asked about another ledger."""


def findings_about(config: Path | None, *, is_offline: bool = False) -> Iterator[Finding]:
    """Look on after an error: a person mends everything in one go."""
    try:
        with without_network() if is_offline else nullcontext():
            found = examined(config)
    except InvalidSettings as error:
        yield from (Finding("configuration", Level.ERROR, str(mistake)) for mistake in error.mistakes)
        yield Finding(
            "configuration", Level.WARNING, "Nothing else was looked at: correct what is listed, then look again."
        )
    except ConfigError as error:
        yield Finding("configuration", Level.ERROR, str(error))
    else:
        yield from (Finding("configuration", Level.ERROR, str(mistake)) for mistake in found.mistakes)
        yield from _left_out(found)
        if found.settings is not None:
            look = _offline if is_offline else _everything
            yield from look(found.settings, found)


def _left_out(found: Examined) -> Iterator[Finding]:
    if found.settings is None:
        yield Finding("configuration", Level.SKIPPED, "Nothing else was checked, because of these mistakes.")
    elif found.left_out:
        wrong = ", ".join(sorted(found.left_out))
        yield Finding(
            "configuration", Level.SKIPPED, f"Because of these mistakes, the checks below leave out: {wrong}."
        )


def _offline(settings: Settings, found: Examined) -> Iterator[Finding]:
    """Tell what windsor.yaml says; no network, key, state, file or Airflow is needed for it."""
    yield from _said(settings, found)
    yield from named_sources(settings)
    asked = ", Segment" if settings.segment is not None else ""
    yield Finding(
        "offline",
        Level.SKIPPED,
        f"Not checked: the state, the files, Airflow, Windsor and its key{asked}, the clock, and the content of snapshots. "
        "`windsor-sync check` checks them, on a machine that can reach them.",
    )


def _said(settings: Settings, found: Examined) -> Iterator[Finding]:
    if not found.mistakes:
        yield from examine_settings(settings)
    elif not any(name.startswith("schedule") for name in found.left_out):
        yield examine_schedule(settings)


def _everything(settings: Settings, found: Examined) -> Iterator[Finding]:
    yield from _said(settings, found)
    is_usable = not any(name in STATE_SETTINGS or name.startswith("segment.") for name in found.left_out)
    for finding in examine_stores(settings) if is_usable else _unopened():
        is_usable = is_usable and finding.level is not Level.ERROR
        yield finding
    yield from examine_airflow(settings)
    yield from _destination(settings)
    if not is_usable:
        yield from examine_origins(settings, warehouse)
        return
    with open_for_command(settings) as workspace:
        yield from examine(workspace, is_whole=not found.mistakes)


def _unopened() -> Iterator[Finding]:
    yield Finding("state", Level.SKIPPED, "state and files were not opened: their settings have a mistake")


def _destination(settings: Settings) -> Iterator[Finding]:
    key = partial(_key, settings.destination.connection)
    if settings.destination.url != NOWHERE:
        yield from examine_destination(settings.destination, key)
        return
    try:
        key()
    except WindsorSyncError as error:
        yield Finding("API key", Level.ERROR, str(error))
    yield Finding(
        "destination", Level.SKIPPED, "Windsor and its clock were not asked, because destination.url has a mistake"
    )


def _key(connection: str) -> Key:
    """Windsor's key as a task would have it, or as the command line has it."""
    if found := key_in_airflow(connection):
        return Key(found, f"Airflow's connection {connection}")
    return Key(key_from_environment(), API_KEY_VARIABLE)
