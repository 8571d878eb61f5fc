"""All of docker-compose.yml at once, without containers, and short ways to ask it things."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.deployment.compose import ROOT, Service, services
from tests.deployment.processes import Running, clean_environment, end, free_ports, wait_until
from tests.support.postgres import installed_programs, unprivileged
from tests.support.programs import needs
from windsor_sync.state.database import Database, open_database

AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer")
WORKERS = ("worker-1", "worker-2")
PORTS = [5432, 6379, 8080, 8474, 8793, 8794, 8974, 9000]
DAG = "engage_audience_sync"
PAGE_ROWS = 10_000


def make_roles_and_databases(host: Path, user: str, port: str, environment: dict[str, str]) -> None:
    """Run the SQL of PostgreSQL's volume as its image does."""
    psql = [str(installed_programs() / "psql"), f"--host={host}", f"--port={port}", f"--username={user}", "--no-psqlrc"]
    file = str(ROOT / "deploy/databases.sql")
    subprocess.run(
        [*psql, "--quiet", "--dbname=postgres", f"--file={file}"], check=True, env=dict(os.environ) | environment
    )


class Deployment:
    """The services that run, by their names in the file."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.env = env
        ports = free_ports(PORTS)
        self.services = services(folder, env, ports)
        self.running: dict[str, Running] = {}
        self.airflow_url = f"http://127.0.0.1:{ports[8080]}"
        self.windsor_url = f"http://127.0.0.1:{ports[8474]}"
        self.store_port = ports[9000]
        self._opened = ExitStack()
        self._http = self._opened.enter_context(httpx.Client(timeout=30))

    # -- starting and ending ---------------------------------------------------------------------------------

    def start(self) -> None:
        """In the order that `depends_on` gives; returns when everything is healthy."""
        needs("redis-server", "redis-server")
        for name in ("data", "windsor", "redis"):
            (self.folder / "volumes" / name).mkdir(parents=True)
        self._start_postgres()
        self._start("redis", cwd=self.folder / "volumes/redis")
        self._start_store()
        self._start("windsor")
        for name in ("postgres", "redis", "windsor"):
            wait_until(partial(self.is_healthy, name), f"{name} is healthy")
        self.run_once("prepare")
        for name in (*AIRFLOW, *WORKERS):
            self._start(name)
        for name in AIRFLOW:
            wait_until(partial(self.is_healthy, name), f"{name} is healthy")
        for name in WORKERS:
            wait_until(partial(self._says_ready, name), f"{name} is ready")
        self._sign_in()

    def stop(self) -> None:
        """Everything that uses PostgreSQL, then PostgreSQL."""
        last = self.running.pop("postgres", None)
        end(list(self.running.values()), signal.SIGTERM)
        end([last] if last else [], signal.SIGINT)  # at once, and without leaving shared memory behind
        self._opened.close()

    def _says_ready(self, worker: str) -> bool:
        return f"{worker}@pod ready" in self.running[worker].said()

    def is_healthy(self, name: str) -> bool:
        """What the service's health check says."""
        check = self.services[name].health
        assert check is not None
        return self._run(self.services[name], check).returncode == 0

    def run_once(self, name: str, *arguments: str) -> None:
        """A service that ends by itself."""
        service = self.services[name]
        done = self._run(service, " ".join([service.command, *arguments]))
        assert done.returncode == 0, done.stdout.decode()

    def _run(self, service: Service, command: str) -> subprocess.CompletedProcess[bytes]:
        environment = self._environment(service)
        return subprocess.run(
            ["sh", "-c", command],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=180,
        )

    def _start(self, name: str, cwd: Path = ROOT) -> None:
        self._launch(name, shlex.split(self.services[name].command), cwd)

    def _launch(self, name: str, command: list[str], cwd: Path, **who: Any) -> None:
        log = self.folder / f"{name}.log"
        self.running[name] = Running(name, command, self._environment(self.services[name]), cwd, log, **who)

    def _environment(self, service: Service) -> dict[str, str]:
        home = self.folder / "homes" / service.name
        home.mkdir(parents=True, exist_ok=True)
        return clean_environment(service.environment, home, installed_programs())

    def _start_postgres(self) -> None:
        """What the image does before its command: files, a user with a password, a database, the SQL of its volume."""
        service, programs = self.services["postgres"], installed_programs()
        place = Path(self._opened.enter_context(tempfile.TemporaryDirectory(prefix="windsor-pg-")))
        who = unprivileged(place)
        password = place / "password"
        password.write_text(service.environment["POSTGRES_PASSWORD"])
        if who:
            os.chown(password, who["user"], who["group"])
        user, data = service.environment["POSTGRES_USER"], place / "data"
        first = [str(programs / "initdb"), f"--pgdata={data}", f"--username={user}", f"--pwfile={password}"]
        subprocess.run(
            [*first, "--auth-host=scram-sha-256", "--auth-local=trust", "--no-sync"],
            check=True,
            cwd=place,
            stdout=subprocess.DEVNULL,
            **who,
        )
        _, *options = shlex.split(service.command)
        own = ["-D", str(data), "-k", str(place), "-c", "fsync=off"]
        self._launch("postgres", [str(programs / "postgres"), *options, *own], place, **who)
        self._make_databases(service, place, user, str(next(one for one in options if one.startswith("port="))[5:]))

    def _make_databases(self, service: Service, place: Path, user: str, port: str) -> None:
        import psycopg

        def answers() -> bool:
            try:
                psycopg.connect(host=str(place), port=port, user=user, dbname="postgres").close()
            except psycopg.OperationalError:
                return False
            return True

        wait_until(answers, "PostgreSQL answers")
        assert service.environment["POSTGRES_DB"] == "postgres"
        make_roles_and_databases(place, user, port, service.environment)

    def _start_store(self) -> None:
        """The one service that is another program here: an S3 server of Python's."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.store_port)]
        self._launch("store", command, self.folder)

        def answers() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{self.store_port}/").status_code < 500
            except httpx.TransportError:
                return False

        wait_until(answers, "the object store answers")

    # -- Airflow ---------------------------------------------------------------------------------------------

    def _sign_in(self) -> None:
        who = {"username": "admin", "password": self.env["ADMIN_PASSWORD"]}
        answer = self._http.post(f"{self.airflow_url}/auth/token", json=who)
        answer.raise_for_status()
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def api(self, method: str, path: str, **more: Any) -> Any:
        """Airflow's REST API."""
        answer = self._http.request(method, f"{self.airflow_url}/api/v2/{path}", **more)
        answer.raise_for_status()
        return answer.json()

    def runs(self) -> list[dict[str, Any]]:
        """The runs of the DAG, where Airflow knows it."""
        if not any(dag["dag_id"] == DAG for dag in self.api("GET", "dags")["dags"]):
            return []
        return list(self.api("GET", f"dags/{DAG}/dagRuns")["dag_runs"])

    def pause(self, *, is_paused: bool) -> None:
        """Press the switch of the DAG."""
        self.api("PATCH", f"dags/{DAG}", json={"is_paused": is_paused})

    def clear(self, run_id: str, names: list[str]) -> None:
        """Clear tasks of a run by their name within the group; returns when the run is under way again."""
        tasks = [self.tasks(run_id)[name]["task_id"] for name in names]
        chosen = {"dag_run_id": run_id, "task_ids": tasks, "dry_run": False, "only_failed": False}
        self.api("POST", f"dags/{DAG}/clearTaskInstances", json=chosen)

    def unpause(self) -> str:
        """Let the DAG run, which it does at once; returns that run's id."""
        wait_until(lambda: any(dag["dag_id"] == DAG for dag in self.api("GET", "dags")["dags"]), "the DAG is there")
        self.pause(is_paused=False)
        wait_until(lambda: self.api("GET", f"dags/{DAG}/dagRuns")["dag_runs"], "the first run")
        return str(self.api("GET", f"dags/{DAG}/dagRuns")["dag_runs"][0]["dag_run_id"])

    def trigger(self) -> str:
        """Run the DAG now; returns the run's id."""
        return str(self.api("POST", f"dags/{DAG}/dagRuns", json={"logical_date": None})["dag_run_id"])

    def state_of(self, run_id: str) -> str:
        """The run's state now."""
        return str(self.api("GET", f"dags/{DAG}/dagRuns/{run_id}")["state"])

    def wait_for(self, run_id: str) -> str:
        """The run's final state."""
        wait_until(lambda: self.state_of(run_id) in ("success", "failed"), "the run's end", 300)
        return self.state_of(run_id)

    def tasks(self, run_id: str) -> dict[str, dict[str, Any]]:
        """The tasks of a run by their name within the group."""
        found = self.api("GET", f"dags/{DAG}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {one["task_id"].rpartition(".")[2]: one for one in found if one["map_index"] <= 0}

    def workers_of(self, run_id: str) -> dict[str, set[str]]:
        """For each worker: the tasks of the run that it has begun."""
        return {
            name: {
                line.partition("task_id='")[2].partition("'")[0].rpartition(".")[2]
                for line in self.running[name].said().splitlines()
                if "Executing workload" in line and run_id in line
            }
            for name in WORKERS
        }

    # -- Windsor and the books -------------------------------------------------------------------------------

    def put_snapshots(self, day: str) -> None:
        """The shop's of a day."""
        self.run_once("shop", day)

    def count_messages(self) -> int:
        """Messages that Windsor accepted."""
        return int(self._http.get(f"{self.windsor_url}/api/messages?limit=0").json()["total"])

    def messages(self, after: int = 0) -> list[dict[str, Any]]:
        """What Windsor accepted, in order of arrival, repeats included."""
        found: list[dict[str, Any]] = []
        while True:
            query = f"offset={after + len(found)}&limit={PAGE_ROWS}"
            page = self._http.get(f"{self.windsor_url}/api/messages?{query}").json()
            found += page["messages"]
            if after + len(found) >= page["total"]:
                return found

    def shown(self, key: str) -> dict[str, Any]:
        """A property in Windsor, by user."""
        found: dict[str, Any] = {}
        offset = 0
        while True:
            page = self._http.get(f"{self.windsor_url}/api/users?offset={offset}&limit={PAGE_ROWS}").json()
            found |= {one["id"]: one["properties"][key] for one in page["users"] if key in one["properties"]}
            offset += len(page["users"])
            if offset >= page["total"]:
                return found

    @contextmanager
    def state(self) -> Iterator[Database]:
        """What the workers share."""
        with ExitStack() as opened:
            database = open_database(self.services["worker-1"].environment["WINDSOR_SYNC_STATE"])
            opened.callback(database.close)
            yield database


def repeats(messages: list[dict[str, Any]]) -> int:
    """How many messages came again."""
    return sum(count - 1 for count in Counter(one["messageId"] for one in messages).values())
