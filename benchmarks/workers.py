"""Many audiences over two Celery workers, one of which is killed: `python -m benchmarks.workers [--audiences N] [--members N]`.

The services of docker-compose.yml run as processes of this machine: PostgreSQL, Redis, an object store, Airflow and its two
workers. The Windsor answers after a while, and remembers each user's value and when each request came. Three syncs have the
same number of changes: the first is of new audiences, and from one to the next a half of each audience is exchanged.

1. Both workers share the initial sync.
2. One worker is killed when a third of the changes is through.
3. The other worker does all of it alone.

After each of them every user in Windsor has exactly the value that the snapshot says. A fourth sync sends nothing. No
second sees more requests than are configured, whoever sent them.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import httpx
import yaml

from benchmarks.frame import load
from benchmarks.rate import busiest_second
from benchmarks.server.tally import ARRIVALS, FALSE, TRUE, UNKNOWN, tallying
from deploy.prepare import BUCKET
from tests.deployment.compose import ROOT, read_env
from tests.deployment.deployment import DAG, WORKERS, Deployment
from windsor_sync.segment.trait_keys import trait_key

PATIENCE = {"TASK_RETRY_DELAY_S": "5", "TASK_HEARTBEAT_TIMEOUT_S": "20"}
"""A dead worker's tasks are tried again after 25 s; docker-compose.yml's own values make it two minutes."""

SYNCS_MOVING = 3
APART = 1_000
"""By how many users two audiences differ."""

KILLED_AT = 1 / 3
BEGIN = datetime.now(UTC).date() - timedelta(days=SYNCS_MOVING + 1)
GIVE_UP_S = 3_600


@dataclass(frozen=True, slots=True)
class Size:
    """What is asked of the workers."""

    audiences: int
    members: int
    requests_per_second: int
    latency_s: float
    in_flight: int

    @property
    def users(self) -> int:
        """Numbers of users that are used."""
        return self.members + self.audiences * APART + SYNCS_MOVING * (self.members // 2)

    def first(self, audience: int, day: int) -> int:
        """The lowest number of a member; the others follow it."""
        return audience * APART + day * (self.members // 2)


@dataclass(frozen=True, slots=True)
class Synced:
    """What one sync came to."""

    what: str
    seconds: float
    """from the start of Airflow's run to its end"""
    delivering_s: float
    """from the first request to the last one"""
    changes: int
    messages: int
    """that arrived, so those of more than `changes` are repeats"""
    busiest_second: int
    wrong: int
    """users with another value than the snapshot's"""
    tasks: dict[str, int]
    """that each worker began"""
    tried_again: int
    load: float


class Arena:
    """The deployment, its Windsor, and what each of them is told."""

    def __init__(self, folder: Path, size: Size, url: str) -> None:
        subprocess.run([sys.executable, "-m", "deploy.env", str(folder / ".env")], cwd=ROOT, check=True)  # noqa: S603
        (folder / "windsor.yaml").write_text(yaml.safe_dump(_settings(size)), encoding="utf-8")
        env = read_env(folder / ".env") | PATIENCE | {"WINDSOR_YAML": str(folder / "windsor.yaml"), "WINDSOR_URL": url}
        self.deployment = Deployment(folder, env)
        self._told = folder / "told"
        self._size = size
        self._http = httpx.Client(base_url=url, timeout=60)

    def put_snapshots(self, day: int) -> None:
        """Put each audience's members of a day into the object store."""
        env, port = self.deployment.env, self.deployment.store_port
        store = fsspec.filesystem(
            "s3", key="windsor", secret=env["STORE_PASSWORD"], endpoint_url=f"http://127.0.0.1:{port}"
        )
        for audience in range(self._size.audiences):
            first = self._size.first(audience, day)
            rows = "".join(f"user-{number:08}\n" for number in range(first, first + self._size.members))
            path = f"{BUCKET}/snapshots/{audience}/{BEGIN + timedelta(days=day)}.csv"
            store.pipe_file(path, f"user_id\n{rows}".encode())

    def count(self) -> int:
        """Messages that Windsor has."""
        return int(self._http.get("/").json())

    def synced(self, what: str, day: int, start: Callable[[], str], half_way: Callable[[], None] | None) -> Synced:
        """Run the DAG to its end, and look at what Windsor was told."""
        before, begin = self.count(), time.monotonic()
        run_id = start()
        changes = self._size.audiences * self._size.members if day < SYNCS_MOVING else 0
        if half_way is not None:
            _wait(lambda: self.count() >= before + changes * KILLED_AT)
            half_way()
        _wait(lambda: self.deployment.state_of(run_id) in ("success", "failed"))
        seconds = time.monotonic() - begin
        after = self.count()
        came = array("d")
        came.frombytes((self._told / ARRIVALS).read_bytes())
        arrivals = sorted(came[before:after])
        tasks = self._tasks(run_id)
        wrong = [one["task_id"] for one in tasks if one["state"] not in ("success", "skipped")]
        assert not wrong, f"{what}: {wrong}"
        return Synced(
            what,
            round(seconds, 1),
            round(arrivals[-1] - arrivals[0], 1) if arrivals else 0,
            changes,
            after - before,
            busiest_second(arrivals) if arrivals else 0,
            self._wrong(min(day, SYNCS_MOVING - 1)),
            {worker: self._begun(worker, run_id) for worker in WORKERS},
            sum(one["try_number"] > 1 for one in tasks),
            round(load(), 1),
        )

    def _tasks(self, run_id: str) -> list[dict[str, Any]]:
        asked = f"dags/{DAG}/dagRuns/{run_id}/taskInstances?limit=1000"
        return list(self.deployment.api("GET", asked)["task_instances"])

    def _begun(self, worker: str, run_id: str) -> int:
        said = self.deployment.running[worker].said().splitlines()
        return sum("Executing workload" in line and run_id in line for line in said)

    def _wrong(self, day: int) -> int:
        """Count users whose value is another one than that of all snapshots so far."""
        found = 0
        for audience in range(self._size.audiences):
            expected = bytearray([UNKNOWN]) * self._size.users
            low, high = self._size.first(audience, 0), self._size.first(audience, day)
            expected[low:high] = bytes([FALSE]) * (high - low)
            expected[high : high + self._size.members] = bytes([TRUE]) * self._size.members
            told = (self._told / str(trait_key(_name(audience)))).read_bytes()
            found += sum(one != other for one, other in zip(told, expected, strict=True)) if told != expected else 0
        return found


