"""`windsor-sync demo`: several days of a real shop, synced and forwarded by the Airflow DAG into a Windsor on this machine."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windsor_sync.airflow.dag_files import dags_folder
from windsor_sync.demo import shop
from windsor_sync.demo.checks import Windsor, check_events, check_steps, check_users
from windsor_sync.demo.shop_events import ARCHIVE, ShopTally, write_archive
from windsor_sync.errors import ConfigError, WindsorSyncError
from windsor_sync.private import make_folder
from windsor_sync.sandbox.running import DEFAULT_PORT

if TYPE_CHECKING:
    from windsor_sync.domain.run import ForwardingRun, Run

DAG_ID = "engage_audience_sync"
API_KEY = "sandbox"
MARKER = "made-by-windsor-sync-demo"
START_S = 30.0

COUNTS = ("members", "entered", "exited", "updated", "moved", "delivered", "owed")
STEPS = {
    "received": "events",
    "failed_on_ingest": "failed on ingest",
    "filtered_at_destination": "filtered",
    "duplicates": "duplicates",
    "delivered": "delivered",
    "awaiting_retry": "owed",
}
"""Step of Segment's Delivery Overview → column."""

Say = Callable[[str], None]

CONFIGURATION = """\
space: spa_demo
state: sqlite:///state.db
files: files
destination:
  url: {url}
  name: demo
  requests_per_second: 5000
defaults:
  max_age: null # its days are of 1997
  identify_by: anonymous_id # who has no account yet is known by this id
audiences:
  - name: {audience}
    id: aud_demo
    snapshot: {{path: "snapshots/order_completed/*.csv", taken_at: "%Y-%m-%d"}}
computed_traits:
  - name: {trait}
    id: tra_demo
    snapshot: {{path: "snapshots/total_revenue/*.csv", taken_at: "%Y-%m-%d"}}
events:
  archive: {archive}
"""


def play(folder: Path, days: int, *, stays: bool, say: Say) -> None:
    """Play `days` days and check that Windsor shows the last one; raises WindsorSyncError when it does not."""
    began = time.monotonic()
    folder = folder.resolve()
    _make_anew(folder)
    bought = shop.purchases()
    with _windsor(folder) as windsor:
        (folder / "windsor.yaml").write_text(
            CONFIGURATION.format(url=windsor.url, audience=shop.AUDIENCE, trait=shop.TRAIT, archive=ARCHIVE),
            encoding="utf-8",
        )
        _point_airflow_at(folder)
        say(f"Windsor sandbox on {windsor.url}; starting Airflow on SQLite (its log: {_shown(folder / 'airflow.log')})")
        with _airflow(folder) as run_dag:
            played = [shop.FIRST_DAY + timedelta(days=number) for number in range(days)]
            archived = ShopTally()
            for day in played:
                shop.write_snapshots(bought, day, folder / "snapshots")
                archived += write_archive(bought, day, folder)
                state, took_s = run_dag()
                say(f"{day}  {DAG_ID}: {state} in {took_s:.0f} s")
        synced, forwarded = _runs(folder)
        _print_tables(synced, forwarded)
        say(check_users(windsor, bought, played[-1]))
        check_steps(forwarded, archived)
        say(check_events(windsor, bought, played, archived))
        say(f"Took {time.monotonic() - began:.0f} s.")
        _leave(windsor, folder, stays=stays, say=say)


def _make_anew(folder: Path) -> None:
    """Empty the demo's folder, but only one that the demo made."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise ConfigError(f"{folder} is not a folder of the demo and was left alone. Name another with --folder.")
        shutil.rmtree(folder)
    make_folder(folder)
    (folder / MARKER).touch()


@contextmanager
def _windsor(folder: Path) -> Iterator[Windsor]:
    """The sandbox on its usual port, or a free one when that is taken."""
    port_file = folder / "windsor.port"
    command = [sys.executable, "-m", "windsor_sync.sandbox", "--state", str(folder / "windsor.db")]
    command += ["--api-key", API_KEY, "--port-file", str(port_file), "--or-another-port"]
    with (folder / "windsor.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=_without_keys())  # noqa: S603
    try:
        if not _is_up(process, port_file):
            raise WindsorSyncError(f"The sandbox did not start; {_shown(folder / 'windsor.log')} says why.")
        yield Windsor(f"http://127.0.0.1:{port_file.read_text()}/", process)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)


def _without_keys() -> dict[str, str]:
    """The environment without anything of another Airflow's, or of the real Windsor and Segment."""
    theirs = ("AIRFLOW", "WINDSOR_", "SEGMENT_")
    return {name: value for name, value in os.environ.items() if not name.startswith(theirs)}


