"""A backfill by hand: the form is checked, the plan is shown, a person approves, and the books are the same."""

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError

from tests.support.person import Person
from tests.support.world import KEY, TRAIT_KEY, World
from windsor_sync.airflow.backfill import ApproveBackfillOperator
from windsor_sync.airflow.plan_text import as_markdown
from windsor_sync.domain.run import RunState
from windsor_sync.sandbox import Faults
from windsor_sync.state.runs import recent
from windsor_sync.state.tables import audit_trail
from windsor_sync.usecases import backfill as backfills

Run = Callable[..., Any]
USERS = [f"user-{number:02}" for number in range(40)]
DELIVER = "backfill_audience.deliver"

INVALID = (ParamValidationError, ValueError)
"""What Airflow raises for a form that does not fit; before 3.3 a ValueError."""


@pytest.fixture
def synced(configured: World) -> World:
    """Windsor has been told an audience of forty, and a computed trait."""
    configured.snapshot(USERS)
    configured.values({"ana": 1})
    configured.sync()
    configured.sync(TRAIT_KEY)
    return configured


@pytest.fixture
def backfill(load_dags: Callable[[], dict[str, Any]]) -> Run:
    """Start the DAG with what a person fills in."""

    def run(**form: Any) -> Any:
        dag = load_dags()["engage_audience_backfill"]
        for task in dag.tasks:
            task.retries = 0
        return dag.test(run_conf={"audiences": [KEY], **form})

    return run


def states(dag_run: Any) -> dict[str, str]:
    return {one.task_id: str(one.state) for one in dag_run.get_task_instances()}


def test_a_new_airflow_pauses_no_dag_that_only_people_start(load_dags: Callable[[], dict[str, Any]]) -> None:
    dags = load_dags()
    by_hand = {name for name, dag in dags.items() if dag.schedule is None}
    assert by_hand == {"engage_audience_backfill", "engage_sync_now"}
    assert {name for name, dag in dags.items() if dag.is_paused_upon_creation is False} == by_hand


def test_a_resync_shows_its_plan_and_sends_everyone_again_once_approved(
    synced: World, backfill: Run, answer: Person
) -> None:
    answer(note="Windsor was restored")
    before = synced.sent
    dag_run = backfill(mode="resync", reason="restored from a backup")
    assert states(dag_run) == dict.fromkeys(("plan", "approve", DELIVER), "success")
    assert synced.sent - before == 40
    (form,) = answer.asked
    assert form.subject == f"Backfill of {KEY}"
    assert "> restored from a backup" in form.body
    assert f"| {KEY} | 40 messages in about 0 s |" in form.body
    assert " | 0 entered, 0 exited, 40 updated |" in form.body
    assert "user-" not in form.body
    assert "@" not in form.body
    newest = recent(synced.workspace.database)[0]
    newest.books.check(newest.run_id)
    assert (newest.kind, newest.state, newest.books.delivered) == ("backfill", RunState.DONE, 40)
    pushed = dag_run.get_task_instance(DELIVER, map_index=0).xcom_pull(task_ids=DELIVER, map_indexes=0)
    assert (pushed["audience"], pushed["delivered"]) == (KEY, 40)
    assert synced.sync().books.changes == 0


def test_who_approved_what_and_why_is_kept(synced: World, backfill: Run, answer: Person) -> None:
    answer(note="Windsor was restored")
    dag_run = backfill(mode="resync")
    with synced.workspace.database.read() as connection:
        planned, kept = connection.execute(audit_trail.select().order_by(audit_trail.c.id))
    assert (planned.what, planned.subject) == ("plan backfill", KEY)
    assert (kept.who, kept.what, kept.subject, kept.why) == (
        "Ana in Airflow",
        "permit backfill",
        KEY,
        "Windsor was restored",
    )
    assert kept.details == {"trigger": f"airflow engage_audience_backfill {dag_run.run_id}", "changes": 40}


def test_a_dry_run_shows_the_plan_asks_nobody_and_records_nothing(synced: World, backfill: Run, answer: Person) -> None:
    before, runs = synced.sent, len(recent(synced.workspace.database))
    dag_run = backfill(mode="resync", dry_run=True)
    assert states(dag_run) == {"plan": "success", "approve": "skipped", DELIVER: "skipped"}
    (plan,) = dag_run.get_task_instance("plan").xcom_pull(task_ids="plan")
    assert (plan["messages"], plan["requests"], plan["example"]["userId"]) == (40, 40, "•••")
    assert answer.asked == []
    assert (synced.sent, len(recent(synced.workspace.database))) == (before, runs)


def test_nothing_to_send_asks_nobody(synced: World, backfill: Run, answer: Person) -> None:
    assert states(backfill()) == {"plan": "success", "approve": "skipped", DELIVER: "skipped"}
    assert answer.asked == []


