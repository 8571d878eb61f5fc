"""Over Windsor's own hook we look like Windsor's own library, and the token is in the path and nowhere else."""

import asyncio
import json
import logging
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.scripted import Reply, ScriptedWindsor, answer
from tests.delivery.test_transport import BROKEN
from tests.support.windsor import StartWindsor
from tests.support.world import World
from windsor_sync.delivery.protocols.windsor_hook import HookWire
from windsor_sync.delivery.transport import HttpTransport
from windsor_sync.delivery.verdicts import Answer
from windsor_sync.errors import LeaseLost
from windsor_sync.sandbox import Sandbox
from windsor_sync.segment.calls import MAX_MESSAGE_BYTES, encode

SECRET = "canary 4242/ü"
QUOTED = "canary%204242%2F%C3%BC"
MESSAGE = encode({"type": "identify", "userId": "u-1", "traits": {"vip": True}, "messageId": "m-1"})

# What windsor-node 1.0.0 puts around and into a message of its users, seen on the wire.
ENVELOPE_FIELDS = {"batch", "timestamp", "sentAt"}
ADDED_FIELDS = {"type", "context", "_metadata", "timestamp", "messageId"}
LIBRARY_HEADERS = {
    "accept": "application/json, text/plain, */*",
    "content-type": "application/json;charset=utf-8",
    "user-agent": "windsor-node/1.0.0",
    "connection": "keep-alive",
}
JAVASCRIPT_DATE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def said(**message: Any) -> dict[str, Any] | None:
    """A message in the hook's words."""
    found = HookWire("http://127.0.0.1/hook", "t").encoded(encode(message))
    return None if found is None else json.loads(found)


def test_a_request_is_what_windsors_own_library_sends() -> None:
    wire = HookWire("https://hook.windsor.io/", "token")
    event = encode({"type": "track", "anonymousId": "x", "event": "Seen", "messageId": "m-2"})
    bodies = [body for message in (MESSAGE, event) if (body := wire.encoded(message))]
    request = wire.request(bodies)
    assert (request.method, str(request.url)) == ("POST", "https://hook.windsor.io/token")
    sent = {"host": "hook.windsor.io", "content-length": str(len(request.content)), **LIBRARY_HEADERS}
    assert dict(request.headers) == sent  # these and no others, so no authorization
    envelope = json.loads(request.content)
    assert envelope.keys() == ENVELOPE_FIELDS
    assert re.fullmatch(JAVASCRIPT_DATE, envelope["sentAt"])
    assert envelope["timestamp"] == envelope["sentAt"]
    assert [message["type"] for message in envelope["batch"]] == ["user", "event"]
    for message in envelope["batch"]:
        assert message.keys() >= ADDED_FIELDS
        assert message["context"] == {"library": {"name": "windsor-node", "version": "1.0.0"}}
        assert re.fullmatch(r"\d+\.\d+\.\d+", message["_metadata"]["nodeVersion"])
        assert re.fullmatch(JAVASCRIPT_DATE, message["timestamp"])


def test_what_a_message_says_of_itself_wins() -> None:
    own = {
        "context": {"library": {"name": "analytics.js"}, "ip": "::1", "personas": {"computation_key": "vip"}},
        "_metadata": {"nodeVersion": "18.1.0", "more": 1},
        "timestamp": "2026-01-01T00:00:00.123456789Z",
        "messageId": "m-1",
    }
    got = said(type="track", userId="u-1", event="Seen", **own)
    assert got == {"type": "event", "userId": "u-1", "event": "Seen", **own}


def test_a_context_without_library_gets_the_librarys() -> None:
    got = said(type="identify", userId="u-1", context={"ip": "::1"})
    assert got is not None
    assert got["context"] == {"library": {"name": "windsor-node", "version": "1.0.0"}, "ip": "::1"}
    empty = said(type="identify", userId="u-1", context=None, _metadata=None)
    assert empty is not None
    assert empty["context"] == {"library": {"name": "windsor-node", "version": "1.0.0"}}
    assert empty["_metadata"] == got["_metadata"]


@pytest.mark.parametrize("call", ["page", "screen", "group", "alias", "user", "event", "IDENTIFY", None, ["track"]])
def test_for_any_other_call_it_has_no_words(call: object) -> None:
    assert said(type=call, userId="u-1", event="Seen", groupId="g", previousId="p") is None


@given(st.dictionaries(st.text(max_size=8), JSON_VALUES), st.sampled_from(["identify", "track"]))
def test_nothing_of_a_message_is_changed_but_its_type(fields: dict[str, Any], call: str) -> None:
    context = {"library": {"name": "a"}, "more": fields}
    message = {**fields, "type": call, "context": context, "_metadata": {"nodeVersion": "1"}, "timestamp": "2026-01-01"}
    assert said(**message) == {**message, "type": "user" if call == "identify" else "event"}


@given(st.text(min_size=1).filter(lambda token: token.strip(".")))
def test_any_token_is_one_segment_of_the_path(token: str) -> None:
    try:
        token.encode()
    except UnicodeEncodeError:
        return
    request = HookWire("http://127.0.0.1/a/hook/", token).request([b"{}"])
    path = request.url.raw_path.decode()
    assert path.startswith("/a/hook/")
    assert not set("/?#") & set(path.removeprefix("/a/hook/"))


