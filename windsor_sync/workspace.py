"""What the use cases work with, and the one place that wires settings to adapters."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from windsor_sync.delivery.engine import EngineLimits
from windsor_sync.delivery.rate import Rate
from windsor_sync.delivery.shared_rate import Weight, sharing
from windsor_sync.delivery.transport import HttpTransport, Transport
from windsor_sync.delivery.wires import Wire
from windsor_sync.delivery.wires.segment_webhook import SegmentWebhook
from windsor_sync.errors import ConfigError
from windsor_sync.holder import name_of_this_process
from windsor_sync.lease import TTL_S, Lease, held
from windsor_sync.ledger import Ledger
from windsor_sync.registry import Registry
from windsor_sync.settings import Destination, Settings
from windsor_sync.spec.trait_keys import TraitKey
from windsor_sync.state.database import Database, open_database
from windsor_sync.state.files import FileStore

API_KEY_VARIABLE = "WINDSOR_API_KEY"


@dataclass(frozen=True, slots=True)
class HttpLine:
    """Windsor behind HTTP, as the settings describe it."""

    wire: Wire
    destination: Destination
    database: Database
    limits: EngineLimits

    def transport(self) -> Transport:
        """Fresh connections."""
        return HttpTransport(connections=self.destination.max_in_flight, timeout_s=self.destination.timeout_s)

    def sharing(self, task: str, weight: Weight) -> AbstractContextManager[Rate]:
        """This task's share of the destination's requests per second; `task` is what its lease protects."""
        return sharing(
            self.database,
            destination=self.destination.name,
            task=task,
            requests_per_second=self.destination.requests_per_second,
            weight=weight,
        )


@dataclass(frozen=True, slots=True)
class Workspace:
    """Settings with everything they name opened."""

    settings: Settings
    database: Database
    files: FileStore
    ledger: Ledger
    registry: Registry
    api_key: Callable[[], str]
    """asked for only when something is about to be sent"""
    engine_limits: EngineLimits = field(default_factory=EngineLimits)
    lease_ttl_s: float = TTL_S

    def line(self) -> HttpLine:
        """The way to Windsor; raises ConfigError when the key is missing."""
        destination = self.settings.destination
        wire = SegmentWebhook(destination.url, self.api_key())
        return HttpLine(wire, destination, self.database, self.engine_limits)

    @contextmanager
    def hold(self, key: TraitKey, holder: str, shard: int | None = None) -> Iterator[Lease]:
        """The lease on one audience at this destination, or on one shard of its delivery; raises LeaseHeld."""
        resource = f"{key} at {self.settings.destination.name}"
        name = f"{holder} on {name_of_this_process()}"
        with held(self.database, resource, name, self.lease_ttl_s, shard) as lease:
            yield lease


@contextmanager
def open_workspace(settings: Settings, api_key: Callable[[], str] | None = None) -> Iterator[Workspace]:
    """Open the state and the file store; raises ConfigError when they cannot be used."""
    database = open_database(settings.state)
    destination = settings.destination
    try:
        files = FileStore(settings.files)
        yield Workspace(
            settings=settings,
            database=database,
            files=files,
            ledger=Ledger(database, files, destination.name),
            registry=Registry(database, destination.name),
            api_key=api_key or _key_from_environment,
            engine_limits=EngineLimits(
                max_in_flight=destination.max_in_flight, give_up_after_s=destination.give_up_after_s
            ),
        )
    finally:
        database.close()


def _key_from_environment() -> str:
    key = os.environ.get(API_KEY_VARIABLE, "")
    if not key:
        raise ConfigError(
            f"There is no API key for Windsor. Nothing was sent. Set the environment variable {API_KEY_VARIABLE} to the key "
            "of your Windsor project; in Airflow, put it into the connection's password."
        )
    return key
