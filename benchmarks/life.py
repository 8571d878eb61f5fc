"""The life of a scheduler, whose clock jumps: `python -m benchmarks.life [--runs N] [--kept-days N] [--json FILE]`.

Two audiences, a computed trait and the events of an archive are brought to a Windsor that is busy, wrong, silent or
away now and then. After each round the clock jumps by two hours and a half; after every ten rounds `state prune` runs.
Everything that could grow is measured ten times on the way. After retention has begun to remove, only the state may
grow, because it keeps the counts of each run. At the end Windsor works again: one sync makes it right, a second one
sends nothing, and each user's events are in their order.
"""

import argparse
import csv
import ctypes
import gc
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import time_machine

from benchmarks.frame import resident_mb
from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.domain.run import Run
from windsor_sync.sandbox import Faults
from windsor_sync.sandbox.receiver import DEFAULT_API_KEY
from windsor_sync.settings import Events, load
from windsor_sync.usecases.forward import ForwardRequest, forward
from windsor_sync.usecases.prune import prune
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.sync import sync
from windsor_sync.usecases.workspace import Workspace, open_workspace

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ROUND = timedelta(hours=2, minutes=30)
RUNS_A_ROUND = 4
USERS = 300
EVENTS_A_ROUND = 40
CHURN = 12
LOOKS = 10
KEPT_FILES = 3
"""Number of files that a folder keeps, as if somebody deleted old downloads and archive files."""
FLAT = 1.1
"""How many times the first figures after retention has begun the last ones may be; noise is less."""

SETTINGS = """\
destination: {{url: "{url}", requests_per_second: 100000, max_in_flight: 16, timeout_s: 1, give_up_after_s: 1}}
defaults: {{max_age: null, max_exited_percent: null}}
audiences:
  - {{name: Vip, snapshot: {{path: "downloads/vip/*.csv", format: csv}}}}
  - {{name: Churned, snapshot: {{path: "downloads/churned/*.csv", format: csv}}}}
computed_traits:
  - {{name: Revenue, snapshot: {{path: "downloads/revenue/*.csv", format: csv}}}}
events: {{archive: archive}}
"""
REFUSING: dict[str, Any] = {"rejected_share": 0.02}
MOODS: tuple[dict[str, Any], ...] = (
    {},
    {"busy_rate": 0.05, "retry_after_s": 0.01},
    {"error_rate": 0.05},
    {"reset_rate": 0.02, "lost_answer_rate": 0.02},
    {"false_error_rate": 0.02, "garbage_rate": 0.02},
    REFUSING,
    {"outage": "unavailable"},
)


@dataclass(frozen=True, slots=True)
class Look:
    """The figures of one moment; CPU is that of a run, averaged since the look before."""

    runs: int
    cpu_ms: float
    memory_mb: float
    in_use_mb: float
    """of the C library's memory, without what it keeps free for later; 0 where it does not say"""
    handles: int
    threads: int
    files: int
    """in the store of sealed files"""
    files_mb: float
    state_mb: float