def test_the_token_arrives_as_it_is(start_windsor: StartWindsor) -> None:
    windsor = start_windsor(api_key=SECRET)
    assert ask(HookWire(windsor.hook_url, SECRET)) == Answer(200)
    assert ask(HookWire(windsor.hook_url, SECRET + "x")).status == 401
    user = windsor.store.user("u-1")
    assert user is not None
    assert user.properties == {"vip": True}


def ask(wire: HookWire, permit: Callable[[], None] = lambda: None, timeout_s: float = 5) -> Answer:
    """The answer to one message."""

    async def run() -> Answer:
        asyncio.get_running_loop().set_debug(True)
        async with HttpTransport(connections=1, timeout_s=timeout_s) as transport:
            return await transport.send(wire.request([wire.encoded(MESSAGE) or b""]), permit)

    return asyncio.run(run())


def test_windsors_own_library_is_understood_as_a_client(windsor: Sandbox) -> None:
    """Two requests as windsor-node 1.0.0 sends them; the second one repeats the message still on its way."""
    user = (
        '{"userId":"7","traits":{"email":"a@example.com"},"type":"user","context":{"library":{"name":"windsor-node",'
        '"version":"1.0.0"}},"_metadata":{"nodeVersion":"20.20.2"},"timestamp":"2026-01-24T00:35:27.647Z",'
        '"messageId":"node-c5a1d7e2677ac283ed8f593528ed29c3-9cbda632-667d-43e6-a9ac-b79d9234550a"}'
    )
    event = (
        '{"anonymousId":"x","event":"Seen","properties":{"a":1.5},"context":{"library":{"name":"l"},"ip":"1.2.3.4"},'
        '"type":"event","_metadata":{"nodeVersion":"20.20.2"},"timestamp":"2026-01-24T00:35:27.648Z",'
        '"messageId":"node-7fd90cbeb85e0eeed2c94166b52e7219-7ef3f704-aed1-4a7e-b808-f9ae6d32a7b3"}'
    )
    for batch in (user, f"{user},{event}"):
        body = f'{{"batch":[{batch}],"timestamp":"2026-01-24T00:35:27.698Z","sentAt":"2026-01-24T00:35:27.698Z"}}'
        got = httpx.post(
            f"{windsor.hook_url}/{windsor.api_key}", content=body, headers=LIBRARY_HEADERS, trust_env=False
        )
        assert got.status_code == 200
    assert [accepted.call for accepted in windsor.store.accepted] == ["identify", "identify", "track"]
    assert windsor.store.values("email") == {"7": "a@example.com"}


def test_the_largest_message_that_segment_takes_fits_the_hook_with_what_is_added_to_it(windsor: Sandbox) -> None:
    message = {"type": "track", "userId": "u-1", "event": "Seen", "properties": {"text": ""}}
    message["properties"] = {"text": "x" * (MAX_MESSAGE_BYTES - len(encode(message)))}
    assert len(encode(message)) == MAX_MESSAGE_BYTES
    wire = HookWire(windsor.hook_url, windsor.api_key)
    request = wire.request([body for given in (encode(message), MESSAGE) if (body := wire.encoded(given))])
    got = httpx.post(request.url, content=request.content, headers=request.headers, trust_env=False)
    assert got.status_code == 200


# -- the token ---------------------------------------------------------------------------------------------------


def test_the_token_is_in_no_log_no_answer_and_no_repr(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("aiohttp", "aiohttp.client", "aiohttp.internal", "httpx", "httpcore", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    with ScriptedWindsor() as windsor:
        wire = HookWire(windsor.url, SECRET)
        seen: list[object] = [wire, wire.request([MESSAGE]), wire.request([MESSAGE]).headers]
        for reply in [*BROKEN.values(), Reply(), Reply(answer(401)), Reply(answer(400)), Reply(answer(200))]:
            windsor.script = lambda body, tries, reply=reply: reply  # type: ignore[misc]
            seen.append(ask(wire, timeout_s=0.1))
        seen.append(ask(HookWire(windsor.url.replace("http", "https"), SECRET), timeout_s=0.1))
    seen.append(ask(wire, timeout_s=0.1))  # nobody listens any more
    text = caplog.text + "".join(capfd.readouterr()) + "".join(f"{thing!r} {thing!s}" for thing in seen)
    assert not [secret for secret in (SECRET, QUOTED, "canary") if secret in text]


def test_an_error_that_escapes_carries_no_token() -> None:
    def refuse() -> None:
        raise LeaseLost("lost")

    with ScriptedWindsor() as windsor, pytest.raises(LeaseLost) as caught:
        ask(HookWire(windsor.url, SECRET), refuse)
    error: BaseException | None = caught.value
    while error is not None:
        assert "canary" not in f"{error!r} {error!s}"
        error = error.__cause__ or error.__context__


# -- from windsor.yaml to Windsor --------------------------------------------------------------------------------


def test_an_audience_is_synced_over_the_hook(make_world: Callable[..., World]) -> None:
    world = make_world(wire="windsor_hook")
    world.destination["url"] = world.windsor.hook_url
    world.snapshot([f"u-{number}" for number in range(50)])
    world.sync()
    assert world.members_shown() == {f"u-{number}" for number in range(50)}
    world.snapshot([f"u-{number}" for number in range(1, 50)])
    world.sync()
    assert world.shown()["u-0"] is False
    assert world.sent == 51
    world.sync()
    assert world.sent == 51
    assert world.windsor.store.stats()["requests"] < 10
