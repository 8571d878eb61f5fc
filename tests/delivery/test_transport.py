"""Whatever the network or a stranger in Windsor's place does becomes an answer that says whether doubt remains."""

import asyncio
import gzip
import logging
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.delivery.scripted import Reply, ScriptedWindsor, answer
from tests.support.certificates import Authority
from tests.support.ports import nobody_at
from windsor_sync.delivery.protocols.segment_webhook import WebhookWire
from windsor_sync.delivery.transport import HttpTransport
from windsor_sync.delivery.verdicts import Answer, Decision, decide, may_have_been_applied
from windsor_sync.errors import LeaseLost
from windsor_sync.http.locations import shown_location

BODY = b'{"type": "identify"}'


@pytest.fixture
def scripted() -> Iterator[ScriptedWindsor]:
    with ScriptedWindsor() as windsor:
        yield windsor


def ask(url: str, *bodies: bytes, timeout_s: float = 5, permit: Callable[[], None] = lambda: None) -> list[Answer]:
    """The answers to some requests, one after the other over the same connections."""

    async def run() -> list[Answer]:
        wire = WebhookWire(url, "key")
        async with HttpTransport(connections=1, timeout_s=timeout_s) as transport:
            answers = []
            for body in bodies:
                answers.append(await transport.send(wire.request([body]), permit))
                await asyncio.sleep(0.05 if len(bodies) > 1 else 0)
            return answers

    return asyncio.run(run())


def test_connections_are_kept_open_between_requests(scripted: ScriptedWindsor) -> None:
    assert [one.status for one in ask(scripted.url, b"1", b"2", b"3")] == [200, 200, 200]
    assert scripted.connections == 1


def test_the_request_carries_the_key_as_the_basic_user_and_the_message_as_it_is(scripted: ScriptedWindsor) -> None:
    request = WebhookWire(scripted.url, "key").request([BODY])
    assert (request.method, request.headers["Authorization"]) == ("POST", "Basic a2V5Og==")
    ask(scripted.url, BODY)
    assert scripted.bodies == [BODY]


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (answer(200, b""), 200),
        (answer(200, b"OK", kind="text/html"), 200),  # what a bare Express says
        (answer(202, b"<xml/>", kind="text/xml"), 202),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 200),
        (answer(200, gzip.compress(b"{}"), "Content-Encoding: gzip"), 200),
        (answer(200, b"x" * 5_000_000), 200),
    ],
)
def test_any_2xx_that_is_not_a_page_is_a_yes(scripted: ScriptedWindsor, reply: bytes, status: int) -> None:
    scripted.script = lambda body, tries: reply
    assert ask(scripted.url, BODY) == [Answer(status)]


@pytest.mark.parametrize(
    "reply",
    [
        answer(200, b"<!doctype html><title>Log in</title>", kind="text/html; charset=utf-8"),
        answer(200, b"\xef\xbb\xbf \r\n<HTML>", kind="Text/HTML"),
        answer(200, gzip.compress(b"<html>"), "Content-Encoding: gzip", kind="application/xhtml+xml"),
        answer(200, gzip.compress(b"a few bytes"), "Content-Encoding: gzip, gzip", kind="text/plain"),
    ],
)
def test_a_web_page_is_no_yes_and_leaves_doubt(scripted: ScriptedWindsor, reply: bytes) -> None:
    scripted.script = lambda body, tries: reply
    (got,) = ask(scripted.url, BODY)
    assert (decide(got), may_have_been_applied(got)) == (Decision.RETRY, True)


BROKEN = {
    "reset after the request": Reply(closes=True),
    "end in the middle of the head": Reply(b"HTTP/1.1 200 OK\r\nConte", closes=True),
    "end in the middle of the body": Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", closes=True),
    "not HTTP": Reply(b"\x15\x03\x01 hello\r\n\r\n"),
    "another protocol": Reply(b"220 mail.example ESMTP\r\n", closes=True),
    "a head without end": Reply(b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 100_000),
    "a switch to another protocol": Reply(
        b"HTTP/1.1 101 Whatever\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    ),
    "a length that is none": Reply(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}"),
    "trailers without an end": Reply(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 200_000
    ),
    "half of a large body": Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000, closes=True),
    "broken chunks": Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
}


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN)
def test_an_answer_that_cannot_be_read_leaves_doubt(scripted: ScriptedWindsor, reply: Reply) -> None:
    scripted.script = lambda body, tries: reply
    (got,) = ask(scripted.url, BODY)
    assert (got.status, decide(got), may_have_been_applied(got)) == (0, Decision.RETRY, True)
    assert got.message != "time-out"  # known at once, and not only when retry policy ends


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=200),
    head=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 ", b"HTTP/1.1 429 x\r\nRetry-After: "]),
)
def test_no_bytes_make_it_raise(scripted: ScriptedWindsor, data: bytes, head: bytes) -> None:
    scripted.script = lambda body, tries: Reply(head + data, closes=True)
    (got,) = ask(scripted.url, BODY)
    assert isinstance(decide(got), Decision)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
