"""`approval.approvers`: the form is theirs, and what anybody else lets out is refused by delivery itself."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.airflow.test_approval import AFTER, BEFORE, EXITS, states, tripped
from tests.support.person import Person
from tests.support.world import KEY, World
from tests.usecases.test_damaged_files import forget_the_source, overwrite, stored
from tests.usecases.test_state_restored_or_lost import lose
from windsor_sync.domain.guard import Ceiling
from windsor_sync.domain.run import RunState
from windsor_sync.errors import ChangesWithheld, ConfigError, StoredFileError
from windsor_sync.state.approvals import approve
from windsor_sync.state.audit_log import user_of_this_process
from windsor_sync.state.tables import approvals
from windsor_sync.usecases.recover_state import recover_state
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.sync_approved import sync_approved

__all__ = ["tripped"]

Run = Callable[[], Any]

NOT_YET = {*BEFORE, "newcomer"}


@pytest.fixture
def approvers(tripped: World) -> Callable[..., World]:
    """Name who may approve, in the world where changes are withheld."""

    def name(*entries: str) -> World:
        tripped.document["approval"] = {"approvers": list(entries)}
        tripped.reopen()
        return tripped

    return name


def test_who_is_named_is_assigned_in_the_form_and_lets_the_changes_out(
    approvers: Callable[..., World], run_sync: Run, answer: Person
) -> None:
    world = approvers("ben", "ana")
    answer()
    assert states(run_sync())["deliver_approved"] == "success"
    assert answer.asked[0].assigned_users == [{"id": "ben", "name": "ben"}, {"id": "ana", "name": "ana"}]
    assert world.members_shown() == set(AFTER)
    with world.workspace.database.read() as connection:
        assert connection.execute(approvals.select()).one().permitted_as == "ana"


def test_with_nobody_named_the_form_is_everybodys(tripped: World, run_sync: Run, answer: Person) -> None:
    answer()
    run_sync()
    assert answer.asked[0].assigned_users is None
    assert tripped.members_shown() == set(AFTER)


def test_an_answer_of_somebody_else_lets_nothing_out(
    approvers: Callable[..., World], run_sync: Run, answer: Person
) -> None:
    world = approvers("ben")
    answer()
    found = states(run_sync())
    assert (found["approve"], found["deliver_approved"]) == ("failed", "upstream_failed")
    assert world.members_shown() == NOT_YET


def test_a_role_stands_for_its_users(
    approvers: Callable[..., World], run_sync: Run, answer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "vic:viewer,ana:op,ada:admin")
    world = approvers("role:Op")
    answer()
    assert states(run_sync())["deliver_approved"] == "success"
    assert answer.asked[0].assigned_users == [{"id": "ana", "name": "ana"}]
    assert world.members_shown() == set(AFTER)
    run = world.sync()  # the command line knows no roles, and goes on
    assert run.state is RunState.DONE


def test_a_role_without_users_asks_nobody(
    approvers: Callable[..., World], run_sync: Run, answer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "vic:viewer")
    world = approvers("role:op")
    answer()
    assert (states(run_sync())["approve"], answer.asked) == ("failed", [])
    assert world.members_shown() == NOT_YET


def test_an_approval_by_somebody_who_may_not_is_refused_by_delivery_itself(approvers: Callable[..., World]) -> None:
    world = approvers("ben")
    withheld = world.sync()
    for permitted_as in (None, "ana", "role:op"):
        ceiling = Ceiling(max_exited=EXITS)
        approve(world.workspace.database, withheld, ceiling, who="Ana", why=None, permitted_as=permitted_as)
        request = Request(trigger=f"airflow x {permitted_as} approved")
        with pytest.raises(ChangesWithheld, match="by somebody who may approve"):
            sync_approved(world.workspace, world.computation(), request, world.stop)
    assert world.sync().state is RunState.WITHHELD
    assert world.members_shown() == NOT_YET


def test_a_backfill_is_permitted_by_who_is_named_alone(
    approvers: Callable[..., World], load_dags: Callable[[], dict[str, Any]], answer: Person
) -> None:
    world = approvers("ben")
    conf = {"audiences": [KEY], "mode": "resync"}
    answer()
    sent = world.sent
    for entries, state in ((("ben",), "failed"), (("ben", "ana"), "success")):
        approvers(*entries)
        dag = load_dags()["engage_audience_backfill"]
        for task in dag.tasks:
            task.retries = 0
        dag_run = dag.test(run_conf=conf)
        assert str(dag_run.get_task_instance("approve").state) == state
        assert (world.sent > sent) == (state == "success")
    assert answer.asked[-1].assigned_users[-1] == {"id": "ana", "name": "ana"}


def test_at_the_command_line_the_systems_name_counts(
    approvers: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from windsor_sync.cli import cli

    world = approvers("ben")
    run = world.sync()
    words = ["--config", str(world.config), "approve", run.run_id, "--max-exited", str(EXITS), "--json"]
    monkeypatch.setenv("LOGNAME", "ben")
    refused = CliRunner().invoke(cli, words, standalone_mode=False)
    assert isinstance(refused.exception, ConfigError)
    assert "may not approve" in str(refused.exception)
    approvers(user_of_this_process())
    done = CliRunner().invoke(cli, ["--config", str(world.config), *words[2:]], standalone_mode=False)
    assert json.loads(done.stdout)["max_exited"] == EXITS
    assert world.sync().state is RunState.DONE
    assert world.members_shown() == set(AFTER)


@pytest.mark.parametrize(
    "words",
    [
        ("retire", KEY),
        ("backfill", KEY, "--mode", "resync"),
        ("backfill", "--all", "--mode", "resync"),
        ("backfill", KEY, "--limit", "1"),
    ],
)
def test_a_command_that_sends_beyond_the_schedule_is_for_approvers_alone(
    approvers: Callable[..., World], words: tuple[str, ...]
) -> None:
    from click.testing import CliRunner

    from windsor_sync.cli import cli

    def ended(*words: str) -> Any:
        return CliRunner().invoke(cli, ["--config", str(world.config), *words], standalone_mode=False)

    world = approvers("ben", "role:Op")
    sent = world.sent
    refused = ended(*words)
    assert isinstance(refused.exception, ConfigError)
    assert "Nothing was approved or sent" in str(refused.exception)
    assert "A command knows no roles" in str(refused.exception)
    assert world.sent == sent
    if words[0] == "backfill":
        assert ended(*words, "--dry-run").exception is None
    assert ended("retry").exception is None
    sent = world.sent
    approvers("ben", user_of_this_process())
    assert ended(*words).exception is None
    assert world.sent > sent


def test_a_recovery_that_tells_every_member_again_is_for_approvers_alone(approvers: Callable[..., World]) -> None:
    from click.testing import CliRunner

    from windsor_sync.cli import cli

    def recovery() -> Any:
        return CliRunner().invoke(cli, ["--config", str(world.config), "recover", KEY], standalone_mode=False)

    world = approvers("ben")
    assert recovery().return_value == ChangesWithheld.exit_status  # nothing is lost: a sync
    forget_the_source(world)
    for file in [*stored(world, "snapshots"), *stored(world, "outboxes")]:
        overwrite(file)
    sent = world.sent
    refused = recovery()
    assert refused.return_value == ConfigError.exit_status
    assert "Nothing was approved or sent. Let one of them do it." in refused.output
    assert world.sent == sent
    approvers(user_of_this_process())
    assert recovery().return_value == 0
    assert world.sent > sent


def test_a_lost_state_is_brought_back_by_approvers_alone(approvers: Callable[..., World]) -> None:
    world = approvers("ben")
    lose(world, world.folder)
    world.reopen()
    with pytest.raises(ConfigError, match="Nothing was approved or sent"):
        recover_state(world.workspace, "a test", None)
    with pytest.raises(StoredFileError, match="recover --state"):
        world.sync()
    approvers(user_of_this_process())
    assert recover_state(world.workspace, "a test", None).audiences == (KEY,)
    approvers("ben")
    assert recover_state(world.workspace, "a test", None).audiences == ()


def test_a_role_of_another_auth_manager_is_refused_by_check_and_by_the_task(
    approvers: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    from windsor_sync.airflow.approvers import assigned_users
    from windsor_sync.cli.airflow_look import examine_airflow
    from windsor_sync.usecases.check import Level

    world = approvers("3", "role:Op")
    monkeypatch.setenv(
        "AIRFLOW__CORE__AUTH_MANAGER", "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
    )
    with pytest.raises(ConfigError, match="FabAuthManager does not tell a task who has it"):
        assigned_users(world.workspace.settings)
    found = {finding.subject: finding.level for finding in examine_airflow(world.workspace.settings)}
    assert found["approvers"] is Level.ERROR
    settings = approvers("3").workspace.settings
    assert assigned_users(settings) == [{"id": "3", "name": "3"}]
    assert "approvers" in {finding.subject for finding in examine_airflow(settings) if finding.level is Level.OK}
