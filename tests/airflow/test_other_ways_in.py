"""A backfill that starts on the command line, and an answer that comes over REST, get what the page gets and no more."""

import json
import time
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import httpx
import pytest
from airflow.sdk.exceptions import ParamValidationError
from sqlalchemy import select

from tests.support.api_server import api_server, signed_in
from tests.support.person import Person
from tests.support.world import KEY, World
from windsor_sync.airflow.retries import HAS_POLICIES
from windsor_sync.state.runs import recent
from windsor_sync.state.tables import approvals

BACKFILLS = "/api/v2/dags/engage_audience_backfill/dagRuns"
SYNCS = "/api/v2/dags/engage_audience_sync/dagRuns"
USERS = [f"user-{number:03}" for number in range(200)]
STAYED = [*USERS[:50], "newcomer"]
EXITS = 150

OF_THE_RUN = {"run_number", "messages_sha256", "seconds"}
"""In a plan; the messageIds of two runs differ."""

Conf = dict[str, Any]


@pytest.fixture
def airflow(
    configured: World, load_dags: Callable[[], dict[str, Any]], register_dag: Callable[[Any], None]
) -> Iterator[str]:
    """Airflow's api-server, which knows the DAGs of a company with one audience; yields the address."""
    configured.document["computed_traits"] = []
    configured.snapshot(USERS)
    configured.sync()
    dags = load_dags()
    for dag_id in ("engage_audience_backfill", "engage_audience_sync"):
        register_dag(dags[dag_id])
    with api_server() as url:
        yield url


@pytest.fixture
def run_dag(load_dags: Callable[[], dict[str, Any]]) -> Callable[..., Any]:
    """Run a DAG to its end."""

    def run(dag_id: str, **more: Any) -> Any:
        dag = load_dags()[dag_id]
        for task in dag.tasks:
            task.retries = 0
        return dag.test(**more)

    return run


def over_rest(client: httpx.Client, conf: Conf) -> None:
    """As another system starts it."""
    started = client.post(BACKFILLS, json={"logical_date": None, "conf": conf})
    assert started.status_code == 200, started.text


def by_command(_: httpx.Client, conf: Conf) -> None:
    """`airflow dags trigger engage_audience_backfill --conf '{…}'`, without a new process."""
    from airflow.cli.cli_parser import get_parser

    command = ["dags", "trigger", "engage_audience_backfill", "--conf", json.dumps(conf), "--output", "json"]
    arguments = get_parser().parse_args(command)
    arguments.func(arguments)


def test_a_backfill_from_the_command_line_has_the_plan_and_the_books_of_one_over_rest(
    airflow: str, configured: World, run_dag: Callable[..., Any], answer: Person
) -> None:
    conf = {"audiences": [KEY], "mode": "resync", "only": "entered", "limit": 7, "reason": "restored"}
    answer(note="the same both ways")
    stored, plans, books = [], [], []
    with signed_in(airflow, "ana") as client:
        for start in (over_rest, by_command):
            start(client, conf)
            newest = client.get(BACKFILLS, params={"order_by": "-id", "limit": 1}).json()["dag_runs"][0]
            assert newest["state"] == "queued"
            stored.append(newest["conf"])
            dag_run = run_dag("engage_audience_backfill", run_conf=newest["conf"])
            assert str(dag_run.state) == "success"
            (plan,) = dag_run.get_task_instance("plan").xcom_pull(task_ids="plan")
            plans.append({name: plan[name] for name in plan.keys() - OF_THE_RUN})
            books.append(recent(configured.workspace.database)[0].books)
    assert stored[0] == stored[1]
    assert plans[0] == plans[1]
    assert (plans[0]["to_send"], books[0].delivered) == (7, 7)
    assert books[0] == books[1]
    assert answer.asked[0].body == answer.asked[1].body


def test_the_command_line_refuses_what_the_form_refuses(airflow: str) -> None:
    with signed_in(airflow, "ana") as client:
        before = client.get(BACKFILLS).json()["total_entries"]
        for wrong in ({"audiences": ["nope"]}, {"audiences": [KEY], "limit": "3"}, {}):
            with pytest.raises((ParamValidationError, ValueError)):
                by_command(client, wrong)
        assert client.get(BACKFILLS).json()["total_entries"] == before