def test_silence_becomes_a_time_out_that_leaves_doubt(scripted: ScriptedWindsor, sent: bytes) -> None:
    scripted.script = lambda body, tries: sent
    (got,) = ask(scripted.url, BODY, timeout_s=0.1)
    assert (got.message, may_have_been_applied(got)) == ("time-out", True)


def test_an_answer_that_drips_for_ever_ends_too() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.02)

    async def run() -> Answer:
        async with await asyncio.start_server(drip, "127.0.0.1") as server:
            port = server.sockets[0].getsockname()[1]
            async with HttpTransport(connections=1, timeout_s=0.1) as transport:
                wire = WebhookWire(f"http://127.0.0.1:{port}/", "key")
                return await transport.send(wire.request([BODY]), lambda: None)

    got = asyncio.run(run())
    assert (got.message, may_have_been_applied(got)) == ("time-out", True)


def test_what_never_left_leaves_no_doubt(scripted: ScriptedWindsor, monkeypatch: pytest.MonkeyPatch) -> None:
    with nobody_at() as port:
        (refused,) = ask(f"http://127.0.0.1:{port}/", BODY)
    (no_tls,) = ask(scripted.url.replace("http", "https"), BODY, timeout_s=0.1)

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    (no_name,) = ask("http://windsor.invalid/", BODY)
    for got in (refused, no_tls, no_name):
        assert (got.status, decide(got), may_have_been_applied(got)) == (0, Decision.RETRY, False)
    assert (refused.message, no_name.message) == ("connection refused", "the host is not known")
    assert scripted.bodies == []


def test_over_tls_nothing_leaves_before_the_certificate_is_found_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    with ScriptedWindsor(tls=authority.serves("127.0.0.1")) as windsor:
        (unknown,) = ask(windsor.url, BODY)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
        (another,) = ask(windsor.url.replace("127.0.0.1", "localhost"), BODY)  # trusted, but not under this name
        assert unknown == another == Answer(0, message="no trusted TLS connection", was_sent=False)
        assert windsor.bodies == []
        assert ask(windsor.url, BODY) == [Answer(200)]
        assert windsor.bodies == [BODY]


@pytest.mark.parametrize(
    "extra",
    [
        Reply(answer(200), afterwards=answer(200)),
        Reply(answer(200) + answer(200)),
        Reply(answer(200) + b"HTTP/1.1 200 OK\r\n"),
    ],
    ids=["a moment later", "right behind it", "half of one right behind it"],
)
def test_an_answer_nobody_asked_for_is_not_taken_for_the_next_request(scripted: ScriptedWindsor, extra: Reply) -> None:
    scripted.script = lambda body, tries: extra if body == b"1" else answer(400, b'{"message": "no"}')
    first, second, third = ask(scripted.url, b"1", b"2", b"3")
    assert (first.status, third.status) == (200, 400)
    assert second == Answer(0, message="an answer without a request", was_sent=False)
    assert scripted.bodies == [b"1", b"3"]


def test_an_answer_that_waits_unread_is_not_taken_for_the_next_request(scripted: ScriptedWindsor) -> None:
    """The event loop has not looked at the connection since it came."""
    first = Reply(answer(200), afterwards=answer(200))
    scripted.script = lambda body, tries: first if body == b"1" else answer(400, b'{"message": "no"}')

    async def run() -> list[Answer]:
        wire = WebhookWire(scripted.url, "scripted")
        async with HttpTransport(connections=1, timeout_s=5) as transport:
            answers = [await transport.send(wire.request([b"1"]), lambda: None)]
            time.sleep(0.2)  # noqa: ASYNC251
            return [*answers, await transport.send(wire.request([b"2"]), lambda: None)]

    assert [got.status for got in asyncio.run(run())] == [200, 0]


def test_a_compressed_answer_is_not_asked_for_and_not_undone(scripted: ScriptedWindsor) -> None:
    bomb = gzip.compress(b'{"message": "' + b"a" * 50_000_000 + b'"}')
    scripted.script = lambda body, tries: answer(400, bomb, "Content-Encoding: gzip")
    tracemalloc.start()
    try:
        assert ask(scripted.url, BODY) == [Answer(400)]
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_body_that_ends_with_its_connection_is_read_to_its_end(scripted: ScriptedWindsor) -> None:
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\r\n"
    scripted.script = lambda body, tries: Reply(head + b'{"message": "no"}', closes=True)
    assert ask(scripted.url, BODY) == [Answer(400, message="no")]


def test_an_interim_answer_is_not_the_answer(scripted: ScriptedWindsor) -> None:
    scripted.script = lambda body, tries: b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" + answer(202)
    assert ask(scripted.url, BODY, BODY) == [Answer(202), Answer(202)]
    assert scripted.connections == 1


def test_a_connection_that_was_closed_while_it_rested_is_not_used_again(scripted: ScriptedWindsor) -> None:
    scripted.script = lambda body, tries: Reply(answer(200), closes=True)
    assert ask(scripted.url, BODY, BODY) == [Answer(200), Answer(200)]
    assert scripted.connections == 2