class Shop:
    """A shop whose customers change their minds: it writes downloads and events, and remembers what is true."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._chance = random.Random(7)  # noqa: S311
        self.vip = {f"user-{number}" for number in range(0, USERS, 2)}
        self.churned = {f"user-{number}" for number in range(0, USERS, 3)}
        self.revenue = {f"user-{number}": number for number in range(USERS)}
        self.numbers: dict[str, int] = defaultdict(int)

    def goes_on(self, moment: datetime) -> None:
        """Let a round of changes happen, and write what Segment would have written by then."""
        for members in (self.vip, self.churned):
            members ^= {f"user-{self._chance.randrange(USERS)}" for _ in range(CHURN)}
        for _ in range(CHURN):
            self.revenue[f"user-{self._chance.randrange(USERS)}"] = self._chance.randrange(1_000)
        self._download("vip", moment, [(user, f"{user}@example.com") for user in sorted(self.vip)])
        self._download("churned", moment, [(user, f"{user}@example.com") for user in sorted(self.churned)])
        self._download("revenue", moment, [(user, str(value)) for user, value in self.revenue.items()], "value")
        self._events(moment)

    def _download(self, what: str, moment: datetime, rows: list[tuple[str, str]], second: str = "email") -> None:
        path = self._path(f"downloads/{what}", f"{moment:%Y%m%dT%H%M}.csv")
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("user_id", second), *rows])
        os.utime(path, (moment.timestamp(), moment.timestamp()))

    def _events(self, moment: datetime) -> None:
        day = int(moment.replace(hour=0, minute=0).timestamp() * 1000)
        lines = []
        for second in range(EVENTS_A_ROUND):
            user = f"user-{self._chance.randrange(USERS)}"
            self.numbers[user] += 1
            at = (moment - ROUND + timedelta(minutes=second)).isoformat()
            event = {"type": "track", "event": "Product Viewed", "userId": user, "timestamp": at, "receivedAt": at}
            lines.append(json.dumps({**event, "messageId": f"{user}/{self.numbers[user]}"}))
        path = self._path(f"archive/source/{day}", f"{int(moment.timestamp())}.gz")
        path.write_bytes(gzip.compress("\n".join(lines).encode()))

    def _path(self, folder: str, name: str) -> Path:
        made = self._folder / folder
        made.mkdir(parents=True, exist_ok=True)
        for old in sorted(made.iterdir())[:-KEPT_FILES]:
            old.unlink()
        return made / name


def live(folder: Path, runs: int, kept_days: int) -> list[Look]:
    """Play `runs` runs and return the looks; raises AssertionError where Windsor is not right at the end."""
    with _windsor(folder) as url, httpx.Client(base_url=url, timeout=60) as windsor:
        (folder / "windsor.yaml").write_text(SETTINGS.format(url=url))
        shop, dates, looks = Shop(folder), Dates(folder / ".windsor"), list[Look]()
        rounds = runs // RUNS_A_ROUND
        between = max(1, rounds // LOOKS)
        with (
            time_machine.travel(BEGIN, tick=True) as clock,
            open_workspace(load(folder / "windsor.yaml"), lambda: DEFAULT_API_KEY) as workspace,
        ):
            began = time.process_time()
            for number in range(1, rounds + 1):
                shop.goes_on(datetime.now(UTC))
                windsor.put("/api/faults", json=MOODS[number % len(MOODS)])
                _round(workspace)
                dates.give(datetime.now(UTC))
                is_looked_at = number % between == 0
                if is_looked_at or number % 10 == 0:  # files are counted after a prune: before it there are more
                    prune(workspace, kept_days=kept_days)
                if is_looked_at:
                    spent_ms = (time.process_time() - began) * 1000
                    looks.append(_look(folder, number * RUNS_A_ROUND, spent_ms / between / RUNS_A_ROUND))
                    print(looks[-1], file=sys.stderr)
                    began = time.process_time()
                clock.shift(ROUND)
            windsor.put("/api/faults", json={})
            shop.goes_on(datetime.now(UTC))
            _require_truth(workspace, windsor, shop)
    return looks


def _round(workspace: Workspace) -> list[Run]:
    synced = [sync(workspace, one, Request(), CancelToken()) for one in workspace.settings.computations]
    return [*synced, *forward(workspace, ForwardRequest(), CancelToken())]


def _require_truth(workspace: Workspace, windsor: httpx.Client, shop: Shop) -> None:
    """Raise AssertionError unless one healthy round makes Windsor right, and the next one has nothing to say."""
    _round(workspace)
    again = _round(workspace)
    assert [run.books.changes for run in again] == [0] * len(workspace.settings.computations), again
    users = windsor.get("/api/users", params={"limit": 10_000}).json()["users"]
    for key, members in (("vip", shop.vip), ("churned", shop.churned)):
        assert {user["id"] for user in users if user["properties"].get(key) is True} == members, key
    values = {user["id"]: user["properties"].get("revenue") for user in users}
    assert {user: values.get(user) for user in shop.revenue} == shop.revenue
    told: dict[str, list[int]] = defaultdict(list)
    for message_id in _messages(windsor):
        user, _, number = message_id.partition("/")
        if number:
            told[user].append(int(number))
    for user, numbers in told.items():
        assert numbers == sorted(numbers), f"events of {user} out of their order"
    refused = Faults.parse(REFUSING)
    lost = [user for user, last in shop.numbers.items() if len(told[user]) < last and not refused.rejects(user)]
    assert not lost, f"events of {len(lost)} users are missing"


def _messages(windsor: httpx.Client) -> Iterator[str]:
    """Return the messageId of every message that Windsor accepted, in order, each once."""
    seen: set[str] = set()
    offset = 0
    while found := windsor.get("/api/messages", params={"offset": offset, "limit": 10_000}).json()["messages"]:
        offset += len(found)
        for message in found:
            if message["messageId"] not in seen:
                seen.add(message["messageId"])
                yield message["messageId"]


class _Mallinfo(ctypes.Structure):
    """What `mallinfo2` of glibc returns."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def _in_use_mb() -> float:
    """Return what the program has of the C library's memory. Resident memory also counts what was freed and kept."""
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except AttributeError:  # another C library, or one before glibc 2.33
        return 0.0
    mallinfo.restype = _Mallinfo
    found = mallinfo()
    return float(found.uordblks + found.hblkhd) / 1e6


