"""Waits in the triggerer for a newer snapshot; the look-ups, which block, are made in a thread."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from windsor_sync.errors import SnapshotError


def taken_after(
    path: str, taken_at: str | None, after: datetime | None, consists_of: str | None = None
) -> datetime | None:
    """Return when the newest snapshot was taken, if that is later than `after`; None when there is none."""
    from windsor_sync.sources import newest

    try:
        found = newest(path, taken_at, consists_of=consists_of).taken_at
    except SnapshotError:  # nothing there yet, or the store is out of reach: look again
        return None
    return found if after is None or found > after else None


class NewerSnapshotTrigger(BaseTrigger):
    """Fires once the newest file of `path` was taken later than `after` (ISO 8601; None: any snapshot will do)."""

    def __init__(
        self, path: str, taken_at: str | None, after: str | None, every_s: float, consists_of: str | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path = path
        self.taken_at = taken_at
        self.after = after
        self.every_s = every_s
        self.consists_of = consists_of

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how the triggerer makes it anew."""
        names = ("path", "taken_at", "after", "every_s", "consists_of")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, and look again; the event says when the snapshot was taken."""
        after = datetime.fromisoformat(self.after) if self.after else None
        while True:
            found = await asyncio.to_thread(taken_after, self.path, self.taken_at, after, self.consists_of)
            if found is not None:
                yield TriggerEvent({"taken_at": found.isoformat()})  # type: ignore[no-untyped-call]
                return
            await asyncio.sleep(self.every_s)
