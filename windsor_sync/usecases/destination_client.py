"""The HTTP client of the destination that windsor.yaml describes."""

import ssl
from contextlib import AbstractContextManager
from dataclasses import dataclass

from windsor_sync.delivery.bounds import EngineLimits
from windsor_sync.delivery.protocols import WireProtocol
from windsor_sync.delivery.rate import Rate
from windsor_sync.delivery.shared_rate import Weight, sharing
from windsor_sync.delivery.transport import HttpTransport, Transport
from windsor_sync.settings import Destination
from windsor_sync.state.database import Database


@dataclass(frozen=True, slots=True)
class HttpDestinationClient:
    """Windsor over HTTP: opens connections, and takes this delivery's share of the rate."""

    wire: WireProtocol
    destination: Destination
    database: Database
    limits: EngineLimits
    tls: ssl.SSLContext | None

    def transport(self) -> Transport:
        """Open fresh connections to Windsor."""
        most, timeout_s = self.destination.max_in_flight, self.destination.timeout_s
        return HttpTransport(connections=most, timeout_s=timeout_s, tls=self.tls)

    def sharing(self, task: str, weight: Weight) -> AbstractContextManager[Rate]:
        """This task's share of the destination's requests per second; `task` is what its lease protects."""
        return sharing(
            self.database,
            destination=self.destination.name,
            task=task,
            requests_per_second=self.destination.requests_per_second,
            weight=weight,
        )
