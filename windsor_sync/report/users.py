"""Shows who one rejected row is about, to a person who asks for it; that they asked is kept in the audit trail."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from windsor_sync.domain.run import Run
from windsor_sync.outbox.audiences import ids_in_row
from windsor_sync.settings import Settings
from windsor_sync.state.audit_log import trail
from windsor_sync.usecases.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Shown:
    """The user of one row."""

    seq: int
    user: str | None
    """user id, or anonymous id of someone without one; None when it is not stored any more"""
    is_anonymous: bool = False


def show_user(workspace: Workspace, run: Run, seq: int, *, who: str) -> Shown:
    """Write down that `who` asks, then look up the row in the run's outbox."""
    with workspace.database.write() as connection:
        trail(connection, who=who, what="show user", subject=run.audience, why=None, run=run.run_id, row=seq)
    files = list(map(workspace.files.location, workspace.stored.parts(run.outbox))) if run.outbox else []
    row = ids_in_row(files, seq) if files else None
    user_id, anonymous_id = row or (None, None)
    return Shown(seq, user_id or anonymous_id, is_anonymous=user_id is None and anonymous_id is not None)


def sandbox_users(settings: Settings) -> str | None:
    """Return the address below which the sandbox shows its users; None where browsers can reach no sandbox.

    A destination on this machine is a sandbox: Windsor is reached over the network.
    """
    told = settings.page.sandbox_url
    if told is not None:
        return f"{told.rstrip('/')}/users/"
    parts = urlsplit(settings.destination.url)
    return f"{parts.scheme}://{parts.netloc}/users/" if parts.hostname in ("localhost", "127.0.0.1", "::1") else None
