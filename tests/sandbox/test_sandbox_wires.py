"""What Windsor answers on its two wires."""

import asyncio
import json
from typing import Any

import aiohttp
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.windsor import Send, StartWindsor
from windsor_sync.sandbox import Sandbox
from windsor_sync.sandbox.messages import MAX_BATCH_BYTES, MAX_MESSAGE_BYTES, RefusedMessage, read_batch, read_message

KEY = {"Authorization": "Basic c2FuZGJveDo="}  # sandbox:
GOOD: dict[str, Any] = {"type": "identify", "userId": "u-1", "traits": {"vip": True}, "messageId": "m-1"}

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["type", "userId", "anonymousId", "messageId", "timestamp", "traits", "event", "groupId", "previousId", "name"]
CALLS = ["identify", "track", "page", "screen", "group", "alias", "user", "event"]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "identify", "userId": "u-1"},
        {"type": "identify", "anonymousId": "x", "userId": None, "traits": None},
        {"type": "track", "userId": "u-1", "event": "Seen", "properties": {"a": [1, {"b": None}]}},
        {"type": "page", "userId": "u-1"},
        {"type": "screen", "userId": "u-1", "name": "Home"},
        {"type": "group", "userId": "u-1", "groupId": "g-1", "traits": {"plan": "pro"}},
        {"type": "alias", "userId": "u-1", "previousId": "x"},
        {**GOOD, "timestamp": "2025-06-01T08:30:00.123456789Z", "sentAt": None, "context": {"ip": "::1"}},
    ],
)
def test_each_of_the_six_calls_is_accepted_and_applied(windsor: Sandbox, send: Send, message: dict[str, Any]) -> None:
    assert send(**message).status_code == 200
    assert [accepted.call for accepted in windsor.store.accepted] == [message["type"]]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"type": None}, "type"),
        ({"type": ["identify"]}, "type"),
        ({"userId": None}, "userId or anonymousId"),
        ({"userId": ""}, "userId or anonymousId"),
        ({"userId": 7}, "userId"),
        ({"anonymousId": 7}, "anonymousId"),
        ({"traits": []}, "traits"),
        ({"traits": "vip"}, "traits"),
        ({"messageId": 5}, "messageId"),
        ({"messageId": "m" * 101}, "messageId"),
        ({"timestamp": 1748766600}, "timestamp"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"type": "track"}, "event"),
        ({"type": "track", "event": ""}, "event"),
        ({"type": "track", "event": "Seen", "properties": []}, "properties"),
        ({"type": "page", "name": 3}, "name"),
        ({"type": "screen", "category": {}}, "category"),
        ({"type": "group"}, "groupId"),
        ({"type": "group", "groupId": 4}, "groupId"),
        ({"type": "alias"}, "previousId"),
        ({"type": "alias", "previousId": "x", "userId": None, "anonymousId": "y"}, "userId"),
    ],
)
def test_a_malformed_message_is_a_400_that_names_the_field_and_is_not_applied(
    windsor: Sandbox, send: Send, changed: dict[str, Any], named: str
) -> None:
    answer = send(**{**GOOD, **changed})
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(named)
    assert windsor.store.accepted == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"identify"',
        b"{",
        b'{"type":"identify","userId":"\xff"}',
        b'{"type":"identify","userId":"u-1","traits":{"n":NaN}}',
        b'{"type":"identify","userId":"u-1","traits":{"n":-Infinity}}',
        json.dumps(GOOD).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
        b'{"a":' + b"[" * 20_000 + b"]" * 0,
        b'{"n":' + b"9" * 5000 + b"}",
    ],
    ids=repr,
)
def test_a_body_that_is_no_json_object_in_utf_8_is_a_400(windsor: Sandbox, client: httpx.Client, body: bytes) -> None:
    answer = client.post(windsor.url, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert set(answer.json()) == {"message"}


def test_a_body_that_does_not_call_itself_json_is_a_400(windsor: Sandbox, client: httpx.Client) -> None:
    assert client.post(windsor.url, content=json.dumps(GOOD)).status_code == 400
    assert client.post(windsor.url, data=GOOD).status_code == 400


def test_any_character_arrives_as_it_was_sent(windsor: Sandbox, client: httpx.Client) -> None:
    nasty = 'NUL \0, quote ", newline \n, emoji 🦊, \u2028, 名前, \N{COMBINING ACUTE ACCENT}'
    message = {"type": "identify", "userId": nasty, "traits": {nasty: nasty}}
    body = json.dumps(message, ensure_ascii=False).encode()
    assert client.post(windsor.url, content=body, headers={"Content-Type": "application/json"}).status_code == 200
    assert windsor.store.values(nasty) == {nasty: nasty}


def test_half_a_surrogate_pair_is_json_and_breaks_nothing(windsor: Sandbox, client: httpx.Client) -> None:
    body = b'{"type":"track","userId":"\\ud83e","event":"\\udd8a","properties":{"email":"\\ud800"}}'
    assert client.post(windsor.url, content=body, headers={"Content-Type": "application/json"}).status_code == 200
    for page in ("", "users", "feed", "api/users", "api/feed", "api/messages"):
        assert client.get(windsor.url + page).status_code == 200


@pytest.mark.parametrize("call", ["delete", "user", "event", "IDENTIFY", "", "x" * 300])
def test_a_call_windsor_does_not_have_is_a_501(windsor: Sandbox, send: Send, call: str) -> None:
    assert send(**{**GOOD, "type": call}).status_code == 501
    assert windsor.store.accepted == []


def test_a_message_must_be_smaller_than_32_kb(windsor: Sandbox, client: httpx.Client) -> None:
    def post(size: int) -> int:
        body = json.dumps({**GOOD, "traits": {"text": ""}}).encode()
        body = body.replace(b'""', b'"' + b"x" * (size - len(body)) + b'"')
        assert len(body) == size
        return client.post(windsor.url, content=body, headers={"Content-Type": "application/json"}).status_code

    assert post(MAX_MESSAGE_BYTES) == 200
    assert post(MAX_MESSAGE_BYTES + 1) == 413
    assert post(MAX_BATCH_BYTES + 1) == 413
    assert len(windsor.store.accepted) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Basic"},
        {"Authorization": "Basic c2FuZGJveA=="},  # sandbox, without the colon
        {"Authorization": "Basic c2FuZGJveDpzYW5kYm94"},  # sandbox:sandbox
        {"Authorization": "Basic d3Jvbmc6"},  # wrong:
        {"Authorization": "Basic !c2FuZGJveDo="},
        {"Authorization": "Bearer c2FuZGJveDo="},
        {"Authorization": "Bearer sandbox"},
    ],
    ids=str,
)
def test_a_missing_or_wrong_key_is_a_401(windsor: Sandbox, headers: dict[str, str]) -> None:
    answer = httpx.post(windsor.url, json=GOOD, headers=headers, trust_env=False)
    assert answer.status_code == 401
    assert set(answer.json()) == {"message"}
    assert windsor.store.accepted == []


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_the_key_is_the_user_of_basic_authentication_without_a_password(windsor: Sandbox, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} c2FuZGJveDo="}
    assert httpx.post(windsor.url, json=GOOD, headers=headers, trust_env=False).status_code == 200


