"""Trait keys as Segment made them: they win over a key derived from the name when an audience is pinned."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windsor_sync.segment.identify import ComputationClass
from windsor_sync.segment.trait_keys import TraitKey
from windsor_sync.state.audiences import Configured, Registered, Registry
from windsor_sync.state.database import Database

if TYPE_CHECKING:
    from windsor_sync.sources.segment_api import PublicApi


@dataclass(frozen=True, slots=True)
class _Keyed:
    """A configured audience or computed trait with Segment's key."""

    name: str
    id: str | None
    trait: str | None
    key: TraitKey
    reuse_key: bool
    computation_class: ComputationClass


class SegmentKeyedRegistry(Registry):
    """Asks Segment for the key of what has an id, no `trait:`, and was never synced; every other key is known.

    A key is pinned for good, so the first sync raises SegmentUnavailable rather than guess.
    """

    def __init__(self, database: Database, destination: str, space: str, api: "Callable[[], PublicApi]") -> None:
        super().__init__(database, destination)
        self._space = space
        self._api = api

    def find(self, wanted: Configured) -> Registered:
        """Ask the registry, with Segment's key."""
        return super().find(self._keyed(wanted))

    def register(self, wanted: Configured) -> Registered:
        """Ask the registry, with Segment's key."""
        return super().register(self._keyed(wanted))

    def _keyed(self, wanted: Configured) -> Configured:
        if wanted.id is None or wanted.trait is not None or self._is_pinned(wanted.id, wanted.key):
            return wanted
        key = self._api().computation(self._space, wanted.computation_class, wanted.id).key
        if key is None or key == wanted.key:
            return wanted
        return _Keyed(wanted.name, wanted.id, None, TraitKey(key), wanted.reuse_key, wanted.computation_class)

    def _is_pinned(self, segment_id: str, key: TraitKey) -> bool:
        """Whether it has been synced already, maybe before windsor.yaml had its id."""
        return any(
            row.segment_id == segment_id or (row.segment_id is None and row.trait_key == key)
            for row in self.known()
            if row.retired_at is None
        )
