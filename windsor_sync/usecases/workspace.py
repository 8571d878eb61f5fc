"""The parts that use cases work with, and the one place that connects settings to adapters."""

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from windsor_sync.delivery.bounds import EngineLimits
from windsor_sync.errors import ConfigError, WindsorSyncError
from windsor_sync.http.opening import tls_of
from windsor_sync.persons.merges import Merges
from windsor_sync.segment.trait_keys import TraitKey
from windsor_sync.settings import Segment, Settings
from windsor_sync.settings import WireName as WireName
from windsor_sync.settings.keys import clean_key
from windsor_sync.sources import Connections, engine_from_environment
from windsor_sync.state.audiences import Registry
from windsor_sync.state.database import Database, open_database
from windsor_sync.state.leases import TTL_S, Lease, held, is_held, resource_of
from windsor_sync.state.ledger import Ledger
from windsor_sync.state.marks import FORGOTTEN, Marks
from windsor_sync.state.stored_files import FOLDERS_OF_PEOPLE, StoredFiles
from windsor_sync.state.suppression_key import given_by_environment, key_place
from windsor_sync.state.suppressions import are_keyed, has_unkeyed_files, hash_in_use
from windsor_sync.storage.file_store import DRAFTS, FileStore
from windsor_sync.storage.kept_engines import engines_kept
from windsor_sync.storage.limits import require_address_space, require_handles
from windsor_sync.storage.process import name_of_this_process
from windsor_sync.usecases.segment_keys import SegmentKeyedRegistry

if TYPE_CHECKING:  # most commands send nothing, and these import the libraries of HTTP
    from windsor_sync.sources.segment_api import PublicApi
    from windsor_sync.usecases.destination_client import HttpDestinationClient

API_KEY_VARIABLE = "WINDSOR_API_KEY"
SEGMENT_TOKEN_VARIABLE = "SEGMENT_PUBLIC_API_TOKEN"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Workspace:
    """Settings with everything they name opened."""

    settings: Settings
    database: Database
    files: FileStore
    ledger: Ledger
    registry: Registry
    stored: StoredFiles
    marks: Marks
    merges: Merges
    api_key: Callable[[], str]
    """asked for only when something is about to be sent"""
    engine_limits: EngineLimits = field(default_factory=EngineLimits)
    lease_ttl_s: float = TTL_S
    segment: "Callable[[], PublicApi] | None" = None
    """Segment's Public API, where windsor.yaml has it; raises ConfigError when the token is missing"""
    connections: Connections = engine_from_environment
    """from a connection's id to its warehouse; raises ConfigError when there is none"""

    def require_destination(self) -> None:
        """Raise what `destination_client` raises. A run that may have nothing to send asks this first."""
        self._credentials()

    def destination_client(self) -> "HttpDestinationClient":
        """Return the client of the destination; raises ConfigError when the key is missing, or room for connections.

        Raises StoredFileError where the state is not the one that told this destination last.
        """
        from windsor_sync.delivery.protocols.wires import WIRES
        from windsor_sync.usecases.destination_client import HttpDestinationClient

        destination = self.settings.destination
        api_key, tls = self._credentials()
        wire = WIRES[destination.wire](destination.url, api_key)
        return HttpDestinationClient(wire, destination, self.database, self.engine_limits, tls)

    def _credentials(self) -> tuple[str, ssl.SSLContext | None]:
        """Return the key, and whom to trust, once it is certain that messages may be sent from here."""
        self.marks.require_own()
        require_handles(self.settings.destination.max_in_flight)
        require_address_space()
        return self.api_key(), tls_of(self.settings.destination)

    @property
    def supported_calls(self) -> frozenset[str]:
        """The calls that the destination's protocol supports."""
        from windsor_sync.delivery.protocols.wires import WIRES

        return WIRES[self.settings.destination.wire].calls

    @contextmanager
    def hold(
        self, key: TraitKey, holder: str, shard: int | None = None, destination: str | None = None
    ) -> Iterator[Lease]:
        """The lease on one audience at this destination (or a named one), or on one shard of its delivery; raises LeaseHeld."""
        name = f"{holder} on {name_of_this_process()}"
        with held(self.database, self._resource(key, destination), name, self.lease_ttl_s, shard) as lease:
            yield lease

    def is_held(self, key: TraitKey) -> bool:
        """Whether anybody has the lease on the audience at this destination, or on a shard of its delivery."""
        return is_held(self.database, self._resource(key))

    def _resource(self, key: TraitKey, destination: str | None = None) -> str:
        return resource_of(key, destination or self.settings.destination.name)


