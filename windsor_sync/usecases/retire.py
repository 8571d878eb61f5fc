"""Retires an audience: `false` for everyone Windsor was told is a member, and its key is not used again."""

from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.domain.run import Run
from windsor_sync.errors import ConfigError
from windsor_sync.segment.identify import ComputationClass
from windsor_sync.segment.trait_keys import TraitKey
from windsor_sync.settings import Audience, Computation, ComputedTrait, Settings, Snapshot
from windsor_sync.state.audiences import Registered, Registry, retire_key
from windsor_sync.state.audit_log import trail
from windsor_sync.state.database import StateRow, Transaction
from windsor_sync.state.leases import Lease
from windsor_sync.usecases import seal as sealing
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.run_lifecycle import Progress, open_run, run_audience
from windsor_sync.usecases.workspace import Workspace


def retire(
    workspace: Workspace,
    word: str,
    who: str,
    why: str | None,
    stop: CancelToken,
    on_progress: Progress | None = None,
) -> Run:
    """Tell `false` (null for a computed trait) to exactly those told otherwise; repeat it to send what stayed owed.

    `word` is the trait key or name of an audience that was synced, configured still or not. Raises ConfigError for any
    other, LeaseHeld while another run writes to it.
    """
    row = _named(workspace.settings, workspace.registry, word)
    known = Registered(TraitKey(row.trait_key), row.runs, row.id)
    computation = _computation(row)

    def close(connection: Transaction) -> None:
        retire_key(connection, row.id)
        trail(connection, who=who, what="retire", subject=row.trait_key, why=why)

    def opens(known: Registered, lease: Lease) -> Run:
        request = Request(kind="retire", trigger=who, reason=why, is_beyond_guard=True)
        return open_run(
            workspace, computation, known, sealing.snapshot_of_nobody(workspace, known), request, lease, [close]
        )

    return run_audience(workspace, computation, f"retire by {who}", opens, stop, on_progress, known)


def _named(settings: Settings, registry: Registry, word: str) -> StateRow:
    rows = registry.known()
    for row in rows:
        if word == row.trait_key:
            return row
    named = [row for row in rows if row.name.casefold() == word.casefold()]
    if len(named) == 1:
        return named[0]
    raise ConfigError(
        f"No audience {word!r} was ever synced to {settings.destination.name}. Nothing was sent. "
        f"Synced so far: {', '.join(row.trait_key for row in rows) or 'none'}."
    )


def _computation(row: StateRow) -> Computation:
    """The audience as it was last synced: it may be gone from windsor.yaml."""
    kind = Audience if row.computation_class == ComputationClass.AUDIENCE.value else ComputedTrait
    more = {} if kind is Audience else {"sends_null_when_missing": None}
    return kind.model_validate(
        {
            "name": row.name,
            "id": row.segment_id,
            "trait": row.trait_key,
            "snapshot": Snapshot.model_construct(path=None),
            **more,
        }
    )