def test_a_key_may_hold_any_character(start_windsor: StartWindsor) -> None:
    windsor = start_windsor(api_key="k/ey ü%2F?")
    assert httpx.post(windsor.url, json=GOOD, auth=("k/ey ü%2F?", ""), trust_env=False).status_code == 200
    hook = f"{windsor.hook_url}/k%2Fey%20%C3%BC%252F%3F"
    batch = {"batch": [{"type": "user", "userId": "u-1"}]}
    assert httpx.post(hook, json=batch, trust_env=False).status_code == 200


def test_segment_may_post_to_any_path_that_is_not_taken(windsor: Sandbox, client: httpx.Client) -> None:
    assert client.post(f"{windsor.url}segment/v1", json=GOOD).status_code == 200
    assert client.post(f"{windsor.url}hooks", json=GOOD).status_code == 200
    for taken in ("api/nothing", "users", "users/u-1", "feed", "hook"):
        assert client.post(windsor.url + taken, json=GOOD).status_code in {404, 405}
    assert len(windsor.store.accepted) == 2


def test_the_hook_takes_users_and_events_in_order(windsor: Sandbox) -> None:
    batch = [
        {"type": "user", "userId": "u-1", "traits": {"vip": True}, "messageId": "m-1"},
        {"type": "event", "userId": "u-1", "event": "Signed Up", "messageId": "m-2"},
    ] * 30
    envelope = {"batch": batch, "timestamp": "2025-06-01T00:00:00Z", "sentAt": "2025-06-01T00:00:00Z"}
    assert httpx.post(f"{windsor.hook_url}/sandbox", json=envelope, trust_env=False).status_code == 200
    assert [message.call for message in windsor.store.accepted] == ["identify", "track"] * 30
    user = windsor.store.user("u-1")
    assert user is not None
    assert user.properties == {"vip": True}
    assert [event.name for event in user.events] == ["Signed Up"]


