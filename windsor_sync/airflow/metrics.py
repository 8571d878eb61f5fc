"""Metrics of a delivery for Airflow: windsor_sync.sent, .rejected, .owed and .rate, by audience or `events`."""

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windsor_sync.delivery.bounds import Delivery


class Meter:
    """Follows one delivery of one task."""

    def __init__(self, audience: str) -> None:
        self._tags = {"audience": audience}
        self._began = time.monotonic()
        self._delivery: Delivery | None = None

    def follow(self, delivery: "Delivery") -> None:
        """Remember the delivery, which goes on counting."""
        self._delivery = delivery

    def emit(self) -> None:
        """Count what this try sent, however it ended."""
        if self._delivery is None:
            return
        stats = airflows_metrics()
        seconds = max(time.monotonic() - self._began, 0.001)
        stats.incr("windsor_sync.sent", self._delivery.delivered, tags=self._tags)
        stats.incr("windsor_sync.rejected", self._delivery.rejected, tags=self._tags)
        stats.gauge("windsor_sync.rate", self._delivery.requests / seconds, tags=self._tags)


def owed(audience: str, number: int) -> None:
    """Return the number of changes that Windsor has not been told, once the run is closed."""
    airflows_metrics().gauge("windsor_sync.owed", number, tags={"audience": audience})


def airflows_metrics() -> Any:
    """Return what has Airflow's metrics as functions: a module since 3.3, a class before."""
    from airflow.sdk.observability import stats

    return stats if hasattr(stats, "incr") else stats.Stats