def _is_up(process: "subprocess.Popen[bytes]", port_file: Path) -> bool:
    """Wait until the sandbox listens; False when it ended instead, or takes too long."""
    deadline = time.monotonic() + START_S
    while not port_file.exists():
        if process.poll() is not None:
            return False
        if time.monotonic() > deadline:
            process.kill()
            return False
        time.sleep(0.05)
    return True


def _point_airflow_at(folder: Path) -> None:
    """The environment of an Airflow of its own; set before the first import of Airflow."""
    for name in os.environ.keys() - _without_keys():
        del os.environ[name]
    os.environ |= {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder()),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
        "AIRFLOW_CONN_WINDSOR_DEFAULT": json.dumps({"conn_type": "http", "password": API_KEY}),
        "WINDSOR_SYNC_CONFIG": str(folder / "windsor.yaml"),
    }


@contextmanager
def _airflow(folder: Path) -> Iterator[Callable[[], tuple[str, float]]]:
    """One Airflow for all days: a function that runs the DAG once and returns its state and seconds."""
    with (folder / "airflow.log").open("w", encoding="utf-8", buffering=1) as log:
        with redirect_stdout(log), redirect_stderr(log):
            dag = _load_dag()

        def run() -> tuple[str, float]:
            began = time.monotonic()
            with redirect_stdout(log), redirect_stderr(log):
                state = str(dag.test().state)
            if state != "success":
                raise WindsorSyncError(f"{DAG_ID} ended in {state}; {_shown(folder / 'airflow.log')} says why.")
            return state, time.monotonic() - began

        yield run


def _load_dag() -> Any:
    """Airflow with a fresh database, and the project's DAG."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.utils import db

    db.initdb()
    bag = DagBag(str(dags_folder()))
    if bag.import_errors:
        raise WindsorSyncError(f"The DAG files cannot be imported: {', '.join(bag.import_errors)}")
    return bag.dags[DAG_ID]


def _runs(folder: Path) -> "tuple[list[Run], list[ForwardingRun]]":
    """The syncs by day and audience, and the forwardings, a day each."""
    from windsor_sync.domain.run import ForwardingRun
    from windsor_sync.settings import load
    from windsor_sync.state.runs import recent
    from windsor_sync.usecases.workspace import open_workspace

    with open_workspace(load(folder / "windsor.yaml")) as workspace:
        found = recent(workspace.database, limit=1_000)
    synced = sorted(
        (run for run in found if not isinstance(run, ForwardingRun)), key=lambda run: (run.taken_at, run.audience)
    )
    return synced, sorted((run for run in found if isinstance(run, ForwardingRun)), key=lambda run: run.number)


def _print_tables(synced: "list[Run]", forwarded: "list[ForwardingRun]") -> None:
    from windsor_sync.events.books import overview
    from windsor_sync.report.terminal import print_table

    print_table(
        ("day", "audience or trait", *COUNTS),
        [(f"{run.taken_at:%Y-%m-%d}", run.audience, *(run.books.counts()[name] for name in COUNTS)) for run in synced],
        numbers=frozenset(COUNTS),
    )
    print_table(
        ("day", *STEPS.values()),
        [
            (f"{shop.FIRST_DAY + timedelta(days=number)}", *(overview(run)[step] for step in STEPS))
            for number, run in enumerate(forwarded)
        ],
        numbers=frozenset(STEPS.values()),
    )


def _leave(windsor: Windsor, folder: Path, *, stays: bool, say: Say) -> None:
    """Keep the sandbox up for a person at a terminal, or say how to see it again."""
    if not stays:
        say(
            f"Look: windsor-sync sandbox --state {_shown(folder / 'windsor.db')}  →  http://127.0.0.1:{DEFAULT_PORT}/users"
        )
        return
    say(f"Look: {windsor.url}users   (Ctrl-C ends it)")
    with suppress(KeyboardInterrupt):
        windsor.process.wait()


def _shown(path: Path) -> str:
    """The path as a person would type it."""
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