def _name(audience: int) -> str:
    return f"Audience {audience}"


def _settings(size: Size) -> dict[str, Any]:
    return {
        "space": "spa_workers",
        "destination": {
            "url": "http://127.0.0.1:9/",  # WINDSOR_URL counts
            "name": "windsor",
            "requests_per_second": size.requests_per_second,
            "max_in_flight": size.in_flight,
        },
        "defaults": {"max_exited_percent": None, "max_age": None},
        "audiences": [
            {
                "name": _name(audience),
                "snapshot": {"path": f"s3://{BUCKET}/snapshots/{audience}/*.csv", "taken_at": "%Y-%m-%d"},
            }
            for audience in range(size.audiences)
        ],
    }


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GIVE_UP_S
    while not until():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(1)


@contextmanager
def _arena(size: Size) -> Iterator[Arena]:
    with tempfile.TemporaryDirectory(prefix="windsor-sync-workers-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with tallying(folder / "told", size.latency_s, size.users) as url:
            arena = Arena(folder, size, url)
            try:
                arena.deployment.start()
                yield arena
            finally:
                arena.deployment.stop()


def measure(size: Size) -> Iterator[Synced]:
    """Yield the four syncs."""
    with _arena(size) as arena:
        deployment = arena.deployment
        victim = WORKERS[1]
        arena.put_snapshots(0)
        yield arena.synced("both workers", 0, deployment.unpause, None)
        arena.put_snapshots(1)
        kill = deployment.running[victim].kill
        yield arena.synced("both, one is killed", 1, deployment.trigger, kill)
        arena.put_snapshots(2)
        yield arena.synced("the other one alone", 2, deployment.trigger, None)
        yield arena.synced("nothing new", SYNCS_MOVING, deployment.trigger, None)


def table(found: list[Synced]) -> str:
    """The syncs as Markdown."""
    heads = ("sync", "seconds", "of them delivering", "changes", "messages", "busiest second", "users wrong")
    more = ("tasks of each worker", "tried again", "load")
    lines = ["| " + " | ".join((*heads, *more)) + " |", "|---" * (len(heads) + len(more)) + "|"]
    for one in found:
        shares = " + ".join(map(str, one.tasks.values()))
        cells = (one.what, one.seconds, one.delivering_s, one.changes, one.messages, one.busiest_second, one.wrong)
        written = [f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells]
        lines.append("| " + " | ".join([*written, shares, str(one.tried_again), str(one.load)]) + " |")
    return "\n".join(lines)


def defects(found: list[Synced], size: Size) -> list[str]:
    """Say what should not have happened."""
    *moving, last = found
    said = [f"{one.what}: {one.wrong} users have a wrong value" for one in found if one.wrong]
    said += [f"{one.what}: changes are missing" for one in moving if one.messages < one.changes]
    said += [
        f"{one.what}: {one.busiest_second} requests in one second"
        for one in found
        if one.busiest_second > size.requests_per_second
    ]
    said += [f"{moving[1].what}: no task was tried again"] if not moving[1].tried_again else []
    said += [f"{last.what}: {last.messages} messages"] if last.messages else []
    return said


def main() -> int:
    """Print a table; the exit status says whether something was lost, wrong or too fast."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__)
    parser.add_argument("--audiences", type=int, default=20)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=2_000, help="requests_per_second of the destination")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds that Windsor takes")
    parser.add_argument("--in-flight", type=int, default=32, help="requests on their way, of one task")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    size = Size(given.audiences, given.members, given.rate, given.latency, given.in_flight)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that every service is ended too
    found = []
    for one in measure(size):
        found.append(one)
        print(one, file=sys.stderr, flush=True)
    print(table(found))
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")
    said = defects(found, size)
    for each in said:
        print(each)
    return int(bool(said))


if __name__ == "__main__":
    sys.exit(main())
