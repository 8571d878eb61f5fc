"""The provider in a real Airflow: the connection's form, its test button, and the set-up command."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from tests.airflow.serving import Site
from tests.support.ports import nobody_at
from tests.support.world import World
from windsor_sync.airflow.connection import connection_of, destination_of, suppression_key_of, token_of, with_connection
from windsor_sync.airflow.provider import get_provider_info
from windsor_sync.errors import ConfigError
from windsor_sync.sandbox import Faults, Sandbox
from windsor_sync.settings import WireName, load


@pytest.fixture
def api(site: Site) -> Iterator[httpx.Client]:
    """A client of Airflow's api-server that may do everything."""
    with site.client("ada") as client:
        yield client


@contextmanager
def always(status: int) -> Iterator[str]:
    """A server that gives the same answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def press_test(api: httpx.Client) -> Callable[..., tuple[bool, str]]:
    """Fill in the form and press its test button."""

    def press(host: str | None, password: str | None, **extra: Any) -> tuple[bool, str]:
        body = {"connection_id": "tried", "conn_type": "windsor", "host": host, "password": password}
        answer = api.post("/api/v2/connections/test", json={**body, "extra": json.dumps(extra)})
        assert answer.status_code == 200, answer.text
        return answer.json()["status"], answer.json()["message"]

    return press


def test_what_airflow_is_told_follows_its_schema() -> None:
    import airflow

    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_the_form_has_url_key_wire_rate_and_certificate_and_nothing_else(api: httpx.Client) -> None:
    (form,) = [each for each in api.get("/ui/connections/hook_meta").json() if each["connection_type"] == "windsor"]
    fields = form["standard_fields"]
    assert (fields["host"]["title"], fields["password"]["title"]) == ("URL", "API key")
    assert {name for name, field in fields.items() if field and field.get("hidden")} == {"url_schema", "login", "port"}
    assert set(form["extra_fields"]) == {"wire", "requests_per_second", "client_certificate", "client_key"}
    wire = form["extra_fields"]["wire"]["schema"]
    assert wire["enum"] == [None, *WireName]
    assert set(wire["values_display"]) == {"null", *WireName}


@pytest.mark.parametrize("wire", ["segment_webhook", "windsor_hook"])
def test_the_button_tells_a_good_key_from_a_bad_one_and_leaves_no_trace(
    press_test: Callable[..., tuple[bool, str]], windsor: Sandbox, wire: str
) -> None:
    url = windsor.url if wire == "segment_webhook" else f"{windsor.url}hook"
    assert press_test(url, windsor.api_key, wire=wire) == (
        True,
        "Windsor is there and takes the key. Nothing was sent that it could keep.",
    )
    assert press_test(url, "another-key", wire=wire) == (
        False,
        "Windsor is there and refuses the key (401). Nothing was sent.",
    )
    stats = windsor.store.stats()
    assert (len(windsor.store.accepted), stats["users"]) == (0, 0)


def test_the_button_says_that_nobody_is_there(press_test: Callable[..., tuple[bool, str]]) -> None:
    with nobody_at() as port:
        is_good, said = press_test(f"http://127.0.0.1:{port}/", "key")
    assert (is_good, said) == (False, "Windsor cannot be reached: connection refused. Check the URL. Nothing was sent.")


def test_the_button_says_that_windsor_is_down(press_test: Callable[..., tuple[bool, str]], windsor: Sandbox) -> None:
    windsor.set_faults(Faults(outage="unavailable"))
    is_good, said = press_test(windsor.url, windsor.api_key)
    assert (is_good, said) == (False, "Windsor is there, but answers 503 now. Try again later. Nothing was sent.")


@pytest.mark.parametrize("status", [200, 202, 400, 422])
def test_the_button_does_not_call_a_key_good_that_was_not_looked_at(
    press_test: Callable[..., tuple[bool, str]], status: int
) -> None:
    with always(status) as url:
        is_good, said = press_test(url, "any-key")
    assert f"Something answers there ({status}), but it answers a wrong key alike ({status})" in said
    assert not is_good


def test_the_button_says_where_it_is_redirected(press_test: Callable[..., tuple[bool, str]]) -> None:
    with always(308) as url:
        assert press_test(url, "key") == (False, "destination.url is redirected (308). Nothing was sent.")


def test_white_space_around_what_is_pasted_into_a_connection_is_taken_off(
    press_test: Callable[..., tuple[bool, str]], windsor: Sandbox
) -> None:
    assert press_test(f" {windsor.url}\n", f"\ufeff{windsor.api_key}\r\n")[0]


def test_white_space_within_a_key_is_named(press_test: Callable[..., tuple[bool, str]], windsor: Sandbox) -> None:
    is_good, said = press_test(windsor.url, "sand\nbox")
    assert not is_good
    assert said.startswith("The API key for Windsor in the password of the Airflow connection")
    assert "has white space or a control character within it (it is not shown). Nothing was sent." in said


@pytest.mark.parametrize("status", [404, 405])
def test_the_button_says_that_no_webhook_is_there(press_test: Callable[..., tuple[bool, str]], status: int) -> None:
    with always(status) as url:
        assert press_test(url, "key") == (
            False,
            f"No webhook answers at this address ({status}). Check the URL. Nothing was sent.",
        )


@pytest.mark.parametrize(
    ("host", "password", "said"),
    [
        ("http://windsor.example/", "key", "has no usable URL"),
        ("http://127.0.0.1:9/", None, "has no API key"),
    ],
)
def test_the_button_says_what_is_missing(
    press_test: Callable[..., tuple[bool, str]], host: str, password: str | None, said: str
) -> None:
    is_good, found = press_test(host, password)
    assert said in found
    assert not is_good


def connected(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> Any:
    monkeypatch.setenv("AIRFLOW_CONN_WINDSOR_DEFAULT", json.dumps({"conn_type": "windsor", "password": "k", **fields}))
    return connection_of("windsor_default")


def test_what_the_connection_says_counts_and_the_ledger_keeps_its_name(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(world.config, env={})
    given = connected(monkeypatch, host="https://new.example/in", extra={"requests_per_second": 7, "wire": None})
    found = with_connection(settings, given).destination
    assert (found.url, found.requests_per_second, found.wire) == ("https://new.example/in", 7, WireName.SEGMENT_WEBHOOK)
    assert found.name == settings.destination.name
    assert with_connection(settings, connected(monkeypatch)) == settings


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("windsor://:k@windsor.example", "https://windsor.example/"),
        ("windsor://:k@windsor.example:8443", "https://windsor.example:8443/"),
    ],
)
def test_a_connection_given_as_a_uri_means_https(monkeypatch: pytest.MonkeyPatch, uri: str, url: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WINDSOR_DEFAULT", uri)
    assert destination_of(connection_of("windsor_default")).url == url


def test_white_space_around_segments_token_is_taken_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.document["segment"] = {"connection": "segment_default"}
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps({"conn_type": "generic", "password": " sgp_test \n"}))
    assert token_of(load(world.config, env={})) == "sgp_test"


def test_the_key_of_the_suppressions_is_a_connections_password_unless_the_environment_has_it(
    airflow_db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert suppression_key_of() is None
    monkeypatch.setenv("AIRFLOW_CONN_WINDSOR_SUPPRESSIONS", json.dumps({"conn_type": "generic", "password": "k" * 40}))
    assert suppression_key_of() == "k" * 40
    monkeypatch.setenv("WINDSOR_SUPPRESSION_KEY", "e" * 40)
    assert suppression_key_of() == "e" * 40


def test_segments_token_is_the_password_of_its_own_connection(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.document["segment"] = {"connection": "segment_default"}
    settings = load(world.config, env={})
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps({"conn_type": "http", "password": "sgp_1"}))
    assert token_of(settings) == "sgp_1"
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps({"conn_type": "http", "login": "sgp_2"}))
    with pytest.raises(ConfigError, match="segment_default has no token") as refused:
        token_of(settings)
    assert "sgp_2" not in str(refused.value)


def test_a_connection_that_cannot_be_used_is_named_without_its_values(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = connected(monkeypatch, host="http://far.example/", extra={"requests_per_second": "fast"})
    with pytest.raises(ConfigError, match="no usable URL and requests per second") as refused:
        with_connection(load(world.config, env={}), given)
    assert "far.example" not in str(refused.value)
    monkeypatch.delenv("AIRFLOW_CONN_WINDSOR_DEFAULT")
    with pytest.raises(ConfigError, match="Airflow has no connection nowhere"):
        connection_of("nowhere")


def set_up(world: World, key: str, *, slots: int = 4, **env: str) -> str:
    """What `windsor-sync airflow-setup` prints."""
    command = [sys.executable, "-m", "windsor_sync.cli", "--config", str(world.config), "airflow-setup"]
    done = subprocess.run(
        [*command, "--slots", str(slots)],
        env=os.environ | {"WINDSOR_API_KEY": key} | env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert key not in done.stdout + done.stderr
    return done.stdout


def test_no_connection_is_made_beside_one_from_the_environment(world: World, api: httpx.Client) -> None:
    said = set_up(world, "a-key", AIRFLOW_CONN_WINDSOR_DEFAULT="windsor://:another@windsor.example")
    assert "Connection windsor_default comes from AIRFLOW_CONN_WINDSOR_DEFAULT" in said
    assert api.get("/api/v2/connections/windsor_default").status_code == 404


def test_setting_up_twice_leaves_one_pool_and_the_connection_that_was_there(world: World, api: httpx.Client) -> None:
    for key, slots in (("first-key", 4), ("second-key", 6)):
        set_up(world, key, slots=slots)
    assert api.get("/api/v2/pools/windsor_api").json()["slots"] == 6
    made = api.get("/api/v2/connections/windsor_default").json()
    assert (made["conn_type"], made["password"]) == ("windsor", "***")
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session

    with create_session() as session:
        (kept,) = session.query(Connection).filter(Connection.conn_id == "windsor_default")
        assert kept.password == "first-key"