@contextmanager
def open_workspace(
    settings: Settings,
    api_key: Callable[[], str] | None = None,
    segment_token: Callable[[], str] | None = None,
    connections: Connections = engine_from_environment,
    suppression_key: Callable[[], str | None] = given_by_environment,
) -> Iterator[Workspace]:
    """Open the state and the file store; raises ConfigError when they cannot be used."""
    key = key_place(settings.state, settings.path.parent, suppression_key)
    database = open_database(settings.state, key, access=settings.access)
    destination = settings.destination
    try:
        files = FileStore(settings.files, settings.access)
        files.tighten((DRAFTS, *FOLDERS_OF_PEOPLE, FORGOTTEN))
        stored = StoredFiles(database, files)
        marks = Marks(database, files, destination)
        _give_keys(database, marks)
        with engines_kept(), _asking(settings.segment, segment_token) as segment:
            registry = _registry(database, settings, segment)
            yield Workspace(
                settings=settings,
                database=database,
                files=files,
                ledger=Ledger(database, files),
                registry=registry,
                stored=stored,
                marks=marks,
                merges=Merges(database, files, stored, registry),
                api_key=api_key or key_from_environment,
                engine_limits=EngineLimits(
                    max_in_flight=destination.max_in_flight, give_up_after_s=destination.give_up_after_s
                ),
                segment=segment,
                connections=connections,
            )
    finally:
        database.close()


def _give_keys(database: Database, marks: Marks) -> None:
    """After an upgrade, leave no hash without a key in the file store; what stands in the way leaves it to the next command."""
    if has_unkeyed_files(database):
        with suppress(WindsorSyncError):
            marks.give_keys(database.installation(), lambda: hash_in_use(database).key)
            are_keyed(database)


def public_api(segment: Segment, token: Callable[[], str] | None = None) -> "PublicApi":
    """Segment's Public API as the settings have it; raises ConfigError when the token is missing."""
    from windsor_sync.sources.segment_api import PublicApi

    return PublicApi(segment.url, (token or token_from_environment)())


@contextmanager
def _asking(segment: Segment | None, token: Callable[[], str] | None) -> Iterator["Callable[[], PublicApi] | None"]:
    """One Public API for the whole block, made when it is first asked for; None without a `segment:` section."""
    with ExitStack() as opened:
        yield cache(lambda: opened.enter_context(public_api(segment, token))) if segment is not None else None


def _registry(database: Database, settings: Settings, segment: "Callable[[], PublicApi] | None") -> Registry:
    name = settings.destination.name
    if segment is None:
        return Registry(database, name)
    return SegmentKeyedRegistry(database, name, settings.space or "", segment)


def key_from_environment() -> str:
    """Windsor's key as the environment has it; raises ConfigError when it has none."""
    key = clean_key(os.environ.get(API_KEY_VARIABLE, ""), "The API key for Windsor", API_KEY_VARIABLE)
    if not key:
        raise ConfigError(
            f"There is no API key for Windsor. Nothing was sent. Set the environment variable {API_KEY_VARIABLE} to the key "
            "of your Windsor project; in Airflow, put it into the connection's password."
        )
    return key


def token_from_environment() -> str:
    """Segment's token as the environment has it; raises ConfigError when it has none."""
    token = clean_key(os.environ.get(SEGMENT_TOKEN_VARIABLE, ""), "The token for Segment", SEGMENT_TOKEN_VARIABLE)
    if not token:
        raise ConfigError(
            "There is no token for Segment's Public API. Nothing was sent. Set the environment variable "
            f"{SEGMENT_TOKEN_VARIABLE} to a token of your workspace (Segment's settings, Access Management, Tokens); in Airflow, "
            "put it into the password of the connection that segment.connection names. To go without, take `segment` out of "
            "windsor.yaml."
        )
    return token
