"""docker-compose.yml's own commands and environment, without containers: a sync on two Celery workers, and one is killed."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import yaml

from tests.chaos.processes import IS_CHAOS
from tests.deployment.compose import ROOT, read_env
from tests.deployment.deployment import DAG, WORKERS, Deployment, repeats
from tests.deployment.processes import wait_until
from windsor_sync.delivery.bounds import EngineLimits
from windsor_sync.delivery.checkpoints import AHEAD_S
from windsor_sync.demo import shop
from windsor_sync.domain.run import Run, RunState
from windsor_sync.segment.trait_keys import trait_key
from windsor_sync.state.runs import recent

pytestmark = pytest.mark.timeout(600)

RATE = 400
SLOW = 100
"""At which nothing is through before a worker has heard that it is to stop."""

SLOWEST = 60
"""The same, for the fewer who leave from the third to the fourth day."""

ON_ITS_WAY = 300
KEY = str(trait_key(shop.AUDIENCE))
FIRST, SECOND, THIRD = date(1997, 1, 20), date(1997, 2, 10), date(1997, 6, 1)
"""To the second most enter, so that tasks side by side are met half-way; to the third most leave, which one task tells."""
FOURTH, FIFTH = date(1997, 8, 1), date(1997, 10, 1)
SHARDS = {f"deliver_{number}_of_3" for number in (1, 2, 3)}
EXITS = "deliver_exits"
PATIENCE = {"TASK_RETRY_DELAY_S": "5", "TASK_HEARTBEAT_TIMEOUT_S": "20"}


def settings(folder: Path, rate: int = RATE) -> Path:
    """The shop's settings, slow enough to be met half-way: one audience, and most of it may leave in a month."""
    document = yaml.safe_load((ROOT / "deploy/shop.yaml").read_text(encoding="utf-8"))
    document["destination"]["requests_per_second"] = rate
    document["defaults"]["max_exited_percent"] = None
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


def test_two_workers_share_a_sync_then_one_is_killed_and_at_last_a_person_stops_a_delivery(
    deployment: Deployment,
) -> None:
    bought = shop.purchases()
    first, second, third = (set(shop.members_on(bought, day)) for day in (FIRST, SECOND, THIRD))

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
    victim, killed = kill_one_half_way(deployment, run_id, len(received) + len(first - second))
    assert deployment.wait_for(run_id) == "success"

    again = deployment.messages(after=len(received))
    assert windsor_shows(deployment, second, first - second)
    the_books_are_closed(last_run(deployment), len(first ^ second))
    assert len({one["messageId"] for one in again}) == len(first ^ second), "nothing is lost, nothing is sent besides"
    assert repeats(again) <= len(killed) * (AHEAD_S * RATE + EngineLimits().max_in_flight)
    tries = {name: task["try_number"] for name, task in deployment.tasks(run_id).items() if name in SHARDS}
    assert tries == {name: 2 if name in killed else 1 for name in SHARDS}, f"{victim} had {killed}"

    deployment.put_snapshots(str(THIRD))
    settings(deployment.folder, SLOW)
    before = len(received) + len(again)
    run_id = deployment.trigger()
    mark_a_delivery_half_way(deployment, run_id, before, "failed")
    assert deployment.wait_for(run_id) == "failed"
    stopped = last_run(deployment)
    assert (stopped.state, stopped.books.in_doubt) == (RunState.INTERRUPTED, 0), "what was in flight was waited for"
    assert 0 < stopped.books.owed < stopped.books.changes == len(second ^ third)
    settings(deployment.folder)
    assert deployment.wait_for(deployment.trigger()) == "success"
    told = [one["userId"] for one in deployment.messages(after=before)]
    assert sorted(told) == sorted(second ^ third), "nobody is told twice"
    shows = deployment.shown(KEY)
    assert {name for name in second | third if shows[name]} == third


@pytest.mark.skipif(not IS_CHAOS, reason="takes two minutes; make chaos runs it")
def test_buttons_of_airflow_pressed_over_rest_lose_nothing_and_repeat_nothing(deployment: Deployment) -> None:
    """*Mark success* while a task delivers, *Pause*, two runs at once, and *Clear* of an old run's delivery."""
    bought = shop.purchases()
    first, second, third = (set(shop.members_on(bought, day)) for day in (THIRD, FOURTH, FIFTH))
    if not deployment.runs():
        deployment.put_snapshots(str(THIRD))
        assert deployment.wait_for(deployment.unpause()) == "success"
    sent = deployment.count_messages()

    deployment.put_snapshots(str(FOURTH))
    settings(deployment.folder, SLOWEST)
    marked = deployment.trigger()
    mark_a_delivery_half_way(deployment, marked, sent, "success")
    assert deployment.wait_for(marked) == "success"
    told_once(deployment, sent, first, second)  # the run's other deliveries took over what was left

    settings(deployment.folder)
    deployment.put_snapshots(str(FIFTH))
    deployment.pause(is_paused=True)
    sent = deployment.count_messages()
    both = [deployment.trigger(), deployment.trigger()]
    assert {deployment.state_of(run_id) for run_id in both} == {"queued"}
    deployment.pause(is_paused=False)
    assert [deployment.wait_for(run_id) for run_id in both] == ["success", "success"]
    told_once(deployment, sent, second, third)

    sent = deployment.count_messages()
    deployment.clear(marked, [name for name in deployment.tasks(marked) if name.startswith("deliver")])
    deployment.wait_for(marked)
    assert deployment.count_messages() == sent, "a delivery that is cleared has nothing left to send"


def told_once(deployment: Deployment, sent: int, before: set[str], after: set[str]) -> None:
    told = [one["userId"] for one in deployment.messages(after=sent)]
    assert sorted(told) == sorted(before ^ after), "nobody is left out or told twice"
    shows = deployment.shown(KEY)
    assert {name for name in before | after if shows[name]} == after


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


def wait_until_through(deployment: Deployment, messages: int) -> None:
    """Return when Windsor has so many messages."""
    wait_until(lambda: deployment.count_messages() > messages, f"{messages:,} messages are through")


def mark_a_delivery_half_way(deployment: Deployment, run_id: str, before: int, state: str) -> None:
    """Mark a task that delivers as failed or success, as a person does in Airflow's page: its worker ends it in order."""
    wait_until_through(deployment, before + ON_ITS_WAY)
    exits = deployment.tasks(run_id)[EXITS]
    assert exits["state"] == "running"
    task = f"dags/{DAG}/dagRuns/{run_id}/taskInstances/{exits['task_id']}/0"
    deployment.api("PATCH", task, json={"new_state": state})


def kill_one_half_way(deployment: Deployment, run_id: str, before: int) -> tuple[str, set[str]]:
    """Kill a worker that delivers well after `before` messages; returns its name and the deliveries it had."""
    wait_until_through(deployment, before + 2_000)
    wait_until(
        lambda: all(deployment.workers_of(run_id)[name] & SHARDS for name in WORKERS),
        "both workers have begun to deliver",
    )
    victim = WORKERS[1]
    running = {name for name, task in deployment.tasks(run_id).items() if task["state"] == "running"}
    deployment.running[victim].kill()
    killed = deployment.workers_of(run_id)[victim] & SHARDS & running
    assert killed
    return victim, killed