class Answers(Thread):
    """People who answer the approval form over REST, one after the other, as soon as it is there."""

    def __init__(self, url: str, *said: tuple[str, Conf], waits: bool = False) -> None:
        super().__init__()
        self.waits = waits
        """whether each waits until the question is open again"""
        self.url = url
        self.said = said
        self.got: list[httpx.Response] = []
        self.form = ""
        with signed_in(url, "watcher") as client:
            self.others = open_forms(client)

    def run(self) -> None:
        """Wait for the question, then answer it as often as told; each time it is somebody else."""
        with signed_in(self.url, "watcher") as client:
            self.form = wait_for_form(client, self.others)
        for place, (who, payload) in enumerate(self.said):
            with signed_in(self.url, who) as client:
                if self.waits and place:
                    self.form = wait_for_form(client, self.others)
                self.got.append(client.patch(self.form, json=payload))


def open_forms(client: httpx.Client) -> set[str]:
    """Where the questions are answered that nobody has answered; other tests leave some.

    The task has to be parked: SQLite locks no rows, so Airflow can miss an answer that comes while it parks the task.
    """
    asked = client.get("/api/v2/dags/~/dagRuns/~/hitlDetails", params={"response_received": False, "limit": 1000})
    tasks = [detail["task_instance"] for detail in asked.json()["hitl_details"]]
    return {
        f"{SYNCS}/{task['dag_run_id']}/taskInstances/{task['task_id']}/{task['map_index']}/hitlDetails"
        for task in tasks
        if task["state"] == "awaiting_input"
    }


def wait_for_form(client: httpx.Client, others: set[str]) -> str:
    """Where the question of the sync is answered that a test has started, once it is asked."""
    for _ in range(600):
        if found := open_forms(client) - others:
            return found.pop()
        time.sleep(0.1)
    raise AssertionError("nobody was asked")


needs_waiting = pytest.mark.skipif(not HAS_POLICIES, reason="before Airflow 3.3 dag.test waits for no answer")

REFUSE: Conf = {"chosen_options": ["Refuse"], "params_input": {}}
TOO_FEW: Conf = {"chosen_options": ["Approve"], "params_input": {"max_exited": EXITS - 1}}
ALL: Conf = {"chosen_options": ["Approve"], "params_input": {"max_exited": EXITS}}


@needs_waiting
def test_the_form_refuses_who_is_not_an_approver(airflow: str, configured: World, run_dag: Callable[..., Any]) -> None:
    configured.document["approval"] = {"approvers": ["ana"]}
    configured.snapshot(STAYED)
    answers = Answers(airflow, ("ben", ALL), ("ana", ALL))
    answers.start()
    run_dag("engage_audience_sync")
    answers.join()
    assert [each.status_code for each in answers.got] == [403, 200]
    assert configured.members_shown() == set(STAYED)


@needs_waiting
def test_a_number_that_is_too_low_is_asked_again_within_the_same_run(
    airflow: str, configured: World, run_dag: Callable[..., Any]
) -> None:
    configured.snapshot(STAYED)
    answers = Answers(airflow, ("ana", TOO_FEW), ("ben", ALL), waits=True)
    answers.start()
    dag_run = run_dag("engage_audience_sync")
    answers.join()
    assert [each.status_code for each in answers.got] == [200, 200]
    assert str(dag_run.state) == "success"
    assert configured.members_shown() == set(STAYED)
    with configured.workspace.database.read() as connection:
        found = connection.execute(select(approvals.c.who, approvals.c.max_exited)).all()
    assert found == [("ben in Airflow", EXITS)]


@needs_waiting
@pytest.mark.parametrize(("first", "ceiling"), [(REFUSE, None), (ALL, EXITS)], ids=["refused", "approved"])
def test_a_second_answer_to_the_same_question_is_refused_and_changes_nothing(
    airflow: str, configured: World, run_dag: Callable[..., Any], first: Conf, ceiling: int | None
) -> None:
    configured.snapshot(STAYED)
    answers = Answers(airflow, ("ana", first), ("ben", REFUSE if ceiling else ALL))
    answers.start()
    run_dag("engage_audience_sync")
    answers.join()
    assert [each.status_code for each in answers.got] == [200, 409]
    with signed_in(airflow, "ben") as client:
        assert client.patch(answers.form, json=ALL).status_code == 409, "not after it was acted upon either"
        kept = client.get(answers.form).json()
    assert (kept["responded_by_user"]["name"], kept["chosen_options"]) == ("ana", first["chosen_options"])
    with configured.workspace.database.read() as connection:
        found = connection.execute(select(approvals.c.who, approvals.c.max_exited)).all()
    assert found == ([("ana in Airflow", ceiling)] if ceiling else [])
    assert configured.members_shown() == (set(STAYED) if ceiling else {*USERS, "newcomer"})
