"""The doctor behind `windsor-sync check`: what would stop a sync, each finding with its remedy. Sends nothing."""

import socket
import ssl
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from urllib.parse import urlsplit

from windsor_sync.errors import WindsorSyncError
from windsor_sync.settings import Computation
from windsor_sync.sources import source_for
from windsor_sync.workspace import Workspace

CONNECT_TIMEOUT_S = 5.0


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


def examine(workspace: Workspace) -> Iterator[Finding]:
    """Look at everything a sync needs, in the order in which it would fail."""
    settings = workspace.settings
    yield Finding(
        "configuration", Level.OK, f"{settings.path}, {len(settings.computations)} audiences and computed traits"
    )
    for warning in settings.warnings:
        yield Finding("configuration", Level.WARNING, warning)
    yield Finding("state", Level.OK, f"{workspace.database.engine.dialect.name}, up to date")
    yield _tried("files", lambda: _write_and_remove(workspace))
    yield _tried("API key", lambda: f"{len(workspace.api_key())} characters")
    yield _tried("destination", lambda: _connect(settings.destination.url))
    if workspace.segment is not None:
        yield _tried("Segment", lambda: _ask_segment(workspace))
    for computation in settings.computations:
        if computation.enabled:
            yield _tried(computation.name, partial(_source, workspace, computation))


def _tried(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, Level.OK, look())
    except WindsorSyncError as error:
        return Finding(subject, Level.ERROR, str(error))
    except OSError as error:
        return Finding(subject, Level.ERROR, f"{type(error).__name__}: {error.strerror or 'no answer'}")


def _write_and_remove(workspace: Workspace) -> str:
    path = f"check/{uuid.uuid4().hex}"
    with workspace.files.draft() as draft:
        draft.write_bytes(b"windsor_sync")
        workspace.files.keep(draft, path)
    size = workspace.files.size_bytes(path)
    workspace.files.delete(path)
    return f"{workspace.settings.files} can be written ({size} bytes written and removed)"


def _connect(url: str) -> str:
    """Open a connection, TLS included, and close it: no request, so no trace in Windsor."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with socket.create_connection((parts.hostname or "", port), timeout=CONNECT_TIMEOUT_S) as plain:
        if parts.scheme == "https":
            with ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname):
                pass
    return f"{parts.hostname}:{port} accepts connections"


def _ask_segment(workspace: Workspace) -> str:
    assert workspace.segment is not None
    found = sum(1 for _ in workspace.segment().computations(workspace.settings.space or ""))
    return f"the Public API answers; {found} audiences and computed traits in the space"


def _source(workspace: Workspace, computation: Computation) -> str:
    known = workspace.registry.find(computation)
    source = source_for(computation, None, workspace.connections)
    head = workspace.ledger.head(known.audience_id) if known.audience_id is not None else None
    told = f"last told the snapshot of {head.taken_at:%Y-%m-%d %H:%M} UTC" if head else "not synced yet"
    return f"trait {known.key}, from {source.describe()}; {told}"