@pytest.mark.parametrize(("who", "state"), [("Ana", "success"), (None, "failed")])
def test_without_approval_nothing_is_sent(
    synced: World, backfill: Run, answer: Person, who: str | None, state: str
) -> None:
    answer("Refuse", who=who)
    before = synced.sent
    found = states(backfill(mode="resync"))
    assert (found["approve"], synced.sent) == (state, before)
    assert found.get(DELIVER) != "success"


def test_airflow_alone_cannot_start_the_sending(synced: World, backfill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ApproveBackfillOperator, "execute", lambda self, context: [KEY])
    before = synced.sent
    found = states(backfill(mode="resync"))
    assert (found["approve"], found[DELIVER], synced.sent) == ("success", "failed", before)


def test_only_and_limit_leave_the_rest_owed_to_the_next_sync(synced: World, backfill: Run, answer: Person) -> None:
    synced.snapshot([*USERS[2:], "new-1", "new-2", "new-3"])
    answer()
    backfill(only="entered", limit=2)
    assert len(synced.members_shown()) == 42
    newest = recent(synced.workspace.database)[0]
    assert (newest.books.delivered, newest.books.owed) == (2, 3)
    synced.sync()
    assert synced.members_shown() == {*USERS[2:], "new-1", "new-2", "new-3"}


def test_as_of_goes_back_to_the_snapshot_of_that_time(synced: World, backfill: Run, answer: Person) -> None:
    synced.snapshot(USERS[:35])
    synced.sync()
    answer()
    assert states(backfill(as_of="2026-01-01T03:00:00Z"))[DELIVER] == "success"
    assert synced.members_shown() == set(USERS)


def test_what_changed_between_plan_and_sending_goes_out_no_further_than_was_approved(
    synced: World, backfill: Run, answer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced.snapshot([*USERS, "new-1", "new-2"])
    permit = backfills.permit

    def meanwhile(*arguments: Any, **more: Any) -> None:
        permit(*arguments, **more)
        synced.snapshot([*USERS, *(f"new-{number}" for number in range(1, 9))])

    monkeypatch.setattr(backfills, "permit", meanwhile)
    answer()
    backfill()
    newest = recent(synced.workspace.database)[0]
    assert (newest.books.entered, newest.books.delivered, newest.books.owed) == (8, 2, 6)


def test_a_second_try_goes_on_with_the_run_that_the_first_one_opened(
    synced: World, load_dags: Callable[[], dict[str, Any]], answer: Person
) -> None:
    answer()
    synced.destination["give_up_after_s"] = 0.3
    synced.windsor.set_faults(Faults(busy_rate=1, retry_after_s=1800))
    dag = load_dags()["engage_audience_backfill"]
    before = synced.sent
    dag.task_dict[DELIVER].retries = 0
    first = dag.test(run_conf={"audiences": [KEY], "mode": "resync"})
    assert states(first)[DELIVER] == "failed"
    synced.windsor.set_faults(Faults())
    opened = recent(synced.workspace.database)[0]
    request = backfills.Wish(is_resync=True).request(synced.computation(), opened.trigger)
    again = backfills.run_backfill(synced.workspace, synced.computation(), request, synced.stop)
    assert (again.run_id, again.state, synced.sent - before) == (opened.run_id, RunState.DONE, 40)


def test_a_cleared_backfill_that_is_approved_once_more_is_sent_once_more(
    synced: World, backfill: Run, answer: Person
) -> None:
    answer()
    backfill(mode="resync")
    before, first = synced.sent, recent(synced.workspace.database)[0]
    # Airflow's "Clear" runs the same DAG run again, so our books know it by the same name.
    request = backfills.Wish(is_resync=True).request(synced.computation(), first.trigger)
    plans = [backfills.plan(synced.workspace, synced.computation(), request)]
    backfills.permit(synced.workspace.database, first.trigger, plans, who="Ana", why=None)
    again = backfills.run_backfill(synced.workspace, synced.computation(), request, synced.stop)
    assert (again.state, again.books.delivered, synced.sent - before) == (RunState.DONE, 40, 40)
    assert backfills.run_backfill(synced.workspace, synced.computation(), request, synced.stop).run_id == again.run_id
    assert synced.sent - before == 40


def test_a_second_backfill_of_an_audience_is_refused_until_the_first_has_ended(
    synced: World, backfill: Run, answer: Person
) -> None:
    found: list[dict[str, str]] = []

    def start_others() -> None:
        answer.meanwhile = lambda: None
        found.extend(
            states(backfill(mode="resync", **form)) for form in ({}, {"dry_run": True}, {"audiences": [TRAIT_KEY]})
        )

    answer()
    answer.meanwhile = start_others
    first = states(backfill(mode="resync"))
    assert (first["plan"], first[DELIVER]) == ("success", "success")
    assert [one["plan"] for one in found] == ["failed", "success", "success"]
    assert states(backfill(mode="resync"))[DELIVER] == "success"


def test_one_audience_that_fails_holds_no_other(synced: World, backfill: Run, answer: Person) -> None:
    answer()
    with synced.workspace.hold(synced.workspace.registry.find(synced.computation()).key, "another run"):
        dag_run = backfill(audiences=[KEY, TRAIT_KEY], mode="resync")
    found = {one.map_index: str(one.state) for one in dag_run.get_task_instances() if one.task_id == DELIVER}
    assert found == {0: "failed", 1: "success"}


@pytest.mark.forms(5)
@pytest.mark.parametrize(
    "form",
    [
        {"audiences": []},
        {"audiences": None},
        {"audiences": ["no_such_audience"]},
        {"audiences": KEY},
        {"mode": "everything"},
        {"only": "members"},
        {"limit": 0},
        {"limit": "12"},
        {"limit": 10**30},
        {"limit": 1.5},
        {"dry_run": "yes"},
    ],
)
def test_a_form_that_makes_no_sense_starts_nothing(synced: World, backfill: Run, form: dict[str, Any]) -> None:
    with pytest.raises(INVALID):
        backfill(**form)


@pytest.mark.parametrize(
    ("form", "is_said"),
    [({"as_of": "yesterday"}, "'yesterday' is not a moment"), ({"limits": 5}, "The form has no limits")],
)
def test_what_airflow_does_not_check_the_plan_does(
    synced: World, backfill: Run, answer: Person, form: dict[str, Any], is_said: str
) -> None:
    from windsor_sync.airflow.backfill import PlanBackfillOperator
    from windsor_sync.errors import ConfigError

    seen: list[str] = []
    execute = PlanBackfillOperator.execute

    def watched(self: Any, context: Any) -> Any:
        try:
            return execute(self, context)
        except (ConfigError, AirflowFailException) as error:  # the latter before Airflow 3.3
            seen.append(str(error))
            raise

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PlanBackfillOperator, "execute", watched)
        before = synced.sent
        try:
            assert states(backfill(mode="resync", **form))["plan"] == "failed"
            assert is_said in seen[0]
        except INVALID:  # where Airflow can check dates
            assert "as_of" in form
    assert (answer.asked, synced.sent) == ([], before)


