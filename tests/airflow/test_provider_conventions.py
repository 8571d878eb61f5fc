"""Hook, operators and sensor keep what people know of Airflow's own providers."""

import json
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, BaseSensorOperator
from airflow.sdk.bases.operator import TriggerFailureReason
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException

from tests.support.world import KEY, World
from windsor_sync.airflow.hooks.windsor import WindsorHook
from windsor_sync.airflow.operators import windsor as operators
from windsor_sync.airflow.sensors.windsor import NewerSnapshotSensor
from windsor_sync.airflow.windsor_task import WindsorOperator
from windsor_sync.errors import ConfigError, CredentialsRefused, DestinationUnavailable, MessagesRejected
from windsor_sync.sandbox import Faults

IDENTIFY = {"type": "identify", "userId": "ana", "traits": {"plan": "pro"}}


@pytest.fixture
def hook(world: World, monkeypatch: pytest.MonkeyPatch) -> WindsorHook:
    """Of a connection that says everything; windsor.yaml is not read."""
    said = {"conn_type": "windsor", "host": world.destination["url"], "password": world.windsor.api_key}
    monkeypatch.setenv("AIRFLOW_CONN_ELSEWHERE", json.dumps(said))
    return WindsorHook("elsewhere")


def test_a_call_of_one_s_own_reaches_windsor_with_an_id_and_a_time(world: World, hook: WindsorHook) -> None:
    hook.send(IDENTIFY)
    assert world.windsor.store.stats()["users"] == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"type": "identify"}, "Segment would refuse this call (no_user_anon_id)"),
        ({"type": "buy", "userId": "ana"}, "(invalid_type)"),
        ({"type": "track", "userId": "ana"}, "(event_not_defined)"),
        (IDENTIFY | {"traits": {"at": object()}}, "values that JSON has not"),
    ],
)
def test_a_call_that_segment_would_refuse_is_not_sent(
    world: World, hook: WindsorHook, call: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match="Nothing was sent") as refused:
        hook.send(call)
    assert words in str(refused.value)
    assert world.sent == 0


def test_each_answer_to_a_call_is_an_error_of_its_own_and_names_no_user(
    world: World, hook: WindsorHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {
        MessagesRejected: Faults(rejected_users=frozenset({"ana"})),
        DestinationUnavailable: Faults(outage="unavailable"),
    }
    for kind, faults in answers.items():
        world.windsor.set_faults(faults)
        with pytest.raises(kind) as raised:
            hook.send(IDENTIFY)
        assert "ana" not in str(raised.value)
    world.windsor.set_faults(Faults())
    said = {"conn_type": "windsor", "host": world.destination["url"], "password": "wrong"}
    monkeypatch.setenv("AIRFLOW_CONN_ELSEWHERE", json.dumps(said))
    with pytest.raises(CredentialsRefused):
        WindsorHook("elsewhere").send(IDENTIFY)


def test_get_conn_is_a_client_with_address_and_key(world: World, hook: WindsorHook) -> None:
    with hook.get_conn() as client:
        assert client.post("", json=IDENTIFY).status_code == 200
        assert world.windsor.api_key not in repr(client)
    assert world.sent == 1


def test_every_operator_takes_a_connection_as_a_template(configured: World, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [kind for kind in vars(operators).values() if isinstance(kind, type) and issubclass(kind, WindsorOperator)]
    assert len(kinds) > 5
    assert all("windsor_conn_id" in kind.template_fields for kind in [*kinds, NewerSnapshotSensor])
    said = {"conn_type": "windsor", "host": configured.destination["url"], "password": "another-key"}
    monkeypatch.setenv("AIRFLOW_CONN_ELSEWHERE", json.dumps(said))
    with DAG("theirs", schedule=None):
        task = operators.SealSnapshotOperator(task_id="seal", audience=KEY, windsor_conn_id="elsewhere")
    _ = configured.config
    with task.opened_workspace(sends=True) as workspace:
        assert workspace.api_key() == "another-key"


def sensor(**options: Any) -> NewerSnapshotSensor:
    with DAG("waits", schedule=None):
        return NewerSnapshotSensor(task_id="wait", audience=KEY, poke_interval=0.05, **options)


def test_the_sensor_is_one_of_airflow_s_and_pokes_where_it_does_not_defer(configured: World) -> None:
    configured.snapshot(["ana"])
    configured.sync()
    waiting = sensor(deferrable=False, timeout=0.2)
    assert isinstance(waiting, BaseSensorOperator)
    context: Any = SimpleNamespace(get=lambda *_: None, __getitem__=lambda *_: None)
    assert not waiting.poke(context).is_done
    configured.snapshot(["ana", "ben"])
    done = waiting.poke(context)
    assert (done.is_done, done.xcom_value["audience"]) == (True, KEY)
    assert waiting.execute(context) == done.xcom_value


def test_a_sensor_that_fails_softly_is_skipped_when_its_time_is_over(configured: World) -> None:
    for is_soft, ended in ((True, AirflowSkipException), (False, AirflowSensorTimeout)):
        waiting = sensor(soft_fail=is_soft, timeout=timedelta(hours=2).total_seconds())
        with pytest.raises(ended, match=f"No snapshot of {KEY} came within 2 hours"):
            waiting.resume_execution("__fail__", {"error": TriggerFailureReason.TRIGGER_TIMEOUT}, SimpleNamespace())  # type: ignore[arg-type]


def test_every_dag_says_what_it_does_and_whose_it_is(
    load_dags: Callable[[], dict[str, Any]], configured: World
) -> None:
    configured.document["events"] = {"archive": "segment-logs"}
    found = load_dags()
    assert len(found) == 4
    for dag in found.values():
        assert (bool(dag.description), bool(dag.doc_md)) == (True, True)
        assert {task.owner for task in dag.tasks} == {"windsor_sync"}
