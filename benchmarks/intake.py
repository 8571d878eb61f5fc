"""How fast files of Segment's raw archive become an outbox: read, checked, filtered, deduplicated, ordered, written.

    python benchmarks/intake.py [--events 1000000] [--files 100] [--json]

Makes its own archive (a realistic mix, the same in every run), takes it in once, and, in the same run, measures what a
bare single-threaded loop of `gzip` and `json.loads` over the same files needs. Prints events per second, the ratio of the
two, the processor seconds (a busy machine changes these less) and the highest memory of all processes together.
"""

import argparse
import gzip
import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

from windsor_sync.events.intake import Intake, IntakeTask, take_in
from windsor_sync.sources.archive import list_files
from windsor_sync.spec.routing import Routing

DAY = datetime(2025, 6, 1, tzinfo=UTC)
AGENT = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0 Safari/537.36"
)
SHARES = {"page": 46, "track": 36, "identify": 9, "screen": 5, "group": 2, "alias": 1, "broken": 1}
REPEATED = 0.005
"""Share of messages that come a second time: a library that did not hear the answer sends again."""


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


def bare_loop(folder: Path) -> float:
    """Seconds to unpack and parse every line, and do nothing with it."""
    start = time.perf_counter()
    for path in sorted(folder.rglob("*.gz")):
        with gzip.open(path) as lines:
            for line in lines:
                json.loads(line)
    return time.perf_counter() - start


class MemoryWatch:
    """The highest resident memory of this process and its children together, looked at twenty times a second."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._end = Event()
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        own = os.getpid()
        while not self._end.wait(0.05):
            children = Path(f"/proc/{own}/task").glob("*/children")
            processes = [own, *(int(child) for path in children for child in path.read_text().split())]
            self.peak_mb = max(self.peak_mb, sum(map(_resident_mb, processes)))


def _resident_mb(process: int) -> float:
    """Shared pages are counted once for each process that shares them."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def measured(folder: Path) -> tuple[Intake, float, float]:
    """What one intake came to, its seconds, and its memory in MB."""
    archive = str(folder / "segment-logs")
    start = time.perf_counter()
    task = IntakeTask(
        archive=archive,
        files=list_files(archive, None),
        routing=Routing(suppressed=frozenset({"0" * 64}), salt="x", synced_keys=frozenset({"vip"})),
        holds_alias=False,
        releases_alias=False,
        seen=(),
        previous=None,
        number=1,
    )
    (folder / "outbox").mkdir()
    with MemoryWatch() as watch:
        intake = take_in(task, outbox=folder / "outbox", seen=folder / "seen", aside=folder / "aside")
        intake.check()
        seconds = time.perf_counter() - start
    return intake, seconds, watch.peak_mb


def cpu_seconds() -> float:
    """User and system time so far, of this process and of those it started that have ended."""
    times = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in times)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write_archive(folder, arguments.events, arguments.files)
        load, start_cpu_s = os.getloadavg()[0], cpu_seconds()
        intake, seconds, peak_mb = measured(folder)
        cpu_s = cpu_seconds() - start_cpu_s
        bare_s = bare_loop(folder)
    result = {
        "events": intake.received,
        "bytes_an_event": round(size / intake.received),
        "processors": len(os.sched_getaffinity(0)),
        "seconds": round(seconds, 2),
        "events_per_second": round(intake.received / seconds),
        "cpu_seconds": round(cpu_s, 2),
        "load_before": round(load, 1),
        "peak_mb": round(peak_mb),
        "bare_gzip_and_json_seconds": round(bare_s, 2),
        "times_as_fast_as_the_bare_loop": round(bare_s / seconds, 2),
        "outbox_rows": intake.rows,
        "duplicates": intake.duplicates,
        "failed_on_ingest": intake.failed_on_ingest,
        "filtered": intake.filtered,
    }
    if arguments.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{what.replace('_', ' '):32} {value}" for what, value in result.items()))


if __name__ == "__main__":
    main()