def test_the_form_offers_every_audience_and_trait_by_its_name(load_dags: Callable[[], dict[str, Any]]) -> None:
    dag = load_dags()["engage_audience_backfill"]
    schema = dag.params.get_param("audiences").schema
    assert schema["items"]["enum"] == schema["examples"] == [KEY, TRAIT_KEY]
    assert schema["values_display"][KEY] == "Order Completed Last 30days"
    only = dag.params.get_param("only").schema
    assert [only["values_display"][str(each or "null")] for each in only["enum"]] == [
        "Both",
        "Entries only",
        "Exits only",
    ]
    assert set(dag.params) == {"audiences", "mode", "only", "limit", "as_of", "reason", "dry_run"}
    assert dag.timetable.can_be_scheduled is False


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5400, "1 h 30 min")])
def test_the_plan_says_how_long_it_takes(seconds: float, shown: str) -> None:
    counts = dict.fromkeys(("members", "entered", "exited", "updated", "withheld", "messages", "requests"), 1000)
    plan: dict[str, Any] = {
        "audience": KEY,
        "taken_at": "2026-01-01T02:30:00+00:00",
        "withheld_because": [],
        "example": None,
    }
    assert f"about {shown} |" in as_markdown([{**plan, **counts, "seconds": seconds}])


def test_a_reason_of_several_lines_cannot_pass_for_a_part_of_the_plan() -> None:
    shown = as_markdown([], "restored\n\n| vip | 2026-01-01 | 3 |")
    assert shown.startswith("> restored\n>\n> `| vip | 2026-01-01 | 3 |`\n\n")


def test_rest_starts_it_with_the_same_form_and_the_same_checks(
    configured: World, load_dags: Callable[[], dict[str, Any]], register_dag: Callable[[Any], None]
) -> None:
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    register_dag(load_dags()["engage_audience_backfill"])
    app = create_app()
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="ana", role="op"))
    with TestClient(app, headers={"Authorization": f"Bearer {token}"}) as client:
        answers = [
            client.post("/api/v2/dags/engage_audience_backfill/dagRuns", json={"logical_date": None, "conf": conf})
            for conf in ({"audiences": ["nope"]}, {"audiences": [KEY], "limit": "3"}, {"audiences": [KEY], "limit": 3})
        ]
    assert [answer.status_code for answer in answers] == [400, 400, 200]
    assert answers[-1].json()["state"] == "queued"
