"""Segment's raw event archive as a test wants it: gzip files of JSON lines in day folders."""

import gzip
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.world import World

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE = "src1"


class Archive:
    """Writes messages with growing timestamps and messageIds; the world's events come from here."""

    def __init__(self, world: World, **events: Any) -> None:
        self.root = world.folder / "segment-logs"
        self.root.mkdir()
        world.document["events"] = {"archive": str(self.root), **events}
        self.written: list[dict[str, Any]] = []
        """every message, in the order of its timestamp"""
        self._numbers = count()
        self._files = count()

    def message(self, call: str, user: str | None, **fields: Any) -> dict[str, Any]:
        """A message that happens now: a tenth of a second after the one before."""
        number = next(self._numbers)
        moment = FIRST_DAY + timedelta(seconds=number / 10)
        names = {"userId": user} if user is not None else {}
        required = {"event": "Order Completed", "properties": {"revenue": number}} if call == "track" else {}
        return {
            "type": call,
            **names,
            **required,
            "messageId": f"message-{number}",
            "timestamp": moment.isoformat(),
            "sentAt": None,
            "context": {"library": {"name": "analytics.js", "version": "2.1"}},
            "integrations": {},
            **fields,
        }

    def write(self, messages: Iterable[dict[str, Any] | str], *, day: datetime = FIRST_DAY) -> Path:
        """One more file in a day's folder; text goes in as it is."""
        lines = list(messages)
        self.written += [line for line in lines if isinstance(line, dict)]
        folder = self.root / SOURCE / str(int(day.timestamp() * 1000))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{int(day.timestamp() * 1000)}.{next(self._files):06x}.gz"
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        path.write_bytes(gzip.compress(text.encode()))
        return path


def sequences(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """(user, messageId) → each user's messageIds in order, a repetition left out."""
    found: dict[str, dict[str, None]] = {}
    for user, message_id in pairs:
        found.setdefault(user, {})[message_id] = None
    return {user: list(ids) for user, ids in found.items()}


def arrived(world: World) -> dict[str, list[str]]:
    """Each user's messages in the order Windsor first took them."""
    return sequences((one.user_id, one.message_id or "") for one in world.windsor.store.accepted)


def sent(messages: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    """The same for what was written to the archive."""
    return sequences((one.get("userId") or one["anonymousId"], one["messageId"]) for one in messages)
