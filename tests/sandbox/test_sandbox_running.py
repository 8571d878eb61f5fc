"""Starting, stopping, remembering, and what never reaches a log."""

import json
import logging
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.windsor import StartWindsor, WindsorProcess
from windsor_sync.errors import ConfigError
from windsor_sync.sandbox import Faults, Sandbox, guard, running
from windsor_sync.sandbox.store import Merge, Store

PRIVATE = "ann@example.com"


def tell(windsor: Sandbox, client: httpx.Client) -> None:
    """Send one of everything."""
    for message in (
        {"type": "identify", "userId": "u-1", "traits": {"vip": True, "email": PRIVATE}, "messageId": "m-1"},
        {"type": "identify", "userId": "u-1", "traits": {"vip": True, "email": PRIVATE}, "messageId": "m-1"},
        {"type": "group", "userId": "u-1", "groupId": "acme"},
        {"type": "track", "anonymousId": "x", "event": "Seen \ud800", "messageId": "m-2"},
        {"type": "alias", "userId": "u-1", "previousId": "x"},
        {"type": "page", "userId": "u-2", "name": "Pricing"},
    ):
        body = json.dumps(message)
        answer = client.post(windsor.url, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200


def knowledge(store: Store) -> object:
    return store.users(), store.feed(show_hidden=True), store.accepted


def test_a_restarted_sandbox_shows_the_same_users(
    start_windsor: StartWindsor, client: httpx.Client, tmp_path: Path
) -> None:
    first = start_windsor(state_file=tmp_path / "windsor.db")
    tell(first, client)
    first.stop()
    second = start_windsor(state_file=tmp_path / "windsor.db")
    assert knowledge(second.store) == knowledge(first.store)
    assert second.store.stats()["duplicates"] == 1


def test_a_restarted_sandbox_merges_by_its_rules(
    start_windsor: StartWindsor, client: httpx.Client, tmp_path: Path
) -> None:
    def started() -> Sandbox:
        rules = Store(merge=Merge.KEEPS_OLD, identify_merges=True)
        return start_windsor(state_file=tmp_path / "windsor.db", store=rules)

    first = started()
    for message in (
        {"type": "identify", "anonymousId": "x", "traits": {"vip": True}},
        {"type": "identify", "userId": "u-1", "anonymousId": "x", "traits": {"vip": False}},
        {"type": "identify", "userId": "u-2", "traits": {"vip": True}},
        {"type": "alias", "userId": "u-2", "previousId": "u-1"},
    ):
        client.post(first.url, json=message)
    first.stop()
    second = started()
    assert knowledge(second.store) == knowledge(first.store)
    user = client.get(f"{second.url}api/users/x").json()
    assert (user["id"], user["properties"]) == ("u-2", {"vip": False})


@pytest.mark.parametrize("program", ["windsor_sync.sandbox", "windsor_sync.cli sandbox"])
def test_the_rules_of_a_merge_are_options(program: str, client: httpx.Client) -> None:
    with WindsorProcess("--merge", "keeps-neither", "--identify-merges", "yes", program=program) as windsor:
        for message in (
            {"type": "identify", "anonymousId": "x", "traits": {"vip": True, "plan": "pro"}},
            {"type": "identify", "userId": "u-1", "traits": {"vip": True}},
            {"type": "identify", "userId": "u-1", "anonymousId": "x", "traits": {}},
        ):
            client.post(windsor.url, json=message)
        assert client.get(f"{windsor.url}api/users/x").json()["properties"] == {"plan": "pro"}


def test_a_message_after_the_restart_is_known_as_a_repetition(
    start_windsor: StartWindsor, client: httpx.Client, tmp_path: Path
) -> None:
    for _ in range(3):
        windsor = start_windsor(state_file=tmp_path / "windsor.db")
        client.post(windsor.url, json={"type": "track", "userId": "u-1", "event": "Seen", "messageId": "m-1"})
        windsor.stop()
    assert windsor.store.stats()["duplicates"] == 2
    assert len(windsor.store.feed()) == 1


def test_reset_empties_the_state_file_too(start_windsor: StartWindsor, client: httpx.Client, tmp_path: Path) -> None:
    windsor = start_windsor(state_file=tmp_path / "windsor.db")
    tell(windsor, client)
    client.post(f"{windsor.url}api/reset")
    windsor.stop()
    assert start_windsor(state_file=tmp_path / "windsor.db").store.users() == []


def test_two_sandboxes_do_not_share_a_state_file(start_windsor: StartWindsor, tmp_path: Path) -> None:
    start_windsor(state_file=tmp_path / "windsor.db")
    with pytest.raises(ConfigError, match="did not start"):
        start_windsor(state_file=tmp_path / "windsor.db")


def test_a_file_of_another_program_is_left_as_it_is(start_windsor: StartWindsor, tmp_path: Path) -> None:
    text, database = tmp_path / "notes.txt", tmp_path / "other.db"
    text.write_text("buy milk\n" * 500)
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE messages (whose TEXT)")
    connection.close()
    for path in (text, database, tmp_path / "no such folder" / "windsor.db"):
        before = path.read_bytes() if path.exists() else None
        with pytest.raises(ConfigError, match=r"did not start\. Name another file"):
            start_windsor(state_file=path)
        assert (path.read_bytes() if path.exists() else None) == before


def test_a_stopped_windsor_refuses_connections_and_comes_back_on_its_port_with_its_memory(
    windsor: Sandbox, client: httpx.Client
) -> None:
    tell(windsor, client)
    before, port = knowledge(windsor.store), windsor.port
    windsor.stop()
    with pytest.raises(httpx.ConnectError):
        client.get(windsor.url)
    windsor.start()
    assert windsor.port == port
    assert client.get(f"{windsor.url}users").status_code == 200
    assert knowledge(windsor.store) == before


def test_starting_or_stopping_twice_is_harmless(windsor: Sandbox, client: httpx.Client) -> None:
    windsor.start()
    assert client.get(windsor.url).status_code == 200
    windsor.stop()
    windsor.stop()


def test_a_port_that_is_taken_is_a_config_error(windsor: Sandbox) -> None:
    other = Sandbox(port=windsor.port)
    with pytest.raises(ConfigError, match=f"port {windsor.port} .* choose another"):
        other.start()
    windsor.stop()
    with other:
        assert httpx.get(other.url, trust_env=False).status_code == 200


def test_stopping_does_not_wait_for_slow_answers(windsor: Sandbox, client: httpx.Client) -> None:
    windsor.set_faults(Faults(latency_ms=(60_000, 60_000)))
    with pytest.raises(httpx.ReadTimeout):
        client.post(windsor.url, json={"type": "identify", "userId": "u-1"}, timeout=0.2)
    windsor.stop()
    windsor.set_faults(Faults())
    windsor.start()
    assert client.get(windsor.url).status_code == 200


def test_only_this_machine_can_reach_it(windsor: Sandbox) -> None:
    elsewhere = socket.gethostbyname(socket.gethostname())
    if elsewhere.startswith("127."):
        elsewhere = "127.0.0.2"  # bound to one address only, not even the rest of loopback is served
    with pytest.raises(OSError, match="refused"), socket.create_connection((elsewhere, windsor.port), timeout=5):
        pass


def test_no_key_id_or_email_reaches_a_log(
    start_windsor: StartWindsor, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "windsor_sync")
    caplog.set_level(logging.DEBUG, "aiohttp")
    windsor = start_windsor(api_key="secret-key", faults=Faults(rejected_users=frozenset({"u-1"})))
    message = {"type": "identify", "userId": "u-1", "traits": {"email": PRIVATE}}
    batch = {"batch": [{**message, "type": "user"}]}
    assert client.post(windsor.url, json=message, auth=("secret-key", "")).status_code == 400
    assert client.post(f"{windsor.hook_url}/secret-key", json=batch).status_code == 400
    with socket.create_connection(("127.0.0.1", windsor.port), timeout=10) as connection:
        connection.sendall(b"POST /hook/secret-key ann@example.com u-1\r\n\r\n")
        assert b" 400 " in connection.recv(65536)
    own = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("httpx"))
    assert "Error handling request" in own
    for private in ("secret-key", PRIVATE, "u-1"):
        assert private not in own
    assert all(record.exc_info is None for record in caplog.records)


