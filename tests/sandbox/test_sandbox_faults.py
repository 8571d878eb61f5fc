"""Each fault as a client meets it, and what Windsor knows afterwards."""

import asyncio
import json
import socket
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.windsor import Send
from windsor_sync.errors import ConfigError
from windsor_sync.sandbox import Faults, Sandbox
from windsor_sync.sandbox.faults import Fate, Outage
from windsor_sync.sandbox.injector import Injector

KEY = {"Authorization": "Basic c2FuZGJveDo="}  # sandbox:
GOOD: dict[str, Any] = {"type": "identify", "userId": "u-1", "traits": {"email": "ann@example.com"}, "messageId": "m-1"}
SHARES = st.floats(0, 1 / 7)


def raw_answer(windsor: Sandbox, message: dict[str, Any] = GOOD) -> bytes:
    """Return every byte Windsor sends back; a reset raises ConnectionResetError."""
    body = json.dumps(message).encode()
    head = (
        f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{windsor.port}\r\nAuthorization: Basic c2FuZGJveDo=\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", windsor.port), timeout=10) as connection:
        connection.sendall(head.encode() + body)
        answer = b""
        while received := connection.recv(65536):
            answer += received
        return answer


def test_without_faults_nothing_goes_wrong(windsor: Sandbox) -> None:
    assert raw_answer(windsor).startswith(b"HTTP/1.1 200 ")
    assert windsor.faults == Faults()


def test_a_busy_windsor_says_after_how_many_seconds_to_come_back(windsor: Sandbox, send: Send) -> None:
    windsor.set_faults(Faults(busy_rate=1, retry_after_s=7))
    answer = send(**GOOD)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    assert windsor.store.accepted == []


def test_a_busy_windsor_may_name_a_date_instead(windsor: Sandbox, send: Send) -> None:
    windsor.set_faults(Faults(busy_rate=1, retry_after_s=90, retry_after_as_date=True))
    before = datetime.now(UTC)
    named = parsedate_to_datetime(send(**GOOD).headers["Retry-After"])
    assert before + timedelta(seconds=90) <= named <= datetime.now(UTC) + timedelta(seconds=91)


def test_a_busy_windsor_may_say_nothing_about_when(windsor: Sandbox, send: Send) -> None:
    windsor.set_faults(Faults(busy_rate=1, retry_after_s=None))
    answer = send(**GOOD)
    assert answer.status_code == 429
    assert "Retry-After" not in answer.headers


def test_an_error_applies_nothing(windsor: Sandbox, send: Send) -> None:
    windsor.set_faults(Faults(error_rate=1, error_statuses=(500, 503)))
    answers = {send(**GOOD).status_code for _ in range(20)}
    assert answers == {500, 503}
    assert windsor.store.accepted == []


@pytest.mark.parametrize("status", [404, 408, 422, 423, 502, 504])
def test_an_error_may_have_any_status(windsor: Sandbox, send: Send, status: int) -> None:
    windsor.set_faults(Faults(error_rate=1, error_statuses=(status,)))
    answer = send(**GOOD)
    assert answer.status_code == status
    assert set(answer.json()) == {"message"}


def test_a_reset_ends_the_connection_and_applies_nothing(windsor: Sandbox) -> None:
    windsor.set_faults(Faults(reset_rate=1))
    with pytest.raises(ConnectionResetError):
        raw_answer(windsor)
    assert windsor.store.accepted == []
    assert windsor.store.stats()["answers"] == {"reset": 1}


def test_a_lost_answer_leaves_the_message_applied(windsor: Sandbox) -> None:
    windsor.set_faults(Faults(lost_answer_rate=1))
    with pytest.raises(ConnectionResetError):
        raw_answer(windsor)
    assert windsor.store.values("email") == {"u-1": "ann@example.com"}
    assert windsor.store.stats()["answers"] == {"lost": 1}


def test_a_false_error_leaves_the_message_applied(windsor: Sandbox, send: Send) -> None:
    windsor.set_faults(Faults(false_error_rate=1, error_statuses=(502,)))
    assert send(**GOOD).status_code == 502
    assert windsor.store.values("email") == {"u-1": "ann@example.com"}


def test_garbage_is_not_http_and_applies_nothing(windsor: Sandbox, send: Send) -> None:
    windsor.set_faults(Faults(garbage_rate=1))
    assert not raw_answer(windsor).startswith(b"HTTP/")
    with pytest.raises(httpx.RemoteProtocolError):
        send(**GOOD)
    assert windsor.store.accepted == []


def test_a_page_instead_of_json_is_a_200_and_the_message_is_applied(windsor: Sandbox, send: Send) -> None:
    windsor.set_faults(Faults(html_rate=1))
    answer = send(**GOOD)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert windsor.store.values("email") == {"u-1": "ann@example.com"}


def test_a_message_is_applied_on_arrival_however_late_the_answer(windsor: Sandbox, client: httpx.Client) -> None:
    windsor.set_faults(Faults(latency_ms=(60_000, 60_000)))
    with pytest.raises(httpx.ReadTimeout):
        client.post(windsor.url, json=GOOD, timeout=0.2)
    assert windsor.store.values("email") == {"u-1": "ann@example.com"}


def test_an_outage_resets_every_request_until_it_is_switched_off(windsor: Sandbox, send: Send) -> None:
    windsor.set_faults(Faults(outage=Outage.RESET))
    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            raw_answer(windsor)
    windsor.set_faults(Faults())
    assert send(**GOOD).status_code == 200
    assert len(windsor.store.accepted) == 1


def test_an_outage_may_end_after_a_number_of_requests(windsor: Sandbox, send: Send) -> None:
    windsor.set_faults(Faults(outage=Outage.UNAVAILABLE, outage_requests=2))
    assert [send(**GOOD).status_code for _ in range(4)] == [503, 503, 200, 200]
    assert len(windsor.store.accepted) == 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_may_be_revoked_in_the_middle_of_a_run(windsor: Sandbox, send: Send, status: int) -> None:
    windsor.set_faults(Faults(revoked_after=2, revoked_status=status))
    assert [send(**GOOD).status_code for _ in range(4)] == [200, 200, status, status]


def test_a_rejected_users_messages_are_a_400_that_repeats_the_email(windsor: Sandbox, send: Send) -> None:
    windsor.set_faults(Faults(rejected_users=frozenset({"u-1"})))
    answer = send(**GOOD)
    assert answer.status_code == 400
    assert "ann@example.com" in answer.json()["message"]
    assert send(type="track", userId="u-1", event="Seen").status_code == 400
    assert send(**{**GOOD, "userId": "u-2"}).status_code == 200
    assert windsor.store.values("email") == {"u-2": "ann@example.com"}


def test_one_rejected_user_rejects_the_batch_it_is_in(windsor: Sandbox) -> None:
    windsor.set_faults(Faults(rejected_users=frozenset({"u-2"})))
    batch = [{"type": "user", "userId": f"u-{number}"} for number in range(4)]
    assert httpx.post(f"{windsor.hook_url}/sandbox", json={"batch": batch}, trust_env=False).status_code == 400
    assert windsor.store.accepted == []


def test_a_share_of_users_is_rejected_the_same_ones_every_time(windsor: Sandbox, send: Send) -> None:
    faults = Faults(rejected_share=0.3, seed=5)
    windsor.set_faults(faults)
    for _ in range(2):
        for number in range(40):
            status = send(**{**GOOD, "userId": f"u-{number}"}).status_code
            assert status == (400 if faults.rejects(f"u-{number}") else 200)
    assert 200 < sum(faults.rejects(f"u-{number}") for number in range(1000)) < 400


def test_calls_can_be_made_unsupported(windsor: Sandbox, send: Send) -> None:
    windsor.set_faults(Faults(unsupported_calls=frozenset({"screen"})))
    assert send(type="screen", userId="u-1").status_code == 501
    assert send(type="page", userId="u-1").status_code == 200


def test_faults_leave_the_wire_alone_and_not_the_pages(windsor: Sandbox, client: httpx.Client) -> None:
    windsor.set_faults(Faults(outage=Outage.RESET))
    assert client.get(f"{windsor.url}users").status_code == 200
    assert client.get(f"{windsor.url}api/stats").json()["requests"] == 0


def test_under_every_fault_at_once_windsor_knows_what_it_says_it_accepted(windsor: Sandbox) -> None:
    rates = {f"{fate}_rate": 0.1 for fate in Fate if fate is not Fate.NORMAL}
    windsor.set_faults(Faults.parse({"seed": 3, "latency_ms": [0, 2], "retry_after_s": 0, **rates}))

    async def deliver(session: aiohttp.ClientSession, number: int) -> None:
        message = {"type": "identify", "userId": f"u-{number}", "traits": {"vip": True}, "messageId": f"m-{number}"}
        delivered = False
        while not delivered:
            try:
                async with session.post(windsor.url, json=message) as answer:
                    await answer.read()
                    delivered = answer.status == 200
            except aiohttp.ClientError:
                continue

    async def deliver_all() -> None:
        async with aiohttp.ClientSession(headers=KEY, connector=aiohttp.TCPConnector(limit=32)) as session:
            await asyncio.gather(*(deliver(session, number) for number in range(300)))

    asyncio.run(deliver_all())
    stats = windsor.store.stats()
    assert windsor.store.values("vip") == {f"u-{number}": True for number in range(300)}
    assert stats["distinct_message_ids"] == 300
    assert stats["duplicates"] == stats["accepted"] - 300 > 0
    assert set(stats["answers"]) == {"200", "429", "500", "503", "reset", "lost", "garbage"}
    assert stats["requests"] == sum(stats["answers"].values())


def fates(faults: Faults, names: list[str]) -> dict[tuple[str, int], Any]:
    """Return how each try of each message goes, in this order of arrival."""
    injector, seen = Injector(faults), dict.fromkeys(names, 0)
    met = {}
    for name in names:
        seen[name] += 1
        met[name, seen[name]] = injector.next_try(name)
    return met


@given(st.integers(), st.permutations([f"m-{number % 10}" for number in range(30)]))
def test_the_same_messages_meet_the_same_faults_in_any_order(seed: int, names: list[str]) -> None:
    faults = Faults(seed=seed, busy_rate=0.3, lost_answer_rate=0.3, error_rate=0.2, latency_ms=(1, 50))
    assert fates(faults, names) == fates(faults, sorted(names))


@pytest.mark.parametrize("fate", [fate for fate in Fate if fate is not Fate.NORMAL])
def test_a_fault_hits_the_share_of_tries_that_was_asked_for(fate: Fate) -> None:
    injector = Injector(Faults.parse({f"{fate}_rate": 0.25}))
    met = [injector.next_try(f"m-{number}").fate for number in range(2000)]
    assert set(met) == {fate, Fate.NORMAL}
    assert 400 < met.count(fate) < 600


def test_latency_stays_between_its_bounds() -> None:
    injector = Injector(Faults(latency_ms=(10, 20)))
    waits = [injector.next_try(f"m-{number}").latency_s for number in range(500)]
    assert 0.010 <= min(waits) < 0.011
    assert 0.019 < max(waits) < 0.020


def test_faults_can_be_read_and_set_over_http(windsor: Sandbox, client: httpx.Client) -> None:
    answer = client.put(f"{windsor.url}api/faults", json={"busy_rate": 0.5, "outage": "reset"})
    assert answer.status_code == 200
    assert windsor.faults == Faults(busy_rate=0.5, outage=Outage.RESET)
    assert client.get(f"{windsor.url}api/faults").json() == answer.json() == windsor.faults.as_json()
    assert client.put(f"{windsor.url}api/faults", json={}).status_code == 200
    assert windsor.faults == Faults()


def test_faults_that_cannot_be_read_leave_those_in_force(windsor: Sandbox, client: httpx.Client) -> None:
    windsor.set_faults(Faults(busy_rate=0.5))
    answer = client.put(f"{windsor.url}api/faults", json={"busy_rate": 2})
    assert answer.status_code == 400
    assert "busy_rate" in answer.json()["message"]
    assert windsor.faults == Faults(busy_rate=0.5)


def test_every_mistake_in_faults_is_named_at_once() -> None:
    given = {"busy_rat": 0.1, "reset_rate": "often", "latency_ms": [20, 10], "outage": "sometimes", "seed": True}
    with pytest.raises(ConfigError) as raised:
        Faults.parse(given)
    text = str(raised.value)
    assert "busy_rat: no such fault; did you mean busy_rate?" in text
    assert 'reset_rate: found "often"; expected a number from 0 to 1' in text
    assert "latency_ms: found [20, 10]; expected two numbers" in text
    assert 'outage: found "sometimes"; expected one of none, reset, unavailable' in text
    assert "seed: found true; expected a whole number" in text


@pytest.mark.parametrize(
    "given",
    [
        "",
        "{",
        "[]",
        "7",
        b"\xff",
        {"busy_rate": 0.6, "reset_rate": 0.6},
        {"error_rate": float("nan")},
        {"error_statuses": []},
        {"error_statuses": [200]},
        {"error_statuses": [499]},
        {"revoked_status": 500},
        {"unsupported_calls": ["delete"]},
        {"unsupported_calls": [["page"]]},
        {"outage_requests": -1},
        {"revoked_after": 1.5},
        {"rejected_users": "u-1"},
        {"retry_after_s": -1},
    ],
    ids=repr,
)
def test_impossible_faults_are_a_config_error(given: Any) -> None:
    with pytest.raises(ConfigError):
        Faults.parse(given)


def test_impossible_faults_cannot_be_made_in_a_program_either() -> None:
    with pytest.raises(ConfigError):
        Faults(busy_rate=3)


def test_a_mistake_in_rejected_users_is_reported_without_them() -> None:
    with pytest.raises(ConfigError) as raised:
        Faults.parse({"rejected_users": ["ann@example.com", 5]})
    assert "ann@" not in str(raised.value)


@given(
    st.builds(
        Faults,
        seed=st.integers(),
        latency_ms=st.tuples(st.integers(0, 5), st.integers(5, 9)),
        busy_rate=SHARES,
        lost_answer_rate=SHARES,
        retry_after_s=st.none() | st.floats(0, 60),
        outage=st.sampled_from(Outage),
        outage_requests=st.none() | st.integers(0, 99),
        rejected_users=st.frozensets(st.text()),
        error_statuses=st.lists(st.sampled_from([404, 500, 503]), min_size=1).map(tuple),
        unsupported_calls=st.frozensets(st.sampled_from(["page", "screen"])),
    )
)
def test_faults_survive_json(faults: Faults) -> None:
    assert Faults.parse(json.dumps(faults.as_json())) == faults
