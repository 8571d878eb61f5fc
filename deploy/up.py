"""`make up`: an Airflow with its page on SQLite, a Windsor and the demo's shop, until Ctrl-C. No container.

Two runs are made: the first tells Windsor everything; in the second more than half of an audience has left, so
that its exits wait for a person.
"""

import argparse
import csv
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path

import httpx

from deploy.health import is_healthy
from deploy.local import Program, environment, free_port, run
from windsor_sync.demo import shop
from windsor_sync.demo.shop_events import ARCHIVE, write_archive
from windsor_sync.errors import ConfigError, WindsorSyncError
from windsor_sync.private import make_folder, owner_only

DAG_ID = "engage_audience_sync"
MARKER = "made-by-make-up"
SHRINKING = "Newsletter Readers"
BEFORE, AFTER = 2_000, 900
"""members of it on the first day and on the second"""
WINDSOR_PORT = 8474
START_S = 300.0
RUN_S = 300.0
PARTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")

CONFIGURATION = """\
space: spa_demo
state: sqlite:///state.db
files: files
destination: {{url: "{windsor}", name: demo, requests_per_second: 2000}}
defaults: {{identify_by: anonymous_id}}
audiences:
  - {{name: {audience}, id: aud_demo, snapshot: {{path: "snapshots/order_completed/*.csv", taken_at: "%Y-%m-%d"}}}}
  - {{name: {shrinking}, id: aud_news, snapshot: {{path: "snapshots/newsletter/*.csv", taken_at: "%Y-%m-%d"}}}}
computed_traits:
  - {{name: {trait}, id: tra_demo, snapshot: {{path: "snapshots/total_revenue/*.csv", taken_at: "%Y-%m-%d"}}}}
events: {{archive: {archive}}}
"""

EVERYTHING_IS_THERE = """\
Airflow   {airflow}                                      no sign-in: it answers this machine only
          {airflow}/dags/engage_audience_backfill        a backfill by its form: the blue button
          {airflow}/required_actions                     {shrinking}: {gone:,} exits wait for you
          {airflow}/plugin/windsor                       the Audiences page
Windsor   {windsor}users
Ctrl-C ends it."""


def main(folder: Path) -> int:
    """Start everything, play two days, and stay."""
    folder = folder.resolve()
    for sign in (signal.SIGINT, signal.SIGTERM):  # also where a script started us with SIGINT ignored
        signal.signal(sign, _interrupt)
    with owner_only(), ExitStack() as running:
        try:
            _play(folder, running)
            signal.pause()
        except KeyboardInterrupt:
            print("Ending …", flush=True)
        except WindsorSyncError as error:
            print(error, file=sys.stderr)
            return error.exit_status
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _play(folder: Path, running: ExitStack) -> None:
    _make_anew(folder)
    ports = [free_port(wanted) for wanted in (8080, 8793, 8794)]
    airflow = f"http://127.0.0.1:{ports[0]}"
    env = environment(folder, ports)
    _say(f"Starting Windsor and Airflow; what they say is in {folder}")
    windsor = _start_windsor(folder, env, running)
    _write_settings(folder, windsor)
    _write_day(folder, shop.FIRST_DAY, BEFORE)
    run("airflow", ["db", "migrate"], folder, env)
    run("windsor-sync", ["airflow-setup"], folder, env)
    server = running.enter_context(Program("airflow", ["standalone"], folder, env))
    health = f"{airflow}/api/v2/monitor/health"
    _wait_until(lambda: all(is_healthy(health, part) for part in PARTS), START_S, server)
    with httpx.Client(base_url=airflow, timeout=30) as http:
        http.headers["Authorization"] = f"Bearer {http.get('/auth/token').json()['access_token']}"
        _say(f"{shop.FIRST_DAY}: everybody is told")
        _wait_until(lambda: _has_run(http), RUN_S, server)
        _write_day(folder, shop.FIRST_DAY + timedelta(days=1), AFTER)
        _say(f"{shop.FIRST_DAY + timedelta(days=1)}: what changed is told")
        http.post(f"/api/v2/dags/{DAG_ID}/dagRuns", json={"logical_date": None}).raise_for_status()
        _wait_until(lambda: _is_asking(http), RUN_S, server)
    _say(EVERYTHING_IS_THERE.format(airflow=airflow, windsor=windsor, shrinking=SHRINKING, gone=BEFORE - AFTER))


def _start_windsor(folder: Path, env: dict[str, str], running: ExitStack) -> str:
    """Start it on its usual port, or on another one when that is taken; returns its address."""
    port_file = folder / "windsor.port"
    options = ["--state", "windsor.db", "--port", str(WINDSOR_PORT), "--or-another-port", "--port-file", str(port_file)]
    program = running.enter_context(Program("windsor", ["-m", "windsor_sync.sandbox", *options], folder, env))
    deadline = time.monotonic() + START_S
    while not program.has_ended and time.monotonic() < deadline:
        if port_file.exists():
            return f"http://127.0.0.1:{port_file.read_text()}/"
        time.sleep(0.1)
    raise WindsorSyncError(f"Windsor did not start; everything is ended. {program.log} says why.")


def _make_anew(folder: Path) -> None:
    """Empty the folder, but only one that was made here."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise ConfigError(
                f"{folder} was not made by make up and was left alone; nothing was started. Move it away."
            )
        shutil.rmtree(folder)
    make_folder(folder)
    (folder / MARKER).touch()


def _write_settings(folder: Path, windsor: str) -> None:
    text = CONFIGURATION.format(
        windsor=windsor, audience=shop.AUDIENCE, shrinking=SHRINKING, trait=shop.TRAIT, archive=ARCHIVE
    )
    (folder / "windsor.yaml").write_text(text, encoding="utf-8")


def _write_day(folder: Path, day: date, readers: int) -> None:
    """What Segment would offer on that day: three snapshots, and the archive's files."""
    bought = shop.purchases()
    shop.write_snapshots(bought, day, folder / "snapshots")
    path = folder / "snapshots" / "newsletter" / f"{day}.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("user_id", "email"))
        customers = sorted(bought["customer_id"].unique())[:readers]
        writer.writerows((customer, shop.email_of(customer)) for customer in customers)
    write_archive(bought, day, folder)


def _has_run(http: httpx.Client) -> bool:
    """Whether the first run is over; raises WindsorSyncError when it ended badly."""
    states = {run["state"] for run in http.get(f"/api/v2/dags/{DAG_ID}/dagRuns").json()["dag_runs"]}
    if "failed" in states:
        raise WindsorSyncError(
            f"The first run of {DAG_ID} failed; everything is ended. Its tasks' logs are in airflow/logs."
        )
    return "success" in states


def _is_asking(http: httpx.Client) -> bool:
    """Whether a task of any audience waits for a person."""
    path = f"/api/v2/dags/{DAG_ID}/dagRuns/~/taskInstances"
    return bool(http.get(path, params={"state": "awaiting_input"}).json().get("total_entries"))


def _wait_until(is_so: Callable[[], bool], time_out_s: float, server: Program) -> None:
    deadline = time.monotonic() + time_out_s
    while not is_so():
        if server.has_ended or time.monotonic() > deadline:
            raise WindsorSyncError(f"Airflow did not come that far; everything is ended. {server.log} says why.")
        time.sleep(0.5)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m deploy.up", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(".up"), help="for all files (default: .up)")
    sys.exit(main(parser.parse_args().folder))
