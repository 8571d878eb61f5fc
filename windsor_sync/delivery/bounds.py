"""The limits that one run of the engine is given, and the outcome that it gives back."""

from dataclasses import dataclass

from windsor_sync.errors import WindsorSyncError


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """The bounds of the engine: how hard it pushes, and for how long."""

    max_in_flight: int = 64
    checkpoint_rows: int = 10_000
    """so many rows a checkpoint lets go beyond those in flight, at most; it lets go what is sent in a quarter of a second"""
    checkpoint_s: float = 2.0
    give_up_after_s: float = 600.0
    """without any useful answer the destination is unavailable"""
    drain_s: float = 4.0
    """how long requests in flight may take to answer after a stop (Airflow kills five seconds after SIGTERM)"""
    rejections_to_stop: int = 50
    """so many rejections in a row from the start of a run mean that the messages, not the users, are wrong"""
    first_backoff_s: float = 0.5
    longest_backoff_s: float = 60.0
    tries_in_turn: int = 5
    """so many failures while others get through, and a row is put off until all others are done"""
    rows_put_off: int = 1_000
    """at most; they are kept in memory"""
    rows_waiting: int = 50_000
    """so many rows at most wait in memory behind an earlier row of their user, while those of others go on"""
    bytes_waiting: int = 64 << 20
    """of their messages, at most"""


@dataclass(slots=True)
class Delivery:
    """The outcome of one engine run."""

    delivered: int = 0
    rejected: int = 0
    unanswered: int = 0
    requests: int = 0
    stopped_by: WindsorSyncError | None = None
    was_interrupted: bool = False
