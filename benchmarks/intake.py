"""How fast files of Segment's raw archive become an outbox: read, checked, filtered, deduplicated, ordered, written.

The archive is a realistic mix, the same in every run. Beside it: a bare single-threaded loop of `gzip` and `json.loads`
over the same files.
"""

import gzip
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.frame import Goal, Row, Work, load, measure
from windsor_sync.events.archive import list_files
from windsor_sync.events.intake import IntakeTask, take_in
from windsor_sync.segment.routing import Routing
from windsor_sync.storage.duckdb_engine import reach_folder

EVENTS = 1_000_000
FILES = 100
DAY = datetime(2025, 6, 1, tzinfo=UTC)
AGENT = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0 Safari/537.36"
)
SHARES = {"page": 46, "track": 36, "identify": 9, "screen": 5, "group": 2, "alias": 1, "broken": 1}
REPEATED = 0.005
"""Share of messages that come a second time: a library that did not hear the answer sends again."""


def run(folder: Path, rows: int) -> list[Row]:  # noqa: ARG001  # always the same size: it is a day of events, not an audience
    """Measure."""
    size = write_archive(folder, EVENTS, FILES)
    mine = measure(Work("intake", "benchmarks.intake:ours", (str(folder),)))
    its = measure(Work("bare loop", "benchmarks.intake:bare", (str(folder),)))
    what = f"{EVENTS:,} events in {FILES} gzip files"
    detail = f"{mine.seconds:.1f} and {its.seconds:.1f} s, {size / EVENTS:.0f} bytes an event"
    per_second = mine.found["received"] / mine.seconds
    return [
        Row("intake", what, "events a second", per_second, "/s", Goal(at_least=100_000), f"load {load():.0f}"),
        Row("intake", "times faster", "gunzip and json.loads, one thread", its.seconds / mine.seconds, detail=detail),
        Row("intake", what, "memory", mine.peak_mb, "MB", Goal(at_most=1_000)),
    ]


def message(chance: random.Random, number: int) -> dict[str, Any]:
    """One message as Segment archives it."""
    moment = DAY + timedelta(milliseconds=number * 80 + chance.randrange(60_000))
    text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    user = chance.randrange(60_000)
    path = f"/products/{chance.randrange(4_000)}"
    (call,) = chance.choices(tuple(SHARES), tuple(SHARES.values()))
    said: dict[str, dict[str, Any]] = {
        "page": {
            "name": "Product",
            "properties": {"path": path, "title": "Product", "url": f"https://shop.example{path}"},
        },
        "track": {
            "event": chance.choice(("Product Viewed", "Product Added", "Order Completed")),
            "properties": {
                "order_id": f"o-{number}",
                "revenue": chance.randrange(100_000) / 100,
                "currency": "EUR",
                "products": [{"product_id": f"p-{chance.randrange(4_000)}", "price": 19.9, "quantity": 1}],
            },
        },
        "identify": {"traits": {"email": f"user{user}@example.com", "plan": "pro", "orders": chance.randrange(40)}},
        "screen": {"name": "Basket", "properties": {"items": chance.randrange(9)}},
        "group": {"groupId": f"g-{user % 900}", "traits": {"name": "A company", "employees": 120}},
        "alias": {"previousId": f"{chance.getrandbits(128):032x}"},
        "broken": {"properties": "text"},
    }
    return {
        "anonymousId": f"{chance.getrandbits(128):032x}",
        "channel": "client",
        "context": {
            "ip": f"203.0.113.{chance.randrange(256)}",
            "library": {"name": "analytics.js", "version": "next-1.70.0"},
            "locale": "de-DE",
            "page": {"path": path, "referrer": "https://search.example/", "url": f"https://shop.example{path}"},
            "userAgent": AGENT,
            "timezone": "Europe/Berlin",
        },
        "integrations": {"All": False} if chance.random() < 0.02 else {},
        "messageId": f"ajs-next-{number}-{chance.getrandbits(64):016x}",
        "originalTimestamp": text,
        "receivedAt": text,
        "sentAt": None if chance.random() < 0.1 else text,
        "timestamp": text,
        "type": "track" if call == "broken" else call,
        "userId": f"user-{user:08d}",
        "version": 2,
        **said[call],
    }


def write_archive(folder: Path, events: int, files: int) -> int:
    """Write the archive; returns its bytes, unpacked."""
    chance = random.Random(20_250_601)  # noqa: S311  # the same archive in every run, not a secret
    size = 0
    for index in range(files):
        first, last = events * index // files, events * (index + 1) // files
        day = DAY + timedelta(days=index // 24)
        path = folder / "segment-logs" / "src" / str(int(day.timestamp()) * 1000) / f"{index:06d}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(_lines(chance, first, last)).encode()
        size += len(text)
        path.write_bytes(gzip.compress(text, 6))
    return size


def _lines(chance: random.Random, first: int, last: int) -> Iterator[str]:
    line = ""
    for number in range(first, last):
        if not line or chance.random() >= REPEATED:
            line = json.dumps(message(chance, number), separators=(",", ":")) + "\n"
        yield line


def ours(folder: str) -> dict[str, Any]:
    """Take the archive in, and check that its books balance."""
    archive = str(Path(folder) / "segment-logs")
    outbox = Path(folder) / "outbox"
    outbox.mkdir()
    task = IntakeTask(
        archive=archive,
        files=list_files(archive, None),
        routing=Routing(suppressed=frozenset({"nobody"}), synced_keys=frozenset({"vip"})),
        holds_alias=False,
        releases_alias=False,
        seen=(),
        previous=None,
        number=1,
    )
    reach_folder(folder)
    intake = take_in(task, outbox=outbox, seen=Path(folder) / "seen", aside=Path(folder) / "aside")
    intake.check()
    return {"received": intake.received, "rows": intake.rows, "duplicates": intake.duplicates}


def bare(folder: str) -> None:
    """Unpack and parse every line, and do nothing with it."""
    for path in sorted(Path(folder).rglob("*.gz")):
        with gzip.open(path) as lines:
            for line in lines:
                json.loads(line)
