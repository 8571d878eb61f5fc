"""The demo's raw archive: the files Segment would have written of the shop's visits on a given day."""

import gzip
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from pathlib import Path

import pandas as pd

from windsor_sync.demo.shop_visits import Message, again, elsewhere, orders_on, visit
from windsor_sync.segment.calls import encode, parse_timestamp
from windsor_sync.segment.routing import Filtered

ARCHIVE = "segment-logs"
SOURCE_ID = "demoShop"
FILES_A_DAY = 4
NOT_FOR_WINDSOR_EVERY = 12
"""of so many orders, one has calls that are for other destinations"""
REPEATED_EVERY = 25
TORN_FILE = 2
"""of the day's files, from 0: the one whose last line breaks off"""


@dataclass(slots=True)
class ShopTally:
    """Counts of an archive by outcome; `lines` is the sum of all others."""

    files: int = 0
    lines: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    """by type: what Windsor has to get, each once"""
    filtered: Counter[Filtered] = field(default_factory=Counter)
    duplicates: int = 0
    """lines with a messageId that an earlier one has"""
    malformed: int = 0

    def __add__(self, other: "ShopTally") -> "ShopTally":
        return ShopTally(
            self.files + other.files,
            self.lines + other.lines,
            self.calls + other.calls,
            self.filtered + other.filtered,
            self.duplicates + other.duplicates,
            self.malformed + other.malformed,
        )


def write_archive(bought: pd.DataFrame, day: date, folder: Path) -> ShopTally:
    """Write the day's files into `folder`/segment-logs, beside those of other days; the same bytes every time.

    Lines come as Segment received them, so the visits of many customers run side by side.
    """
    archive = folder / ARCHIVE
    tally = ShopTally()
    parts: list[list[Message]] = [[] for _ in range(FILES_A_DAY)]
    for message in _received(bought, day, tally):
        parts[parse_timestamp(message["receivedAt"]).hour * FILES_A_DAY // 24].append(message)
    _write(archive / "dummy-object.txt", b"")
    midnight = datetime.combine(day, time(), UTC)
    for number, part in enumerate(parts):
        lines = b"".join(encode(message) + b"\n" for message in part)
        if number == TORN_FILE and part:
            lines += _torn(part, tally)
        written = midnight + (number + 1) * timedelta(hours=24 / FILES_A_DAY)
        path = archive / SOURCE_ID / str(_epoch_ms(midnight)) / _file_name(written, lines)
        _write(path, gzip.compress(lines, mtime=0))
        tally.files += 1
    return tally


def _received(bought: pd.DataFrame, day: date, tally: ShopTally) -> list[Message]:
    """Every whole message of the day in the order of its receipt, counted."""
    messages: list[Message] = []
    for place, order in enumerate(orders_on(bought, day)):
        calls = list(visit(order))
        tally.calls.update(message["type"] for message in calls)
        messages += calls
        if place % NOT_FOR_WINDSOR_EVERY == 0:
            messages += _counted(elsewhere(order), tally)
        if place % REPEATED_EVERY == 0:
            messages += [again(message) for message in calls if message["type"] == "track"]
            tally.duplicates += 1
    tally.lines += len(messages)
    return sorted(messages, key=lambda message: (message["receivedAt"], message["messageId"]))


def _counted(pairs: Iterable[tuple[Filtered, Message]], tally: ShopTally) -> Iterator[Message]:
    for reason, message in pairs:
        tally.filtered[reason] += 1
        yield message


def _torn(part: list[Message], tally: ShopTally) -> bytes:
    """Half a line: a file whose writer was interrupted. Its message is another one, so nothing real is missing."""
    line = encode({**part[-1], "messageId": "torn"})
    tally.lines += 1
    tally.malformed += 1
    return line[: len(line) // 2]


def _file_name(written: datetime, lines: bytes) -> str:
    """Return a name as Segment's writers make one: the time, then hexadecimal digits that mean something to them only."""
    name = sha256(lines).hexdigest()
    uuid = "-".join((name[16:24], name[24:28], name[28:32], name[32:36], name[36:48]))
    return f"{_epoch_ms(written)}.{name[:12]}.{name[12:16]}.{uuid}.gz"


def _epoch_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_bytes(content)
    draft.replace(path)
