"""What a sync tells the rest of Airflow: an Asset's event, a message for people, a link, metrics."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from airflow.sdk import DAG, BaseNotifier

from tests.support.receiver import Receiver
from tests.support.world import AUDIENCE, KEY, World
from windsor_sync.airflow.assets import audience_asset
from windsor_sync.airflow.links.windsor import AudienceLink
from windsor_sync.airflow.notifications.windsor import AudienceStateNotifier
from windsor_sync.sandbox import Faults

Run = Callable[[], Any]


def events() -> list[Any]:
    """Every event of the audience's asset, oldest first."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session

    with create_session() as session:
        query = session.query(AssetEvent).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        return list(query.filter(AssetModel.uri == f"windsor://audiences/{KEY}").order_by(AssetEvent.id))


def test_a_dag_that_follows_an_audience_is_woken_with_counts_when_windsor_was_told_something(
    configured: World, run_sync: Run, register_dag: Callable[[DAG], None]
) -> None:
    from airflow.models.asset import AssetDagRunQueue
    from airflow.utils.session import create_session

    with DAG("follows", schedule=[audience_asset(KEY)], is_paused_upon_creation=False) as follower:
        pass
    register_dag(follower)
    configured.document["computed_traits"] = []
    configured.snapshot(["somebody"])
    before = len(events())
    run_sync()
    (event,) = events()[before:]
    assert (event.extra["audience"], event.extra["delivered"], event.extra["entered"]) == (KEY, 1, 1)
    assert "somebody" not in str(event.extra)
    with create_session() as session:
        assert [row.target_dag_id for row in session.query(AssetDagRunQueue)] == ["follows"]
    run_sync()
    assert len(events()) == before + 1


class Mail(BaseNotifier):
    """A notifier as providers have them: its text is a template."""

    template_fields = ("text",)

    def __init__(self, sent: list[str]) -> None:
        super().__init__()
        self.sent = sent
        self.text = "{{ windsor.event }}: {{ windsor.text }}"

    def notify(self, context: Any) -> None:
        self.sent.append(self.text)


@pytest.fixture
def finished(configured: World) -> Callable[[BaseNotifier], None]:
    """Call a notifier as Airflow does when a task of the audience has ended."""
    return lambda notifier: notifier({"task": SimpleNamespace(audience=KEY)})


def test_any_notifier_tells_a_change_of_state_once(configured: World, finished: Callable[[BaseNotifier], None]) -> None:
    configured.snapshot(["somebody"])
    sent: list[str] = []
    for faults in (Faults(revoked_after=0), Faults(revoked_after=0), Faults(), Faults()):
        configured.windsor.set_faults(faults)
        configured.sync()
        finished(AudienceStateNotifier(then=Mail(sent)))
    assert [text.partition(":")[0] for text in sent] == ["credentials_refused", "recovered"]
    assert "Put a valid key into" in sent[0]
    assert "somebody" not in "".join(sent)


class Pager(BaseNotifier):
    """Keeps what it is told where the test reads it."""

    template_fields = ("text",)
    sent: ClassVar[list[str]] = []

    def __init__(self, text: str, number: int) -> None:
        super().__init__()
        self.text = text
        self.number = number

    def notify(self, context: Any) -> None:
        self.sent.append(f"{self.number} {self.text}")


def test_the_shipped_dag_tells_whom_windsor_yaml_names(
    configured: World, run_sync: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PAGER", json.dumps({"conn_type": "http", "password": receiver.url}))
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.com/airflow/")
    arguments = {"text": "{{ windsor.event }} {{ windsor.link }}", "number": 7}
    configured.document["alerts"] = [
        {"connection": "pager"},
        {"notifier": f"{__name__}.Pager", "arguments": arguments, "events": ["unusable"]},
        {"notifier": "no.such.Notifier", "arguments": arguments},
    ]
    configured.document["computed_traits"] = []
    path = configured.snapshot(["ana"])
    path.write_text("this,is,not\nan,engage,download\n", encoding="utf-8")
    run_sync()
    run_sync()
    path.unlink()
    configured.snapshot(["ana"])
    configured.windsor.set_faults(Faults(revoked_after=0))
    run_sync()
    run_sync()
    configured.windsor.set_faults(Faults())
    run_sync()
    page = f"https://example.com/airflow/windsor/audiences/{KEY}"
    assert receiver.events == ["unusable", "credentials_refused", "recovered", "recovered"]
    assert receiver.got[0]["link"] == page
    assert Pager.sent == [f"7 unusable {page}"]


def test_the_link_leads_to_the_audiences_page_below_airflows_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    link, key = AudienceLink(), SimpleNamespace()
    about = SimpleNamespace(audience="a key/50%")
    assert link.get_link(about, ti_key=key) == "/plugin/windsor#audience=a%20key%2F50%25"  # type: ignore[arg-type]
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.com/airflow/")
    assert link.get_link(about, ti_key=key) == "/airflow/plugin/windsor#audience=a%20key%2F50%25"  # type: ignore[arg-type]


def test_a_finished_task_shows_its_link(configured: World, run_sync: Run) -> None:
    configured.snapshot(["ana"])
    configured.values({"ana": 1})
    dag_run = run_sync()
    shown = dag_run.get_task_instance("sync_audience.deliver", map_index=0).xcom_pull(
        task_ids="sync_audience.deliver", map_indexes=0, key="_link_AudienceLink"
    )
    assert shown == f"/plugin/windsor#audience={KEY}"


def test_metrics_count_what_was_sent_and_what_is_owed(
    configured: World, run_sync: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from windsor_sync.airflow.metrics import airflows_metrics

    seen: dict[str, Any] = {}
    for kind in ("incr", "gauge"):
        monkeypatch.setattr(
            airflows_metrics(), kind, lambda name, value=1, **more: seen.update({name: (value, more.get("tags"))})
        )
    configured.document["computed_traits"] = []
    configured.windsor.set_faults(Faults(rejected_users=frozenset({"ben"})))
    configured.snapshot(["ana", "ben"])
    run_sync()
    tags = {"audience": KEY}
    assert seen["windsor_sync.sent"] == (1, tags)
    assert seen["windsor_sync.rejected"] == (1, tags)
    assert seen["windsor_sync.owed"] == (1, tags)
    assert seen["windsor_sync.rate"][0] > 0
    assert AUDIENCE not in seen