@pytest.mark.parametrize(
    ("batch", "status"),
    [
        ([{"type": "user", "userId": "u-1"}, {"type": "page", "userId": "u-1"}], 501),
        ([{"type": "user", "userId": "u-1"}, {"type": "identify", "userId": "u-1"}], 501),
        ([{"type": "user", "userId": "u-1"}, {"type": "event", "userId": "u-1"}], 400),
        ([{"type": "user", "userId": "u-1"}, {"type": "user"}], 400),
        ([{"type": "user", "userId": "u-1"}, "user"], 400),
        ([{"type": "user", "userId": "u-1"}, {"type": "user", "userId": "u", "traits": {"a": "x" * 34_000}}], 413),
        ([{"type": "user", "userId": "u-1", "traits": {"a": "x" * 30_000}}] * 20, 413),
        ([], 400),
        ({}, 400),
        (None, 400),
    ],
)
def test_a_batch_is_taken_as_a_whole_or_not_at_all(windsor: Sandbox, batch: object, status: int) -> None:
    answer = httpx.post(f"{windsor.hook_url}/sandbox", json={"batch": batch}, trust_env=False)
    assert answer.status_code == status
    assert windsor.store.accepted == []


def test_what_windsors_own_library_adds_to_a_message_does_not_count_against_its_size(windsor: Sandbox) -> None:
    """It refuses what has 32 KB as its user gave it, and puts the rest in afterwards."""

    def post(size: int) -> int:
        given = {"userId": "u-1", "event": "Seen", "properties": {"text": ""}}
        room = size - len(json.dumps(given, separators=(",", ":")))
        added = {
            "type": "event",
            "context": {"library": {"name": "windsor-node", "version": "1.0.0"}},
            "_metadata": {"nodeVersion": "20.20.2"},
            "timestamp": "2026-01-24T00:35:27.648Z",
            "messageId": f"node-{'0' * 32}-{'0' * 36}",
        }
        large = {**given, "properties": {"text": "x" * room}, **added}
        batch = [large, {"type": "user", "userId": "u-1"}]
        return httpx.post(f"{windsor.hook_url}/sandbox", json={"batch": batch}, trust_env=False).status_code

    assert post(MAX_MESSAGE_BYTES) == 200
    assert post(MAX_MESSAGE_BYTES + 1_000) == 413


def test_a_wrong_token_is_a_401(windsor: Sandbox) -> None:
    batch = {"batch": [{"type": "user", "userId": "u-1"}]}
    assert httpx.post(f"{windsor.hook_url}/wrong", json=batch, trust_env=False).status_code == 401
    assert windsor.store.accepted == []


def test_thousands_of_messages_at_once_are_all_counted(windsor: Sandbox) -> None:
    total = 3000

    async def post(session: aiohttp.ClientSession, number: int) -> int:
        message = {**GOOD, "userId": f"u-{number}", "messageId": f"m-{number}"}
        async with session.post(windsor.url, json=message) as answer:
            await answer.read()
            return answer.status

    async def post_all() -> list[int]:
        limit = aiohttp.TCPConnector(limit=64)
        async with aiohttp.ClientSession(headers=KEY, connector=limit) as session:
            return await asyncio.gather(*(post(session, number) for number in range(total)))

    assert set(asyncio.run(post_all())) == {200}
    stats = windsor.store.stats()
    assert stats["users"] == stats["accepted"] == stats["distinct_message_ids"] == stats["requests"] == total
    assert stats["answers"] == {"200": total}
    assert stats["in_flight"] == 0
    assert 1 <= stats["most_in_flight"] <= 64


@given(st.binary(max_size=200) | JSON_VALUES.map(json.dumps).map(str.encode))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    for read in (read_message, read_batch):
        with pytest.raises(RefusedMessage):
            read(body)


@given(st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(CALLS) | JSON_VALUES))
def test_any_message_is_taken_or_refused(message: dict[str, Any]) -> None:
    met = set()
    for read, body in ((read_message, message), (read_batch, {"batch": [message]})):
        try:
            read(json.dumps(body).encode())
        except RefusedMessage as refusal:
            met.add(refusal.status)
    assert met <= {400, 413, 501}