def test_a_request_that_is_cancelled_leaves_no_answer_behind_for_the_next(scripted: ScriptedWindsor) -> None:
    async def run() -> Answer:
        wire, loop, has_come = WebhookWire(scripted.url, "key"), asyncio.get_running_loop(), asyncio.Event()

        def late(body: bytes, tries: int) -> Reply:
            loop.call_soon_threadsafe(has_come.set)
            return Reply(afterwards=answer(200))

        async with HttpTransport(connections=1, timeout_s=5) as transport:
            scripted.script = late
            first = asyncio.create_task(transport.send(wire.request([b"1"]), lambda: None))
            await has_come.wait()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            scripted.script = lambda body, tries: answer(400, b'{"message": "no"}')
            return await transport.send(wire.request([b"2"]), lambda: None)

    assert asyncio.run(run()) == Answer(400, message="no")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(scripted: ScriptedWindsor, status: int) -> None:
    scripted.script = lambda body, tries: answer(status, b"", f"Location: {scripted.url}elsewhere")
    (got,) = ask(scripted.url, BODY)
    assert (got.status, decide(got), len(scripted.bodies)) == (status, Decision.STOP, 1)
    assert got.location == f"{scripted.url}elsewhere"


def test_where_a_redirect_points_to_is_shown_without_what_may_be_secret() -> None:
    assert shown_location("https://user:secret@windsor.example/hook/?key=secret") == "https://windsor.example/hook/"
    assert shown_location("https://windsor.example/hook/0123456789abcdef0123/") == "https://windsor.example/hook/…/"
    assert shown_location("/elsewhere") == "/elsewhere"
    assert shown_location("/in/", "https://windsor.example/hook/token") == "https://windsor.example/in/"
    assert shown_location("//www.windsor.example/", "https://windsor.example/") == "https://www.windsor.example/"
    assert [shown_location(odd) for odd in (None, "", "http://[", "https://a\x1b[2J/")] == [None] * 4


def test_a_refusal_keeps_windsors_words_and_its_wait(scripted: ScriptedWindsor) -> None:
    scripted.script = lambda body, tries: answer(429, b'{"message": "slower, please"}', "Retry-After: 7")
    assert ask(scripted.url, BODY) == [Answer(429, 7.0, "slower, please")]


@pytest.mark.parametrize("body", [b"[" * 60_000, b'"text"', b"\xff\xfe", b"x" * 200_000, b'{"message": 5}'])
def test_a_refusal_without_readable_words_is_still_a_refusal(scripted: ScriptedWindsor, body: bytes) -> None:
    scripted.script = lambda request, tries: answer(400, body)
    assert ask(scripted.url, BODY) == [Answer(400)]


def test_a_request_that_may_no_longer_leave_does_not_write_a_byte(scripted: ScriptedWindsor) -> None:
    def refuse() -> None:
        raise LeaseLost("lost")

    with pytest.raises(LeaseLost):
        ask(scripted.url, BODY, permit=refuse)
    assert scripted.bodies == []


# -- secrets -------------------------------------------------------------------------------------------------

SECRET = "canary-4242"


def test_the_key_is_in_no_log_no_answer_and_no_repr(
    scripted: ScriptedWindsor, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    wire = WebhookWire(scripted.url, SECRET)
    request = wire.request([BODY])
    hidden = [SECRET, request.headers["Authorization"].split()[1]]
    seen: list[object] = [wire, request, request.headers, HttpTransport]

    async def run() -> None:
        asyncio.get_running_loop().set_debug(True)
        async with HttpTransport(connections=2, timeout_s=0.1) as transport:
            seen.append(transport)
            for reply in [*BROKEN.values(), Reply(), Reply(answer(401)), Reply(answer(200))]:
                scripted.script = lambda body, tries, reply=reply: reply  # type: ignore[misc]
                seen.append(await transport.send(wire.request([BODY]), lambda: None))
            elsewhere = WebhookWire(scripted.url.replace("http", "https"), SECRET)
            seen.append(await transport.send(elsewhere.request([BODY]), lambda: None))

    asyncio.run(run())
    text = caplog.text + "".join(capfd.readouterr()) + "".join(f"{thing!r} {thing!s}" for thing in seen)
    assert not [secret for secret in hidden if secret in text]


def test_an_error_that_escapes_carries_no_key(scripted: ScriptedWindsor) -> None:
    def refuse() -> None:
        raise LeaseLost("lost")

    wire = WebhookWire(scripted.url, SECRET)

    async def run() -> None:
        async with HttpTransport(connections=2, timeout_s=1) as transport:
            await transport.send(wire.request([BODY]), refuse)

    with pytest.raises(LeaseLost) as caught:
        asyncio.run(run())
    chain, error = [], caught.value
    while error is not None:
        chain.append(f"{error!r} {error!s}")
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    hidden = [SECRET, wire.request([b""]).headers["Authorization"].split()[1]]
    assert not [secret for secret in hidden if secret in "".join(chain)]
    assert isinstance(wire.request([b""]), httpx.Request)