def test_the_package_is_light_until_the_sandbox_is_asked_for() -> None:
    code = "import sys, windsor_sync.sandbox; print([name for name in ('aiohttp', 'jinja2') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_program_announces_its_address_and_flushes_when_it_is_ended(client: httpx.Client, tmp_path: Path) -> None:
    port_file, state = tmp_path / "port", tmp_path / "windsor.db"
    options = ("--port-file", str(port_file), "--state", str(state), "--faults", '{"html_rate": 1}')
    for ending in (signal.SIGTERM, signal.SIGINT):
        with WindsorProcess(*options) as windsor:
            assert windsor.url == f"http://127.0.0.1:{port_file.read_text()}/"
            message = {"type": "identify", "userId": ending.name, "traits": {}}
            answer = client.post(windsor.url, json=message)
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
            windsor.process.send_signal(ending)
            assert windsor.process.wait(timeout=20) == 0
    with WindsorProcess("--state", str(state)) as windsor:
        users = client.get(f"{windsor.url}api/users").json()["users"]
        assert [user["id"] for user in users] == ["SIGTERM", "SIGINT"]


def test_a_program_that_cannot_start_says_why_in_one_sentence_and_ends_with_2(windsor: Sandbox) -> None:
    command = [sys.executable, "-m", "windsor_sync.sandbox"]
    for options, said in (
        (["--port", str(windsor.port)], "cannot listen on 127.0.0.1"),
        (["--faults", '{"busy_rate": 2}'], "busy_rate: found 2"),
    ):
        ended = subprocess.run([*command, *options], capture_output=True, text=True, timeout=30)
        assert ended.returncode == 2
        assert said in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_key_of_ones_own_is_not_printed(tmp_path: Path) -> None:
    with WindsorProcess("--api-key", "secret-key") as windsor:
        assert windsor.url.startswith("http://127.0.0.1:")
        windsor.process.terminate()
        rest, _ = windsor.process.communicate(timeout=20)
        assert "secret-key" not in windsor.announced + rest


