"""The doctor behind `windsor-sync check`: what would stop a sync, each finding with its remedy. Sends nothing."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial
from tarfile import TarError
from zipfile import BadZipFile

from windsor_sync.domain.labels import counted, moment
from windsor_sync.errors import ConfigError, WindsorSyncError, harmless
from windsor_sync.settings import Computation, Events, Mistake, Settings, format_duration
from windsor_sync.settings.choices import MaxAgeAction
from windsor_sync.settings.timing import in_words
from windsor_sync.sources import (
    Connections,
    SourceFile,
    look_into,
    look_into_query,
    source_for,
)
from windsor_sync.sources.files import open_bytes
from windsor_sync.sources.warehouse_session import opened
from windsor_sync.state.database import open_database
from windsor_sync.state.runs import recent
from windsor_sync.state.suppression_key import key_place
from windsor_sync.storage.errors import file_system, in_reach, trouble, words_of_failure
from windsor_sync.storage.file_store import FileStore
from windsor_sync.usecases.close_run import as_it_stands
from windsor_sync.usecases.orphans import orphans
from windsor_sync.usecases.staleness import stale
from windsor_sync.usecases.workspace import Workspace


class Level(StrEnum):
    """The weight of a finding."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, or, as SKIPPED, was not."""

    subject: str
    level: Level
    text: str
    """what was found; for a warning or an error also what to do"""


def examine_settings(settings: Settings) -> Iterator[Finding]:
    """Look at what windsor.yaml says, without a look at what it names."""
    enabled = sum(computation.enabled for computation in settings.computations)
    found = (
        f"{counted(len(settings.audiences), 'audience')}, {counted(len(settings.computed_traits), 'computed trait')}"
    )
    yield Finding("configuration", Level.OK, f"{settings.path}: {found}; {enabled} enabled")
    for warning in settings.warnings:
        if not _is_about_schedule(warning):
            yield Finding("configuration", Level.WARNING, str(warning))
    if not enabled and settings.events is None:
        yield Finding("configuration", Level.WARNING, f"{settings.path} has nothing to sync: add audiences to it.")
    yield examine_schedule(settings)


def examine_stores(settings: Settings) -> Iterator[Finding]:
    """Look at the state and the files that windsor.yaml names."""
    yield tried("state", lambda: _state(settings))
    yield tried("files", lambda: _write_and_remove(settings))


def named_sources(settings: Settings) -> Iterator[Finding]:
    """Say where each enabled audience's members, or computed trait's values, come from; nothing is opened."""
    for computation in settings.computations:
        if computation.enabled:
            yield Finding(computation.name, Level.OK, f"trait {computation.key}, from {_named(computation)}")
    if settings.events is not None:
        yield Finding("events", Level.OK, f"from {settings.events.archive}")


def _named(computation: Computation) -> str:
    snapshot = computation.snapshot
    if snapshot.path is not None:
        return (
            f"{snapshot.path.replace('/./', '/', 1)} ({snapshot.format})"  # the dot keeps a folder and a pattern apart
        )
    what = "a query" if snapshot.query is not None else f"the tables of {snapshot.profiles_sync or snapshot.engage}"
    return f"{what} over connection {snapshot.connection}"


def examine(workspace: Workspace, *, is_whole: bool = True) -> Iterator[Finding]:
    """Look at where the snapshots and events come from, and at Segment if it is asked.

    Of settings that are not whole nobody can say which audience is missing in them.
    """
    if workspace.segment is not None:
        yield tried("Segment", lambda: _ask_segment(workspace))
    try:
        workspace.marks.require_own()
    except WindsorSyncError as error:
        yield Finding("state", Level.ERROR, str(error))
    yield from _origins(workspace.settings, workspace.connections, partial(_told, workspace))
    for orphan in orphans(workspace) if is_whole else ():
        yield Finding(harmless(orphan.name), Level.WARNING, orphan.text)


def examine_origins(settings: Settings, connections: Connections) -> Iterator[Finding]:
    """Look at the snapshots and events alone, where there is no state that could be opened."""
    is_unknown = "what Windsor was told is not known"
    yield from _origins(settings, connections, lambda computation: (computation.key, is_unknown))


def _answers(connections: Connections, connection: str) -> str:
    """Connect to a warehouse, and ask nothing."""
    with opened(connections(connection), f"connection {connection}"):
        return "which answers"


def _origins(
    settings: Settings, connections: Connections, told: Callable[[Computation], tuple[str, str]]
) -> Iterator[Finding]:
    """A finding for each source; `told` says an audience's trait key and which snapshot Windsor was told."""
    reached = cache(
        lambda connection: tried(connection, partial(_answers, connections, connection))
    )  # many audiences, one warehouse
    for computation in settings.computations:
        if computation.enabled:
            yield tried(computation.name, partial(_source, computation, reached, connections, told))
    if settings.events is not None:
        yield tried("events", partial(_archive, settings.events))


