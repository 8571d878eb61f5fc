"""docker-compose.yml's own commands and environment, without containers: a sync on two Celery workers, and one is killed."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import yaml

from tests.deployment.compose import ROOT, read_env
from tests.deployment.deployment import WORKERS, Deployment, repeats
from tests.deployment.processes import wait_until
from windsor_sync.delivery.engine import EngineLimits
from windsor_sync.runs import Run, RunState, recent
from windsor_sync.sandbox import shop
from windsor_sync.spec.trait_keys import trait_key

pytestmark = pytest.mark.timeout(600)

RATE = 400
KEY = str(trait_key(shop.AUDIENCE))
FIRST, SECOND = date(1997, 4, 1), date(1997, 5, 1)
SHARDS = {f"deliver_{number}_of_3" for number in (1, 2, 3)}
PATIENCE = {"TASK_RETRY_DELAY_S": "5", "TASK_HEARTBEAT_TIMEOUT_S": "20"}


def settings(folder: Path) -> Path:
    """The shop's settings, slow enough to be met half-way: one audience, and most of it may leave in a month."""
    document = yaml.safe_load((ROOT / "deploy/shop.yaml").read_text(encoding="utf-8"))
    document["destination"]["requests_per_second"] = RATE
    document["defaults"] = {"max_exited_percent": None}
    del document["computed_traits"]
    path = folder / "windsor.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Everything of the file, healthy."""
    folder = tmp_path_factory.mktemp("deployment")
    folder.chmod(0o755)
    subprocess.run([sys.executable, "-m", "deploy.env", str(folder / ".env")], cwd=ROOT, check=True)
    env = read_env(folder / ".env") | PATIENCE | {"WINDSOR_YAML": str(settings(folder))}
    made = Deployment(folder, env)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def last_run(deployment: Deployment) -> Run:
    with deployment.state() as database:
        return recent(database, limit=1)[0]


def windsor_shows(deployment: Deployment, members: set[str], left: set[str]) -> bool:
    return deployment.shown(KEY) == dict.fromkeys(members, True) | dict.fromkeys(left, False)


def test_two_workers_share_a_sync_and_then_one_is_killed(deployment: Deployment) -> None:
    bought = shop.purchases()
    first, second = (set(shop.members_on(bought, day)) for day in (FIRST, SECOND))

    deployment.put_snapshots(str(FIRST))
    run_id = deployment.unpause()
    assert deployment.wait_for(run_id) == "success"

    received = deployment.messages()
    assert windsor_shows(deployment, first, set())
    assert len(received) == len(first), "each member is told once"
    both_took_a_share(deployment, run_id)
    the_rate_was_the_destinations(received)
    the_books_are_closed(last_run(deployment), len(first))

    deployment.put_snapshots(str(SECOND))
    run_id = deployment.trigger()
    victim, killed = kill_one_half_way(deployment, run_id, len(received))
    assert deployment.wait_for(run_id) == "success"

    again = deployment.messages(after=len(received))
    assert windsor_shows(deployment, second, first - second)
    the_books_are_closed(last_run(deployment), len(first ^ second))
    assert len({one["messageId"] for one in again}) == len(first ^ second), "nothing is lost, nothing is sent besides"
    limits = EngineLimits()
    assert repeats(again) <= len(killed) * (limits.checkpoint_rows + limits.max_in_flight)
    tries = {name: task["try_number"] for name, task in deployment.tasks(run_id).items() if name in SHARDS}
    assert tries == {name: 2 if name in killed else 1 for name in SHARDS}, f"{victim} had {killed}"


def both_took_a_share(deployment: Deployment, run_id: str) -> None:
    took = {name: tasks & SHARDS for name, tasks in deployment.workers_of(run_id).items()}
    assert all(took[name] for name in WORKERS), took
    assert set.union(*took.values()) == SHARDS


def the_rate_was_the_destinations(received: list[dict[str, float]]) -> None:
    """Not each task's: over any five seconds, what three tasks sent together."""
    times = sorted(one["receivedAt"] for one in received)
    span_s = 5
    most = max(sum(begin <= moment < begin + span_s for moment in times) for begin in times[::RATE])
    assert most <= 1.25 * RATE * span_s


def the_books_are_closed(run: Run, changes: int) -> None:
    run.books.check(run.run_id)
    assert run.state is RunState.DONE
    assert run.books.delivered == run.books.changes == changes


def kill_one_half_way(deployment: Deployment, run_id: str, before: int) -> tuple[str, set[str]]:
    """Kill a worker that delivers, when a quarter is through; returns its name and the deliveries it had."""

    def is_on_its_way() -> bool:
        return deployment.count_messages() - before > 2_000 and all(
            deployment.workers_of(run_id)[name] & SHARDS for name in WORKERS
        )

    wait_until(is_on_its_way, "a quarter of the changes is through")
    victim = WORKERS[1]
    running = {name for name, task in deployment.tasks(run_id).items() if task["state"] == "running"}
    deployment.running[victim].kill()
    killed = deployment.workers_of(run_id)[victim] & SHARDS & running
    assert killed
    return victim, killed
