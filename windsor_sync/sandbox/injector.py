"""Decides what becomes of the next request under the faults in force."""

from collections import Counter
from typing import NamedTuple

from windsor_sync.sandbox.faults import Fate, Faults, Outage, draw


class Try(NamedTuple):
    """The course of one try of one message."""

    fate: Fate
    error_status: int  # for the fates that end in one
    latency_s: float


_SMOOTH = Try(Fate.NORMAL, 500, 0)


class Injector:
    """One setting of faults with what it has to remember; a new setting starts counting anew.

    Belongs to the server's thread.
    """

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._requests = 0
        self._tries: Counter[str] = Counter()
        self._rates = [(fate, rate) for fate, rate in faults.rates if rate]
        self._waits = faults.latency_ms[1] > 0

    def admit(self) -> Outage | int | None:
        """Count one request; return the outage it falls into, the status of a revoked key, or None to go on."""
        faults = self.faults
        self._requests += 1
        if faults.outage != Outage.NONE and self._is_within_outage():
            return faults.outage
        if faults.revoked_after is not None and self._requests > faults.revoked_after:
            return faults.revoked_status
        return None

    def _is_within_outage(self) -> bool:
        return self.faults.outage_requests is None or self._requests <= self.faults.outage_requests

    def next_try(self, message_id: str) -> Try:
        """Count one try of a message and return how it goes."""
        if not self._rates and not self._waits:
            return _SMOOTH
        self._tries[message_id] += 1
        this = (message_id, str(self._tries[message_id]))
        seed, (least, most), statuses = self.faults.seed, self.faults.latency_ms, self.faults.error_statuses
        return Try(
            fate=self._fate(draw(seed, "fate", *this)),
            error_status=statuses[int(draw(seed, "status", *this) * len(statuses))],
            latency_s=(least + draw(seed, "latency", *this) * (most - least)) / 1000,
        )

    def _fate(self, drawn: float) -> Fate:
        for fate, rate in self._rates:
            if drawn < rate:
                return fate
            drawn -= rate
        return Fate.NORMAL