def tried(subject: str, look: Callable[[], str | Finding]) -> Finding:
    """Return the result of `look`, or its error as a finding."""
    try:
        found = look()
    except WindsorSyncError as error:
        return Finding(subject, Level.ERROR, str(error))
    return found if isinstance(found, Finding) else Finding(subject, Level.OK, found)


def examine_schedule(settings: Settings) -> Finding:
    """Say how often what runs."""
    events = f", events every {format_duration(settings.schedule.events)}" if settings.events else ""
    found = f"audiences {in_words(settings.schedule.audiences)}{events}"
    warnings = [str(warning) for warning in settings.warnings if _is_about_schedule(warning)]
    return Finding("schedule", Level.WARNING if warnings else Level.OK, "; ".join((found, *warnings)))


def _is_about_schedule(warning: Mistake) -> bool:
    return warning.field.startswith("schedule")


def _state(settings: Settings) -> str:
    key = key_place(settings.state, settings.path.parent)
    database = open_database(settings.state, key, access=settings.access)
    try:
        database.installation()
        return f"{database.engine.dialect.name}, up to date"
    finally:
        database.close()


def _write_and_remove(settings: Settings) -> str:
    files, path = FileStore(settings.files, settings.access), f"check/{uuid.uuid4().hex}"
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


def _source(
    computation: Computation,
    reached: Callable[[str], Finding],
    connections: Connections,
    told: Callable[[Computation], tuple[str, str]],
) -> Finding:
    """Look into the newest snapshot: a stale one is a warning, or an error where a sync would refuse it."""
    key, last = told(computation)
    source = source_for(computation)
    found = source.describe()
    if source.origin is not None:
        _read(source.origin)
        look_into(computation, source.origin)
        found += f", taken at {moment(source.origin.taken_at)}"
    elif computation.snapshot.connection is not None:
        connection = reached(computation.snapshot.connection)
        if connection.level is Level.ERROR:
            raise ConfigError(connection.text)
        look_into_query(computation, connections)
        found += f", {connection.text}"
    text = f"trait {key}, from {found}; {last}"
    why = stale(computation, source.origin.taken_at) if source.origin else None
    if why is None:
        return Finding(computation.name, Level.OK, text)
    is_refused = computation.snapshot.max_age_action is MaxAgeAction.FAIL
    return Finding(computation.name, Level.ERROR if is_refused else Level.WARNING, f"{text}. {why}")


def _told(workspace: Workspace, computation: Computation) -> tuple[str, str]:
    known = workspace.registry.find(computation)
    last = recent(workspace.database, audience_ids=[known.audience_id], limit=1) if known.audience_id else []
    if not last:
        return str(known.key), "not synced yet"
    books = as_it_stands(workspace, last[0]).books
    rest = books.changes - books.delivered
    owed = f", of which Windsor has not acknowledged {counted(rest, 'change')}" if rest else ""
    left_out = last[0].options.get("emails_left_out", 0)
    emails = (
        f", in which {counted(left_out, 'e-mail')} had no @ and {'was' if left_out == 1 else 'were'} left out"
        if left_out
        else ""
    )
    remarks = "".join(f". {remark.removesuffix('.')}" for remark in last[0].options.get("remarks", ()))
    return str(known.key), f"last synced with the snapshot of {moment(last[0].taken_at)}{emails}{owed}{remarks}"


def _read(file: SourceFile) -> None:
    """Read a byte of it, of the first where it is several: a name in a folder says nothing about who may read it."""
    first = file.parts[0] if file.parts else file
    try:
        with open_bytes(first) as raw:
            raw.read(1)
    except trouble() as error:
        raise ConfigError(
            f"The snapshot {first.path} cannot be read: {words_of_failure(error)}. Nothing was sent. Let this user read it."
        ) from None


def _archive(events: Events) -> str:
    """Look at the archive's first level only: an archive of years has millions of files."""
    try:
        fs, root = file_system(events.archive)
        folders = len(fs.ls(root, detail=False))
    except trouble(ImportError, ValueError, BadZipFile, TarError) as error:
        raise ConfigError(
            f"The archive {events.archive} cannot be read: {words_of_failure(error)}. Nothing was forwarded. Check "
            "events.archive in windsor.yaml, that this user may list it, and that the extra for its store (s3, gcs) is installed."
        ) from None
    return f"{events.archive} can be listed: it has the folders of {counted(folders, 'source')} of Segment"
