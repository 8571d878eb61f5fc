"""The doctor behind `windsor-sync check`: what would stop a sync, each finding with its remedy. Sends nothing."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import fsspec

from windsor_sync.errors import ConfigError, WindsorSyncError
from windsor_sync.settings import Computation, Events, Settings, format_duration
from windsor_sync.sources import source_for
from windsor_sync.state.database import open_database
from windsor_sync.state.files import FileStore
from windsor_sync.stores import in_reach, trouble, words_of
from windsor_sync.words import counted
from windsor_sync.workspace import Workspace


class Level(StrEnum):
    """How a finding stands."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    level: Level
    text: str
    """what was found; for a warning or an error also what to do"""


def examine_settings(settings: Settings) -> Iterator[Finding]:
    """Look at what windsor.yaml says, and at the state and the files it names."""
    enabled = sum(computation.enabled for computation in settings.computations)
    found = (
        f"{counted(len(settings.audiences), 'audience')}, {counted(len(settings.computed_traits), 'computed trait')}"
    )
    yield Finding("configuration", Level.OK, f"{settings.path}: {found}; {enabled} enabled")
    for warning in settings.warnings:
        yield Finding("configuration", Level.WARNING, warning)
    if not enabled and settings.events is None:
        yield Finding("configuration", Level.WARNING, f"{settings.path} has nothing to sync: add audiences to it.")
    yield Finding("schedule", Level.OK, _schedule(settings))
    yield tried("state", lambda: _state(settings))
    yield tried("files", lambda: _write_and_remove(settings))


def examine(workspace: Workspace) -> Iterator[Finding]:
    """Look at where the snapshots and events come from, and at Segment if it is asked."""
    settings = workspace.settings
    if workspace.segment is not None:
        yield tried("Segment", lambda: _ask_segment(workspace))
    for computation in settings.computations:
        if computation.enabled:
            yield tried(computation.name, partial(_source, workspace, computation))
    if settings.events is not None:
        yield tried("events", partial(_archive, settings.events))


def tried(subject: str, look: Callable[[], str]) -> Finding:
    """What `look` returns, or the error it raises, as a finding."""
    try:
        return Finding(subject, Level.OK, look())
    except WindsorSyncError as error:
        return Finding(subject, Level.ERROR, str(error))


def _schedule(settings: Settings) -> str:
    events = f", events every {format_duration(settings.schedule.events)}" if settings.events else ""
    return f"audiences every {format_duration(settings.schedule.audiences)}{events}"


def _state(settings: Settings) -> str:
    database = open_database(settings.state)
    try:
        database.installation()
        return f"{database.engine.dialect.name}, up to date"
    finally:
        database.close()


def _write_and_remove(settings: Settings) -> str:
    files, path = FileStore(settings.files), f"check/{uuid.uuid4().hex}"
    with in_reach(), files.draft() as draft:
        draft.write_bytes(b"windsor_sync")
        files.keep(draft, path)
    size = files.size_bytes(path)
    files.delete(path)
    return f"{settings.files} can be written ({size} bytes written and removed)"


def _ask_segment(workspace: Workspace) -> str:
    assert workspace.segment is not None
    found = sum(1 for _ in workspace.segment().computations(workspace.settings.space or ""))
    kinds = counted(found, "audience or computed trait", "audiences and computed traits")
    return f"the Public API answers; the space has {kinds}"


def _source(workspace: Workspace, computation: Computation) -> str:
    known = workspace.registry.find(computation)
    source = source_for(computation, None, workspace.connections)
    head = workspace.ledger.head(known.audience_id) if known.audience_id is not None else None
    told = f"last told the snapshot of {head.taken_at:%Y-%m-%d %H:%M} UTC" if head else "not synced yet"
    taken = f", taken at {source.origin.taken_at:%Y-%m-%d %H:%M} UTC" if source.origin else ""
    return f"trait {known.key}, from {source.describe()}{taken}; {told}"


def _archive(events: Events) -> str:
    """Look at the archive's first level only: an archive of years has millions of files."""
    try:
        fs, root = fsspec.core.url_to_fs(events.archive)
        folders = len(fs.ls(root, detail=False))
    except trouble(ImportError, ValueError) as error:
        raise ConfigError(
            f"The archive {events.archive} cannot be read: {words_of(error)}. Nothing was forwarded. Check events.archive in "
            "windsor.yaml, that this user may list it, and that the extra for its store (s3, gcs) is installed."
        ) from None
    return f"{events.archive} can be listed: it has the folders of {counted(folders, 'source')} of Segment"