def _look(folder: Path, runs: int, cpu_ms: float) -> Look:
    gc.collect()  # what Python has yet to collect is no growth
    stored = [file.stat().st_size for file in (folder / ".windsor" / "files").rglob("*") if file.is_file()]
    state = sum(file.stat().st_size for file in (folder / ".windsor").glob("state.db*"))
    handles = len(list(Path("/proc/self/fd").iterdir()))
    return Look(
        runs,
        round(cpu_ms, 1),
        round(resident_mb(os.getpid()), 1),
        round(_in_use_mb(), 2),
        handles,
        threading.active_count(),
        len(stored),
        round(sum(stored) / 1e6, 3),
        round(state / 1e6, 3),
    )


class Dates:
    """Dates new files by the clock that jumps, because the system dates them by its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: set[Path] = set()

    def give(self, moment: datetime) -> None:
        """Date the files that are new."""
        files = {file for file in self._folder.rglob("*") if file.is_file() and not file.name.startswith("state.db")}
        for file in files - self._known:
            os.utime(file, (moment.timestamp(), moment.timestamp()))
        self._known = files


@contextmanager
def _windsor(folder: Path) -> Iterator[str]:
    """Start a stand-in of Windsor in a process of its own, so that its memory is not measured."""
    command = [sys.executable, "-m", "windsor_sync.cli", "sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:  # noqa: S603
        assert process.stdout is not None
        line = next(line for line in process.stdout if "http://" in line)
        threading.Thread(target=process.stdout.read, daemon=True).start()
        try:
            yield next(word for word in line.split() if word.startswith("http://"))
        finally:
            process.terminate()


def grown(looks: list[Look], runs_before: int) -> list[str]:
    """Return the figures that grew after `runs_before`: the later half of the looks has a greater median."""
    then = [look for look in looks if look.runs > runs_before]
    half = len(then) // 2
    found = []
    for name in ("cpu_ms", "memory_mb", "in_use_mb", "handles", "threads", "files", "files_mb"):
        early, late = ([getattr(look, name) for look in part] for part in (then[:half], then[half:]))
        if early and sorted(late)[len(late) // 2] > FLAT * sorted(early)[len(early) // 2]:
            found.append(name)
    return found


def main() -> int:
    """Print a table; the exit status says whether something grew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.life", description=__doc__)
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--kept-days", type=int, default=10, help="as of `state prune`")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="windsor-sync-life-") as folder:
        looks = live(Path(folder), arguments.runs, arguments.kept_days)
    print("| runs | ms of processor a run | memory MB | in use MB | handles | threads | files | files MB | state MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for look in looks:
        print("| " + " | ".join(f"{value:,}" for value in asdict(look).values()) + " |")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(look) for look in looks], indent=1) + "\n", encoding="utf-8")
    kept = timedelta(days=max(arguments.kept_days, Events.model_fields["dedupe_days"].default))
    removed_from = int(kept / ROUND) * RUNS_A_ROUND
    found = grown(looks, removed_from)
    print(f"After {removed_from:,} runs, when retention begins to remove, {' and '.join(found) or 'nothing'} grew.")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