@pytest.mark.parametrize("beginning", [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "])
def test_a_connection_that_does_not_say_what_it_wants_is_ended(
    start_windsor: StartWindsor, client: httpx.Client, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setattr(guard, "HEAD_S", 0.3)
    windsor = start_windsor()
    with socket.create_connection(("127.0.0.1", windsor.port), timeout=10) as silent:
        silent.sendall(beginning)
        kept = client.get(windsor.url)
        assert silent.recv(1) == b""
    assert client.get(windsor.url).status_code == kept.status_code == 200


def test_a_connection_that_says_its_second_wish_slowly_is_ended(
    start_windsor: StartWindsor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "KEPT_S", 0.3)
    windsor = start_windsor()
    with socket.create_connection(("127.0.0.1", windsor.port), timeout=10) as slow:
        slow.sendall(b"GET /api/stats HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /api/st")
        assert slow.makefile("rb").read().count(b"HTTP/1.1 200") == 1


def test_a_body_that_does_not_come_in_time_is_a_408(
    start_windsor: StartWindsor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "BODY_S", 0.3)
    windsor = start_windsor()
    for head in (b"PUT /api/faults", b"POST /hook/sandbox"):
        with socket.create_connection(("127.0.0.1", windsor.port), timeout=10) as slow:
            lines = b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
            slow.sendall(head + lines)
            assert b" 408 " in slow.recv(100)
