"""What a stranger in Windsor's place answers: no yes that is not whole and this request's own, no answer without an end."""

import asyncio
import socket
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.delivery.line import Line, MemoryJournal, pending_row
from tests.delivery.scripted import Reply, ScriptedWindsor, answer
from tests.support.certificates import Authority
from windsor_sync.delivery.protocols.segment_webhook import WebhookWire
from windsor_sync.delivery.transport import HttpTransport
from windsor_sync.delivery.verdicts import Answer, Decision, decide, may_have_been_applied

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

BODY = b'{"type": "identify"}'
LARGE = b'"' + b"x" * 30_000_000 + b'"'
"""More than lies in the buffers of a connection."""


@asynccontextmanager
async def stranger(handler: Handler) -> AsyncIterator[str]:
    """Somebody in Windsor's place who is written to and answers as the handler does, until the test has what it needs."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", limit=1 << 26)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


def asked(handler: Handler, *bodies: bytes, timeout_s: float = 0.3) -> list[Answer]:
    """The answers to requests, one after the other over the same connections."""

    async def run() -> list[Answer]:
        async with stranger(handler) as url, HttpTransport(connections=1, timeout_s=timeout_s) as transport:
            wire = WebhookWire(url, "key")
            return [await transport.send(wire.request([body]), lambda: None) for body in bodies]

    return asyncio.run(run())


async def request_of(reader: asyncio.StreamReader) -> bytes:
    """Read one request."""
    head = await reader.readuntil(b"\r\n\r\n")
    return await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))


def sends_for_ever(head: bytes, part: bytes, pause_s: float = 0.0) -> Handler:
    """Answer with a head and then with the same part, again and again."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(head)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return handle


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "header": (OK, b"X: y\r\n"),
    "line of a head": (OK, b"x" * 1000),
    "reason": (b"HTTP/1.1 200 ", b"OK " * 300),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
    "body with a length": (OK + b"Content-Length: 99999999999\r\n\r\n", b"x" * 65_536),
    "body without a length": (OK + b"\r\n", b"x" * 65_536),
    "chunks": (CHUNKED, b"10000\r\n" + b"x" * 65_536 + b"\r\n"),
    "chunks of one byte": (CHUNKED, b"1\r\nx\r\n" * 1000),
    "extension of a chunk": (CHUNKED + b"1;", b"x" * 1000),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n" * 1000),
    "a refusal's head": (b"HTTP/1.1 400 No\r\n", b"X: y\r\n" * 100),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_comes_without_an_end_is_left_after_some_bytes(kind: str) -> None:
    tracemalloc.start()
    try:
        began = time.monotonic()
        (got,) = asked(sends_for_ever(*ENDLESS[kind]), BODY, timeout_s=10)
        assert (got.status, may_have_been_applied(got), got.message != "time-out") == (0, True, True)
        assert time.monotonic() - began < 5
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_drips_ends_with_the_time_of_the_whole_answer(kind: str) -> None:
    head, part = ENDLESS[kind]
    whole = head + part * 2
    drops = iter(range(len(whole)))

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        for place in drops:
            writer.write(whole[place : place + 1])
            await asyncio.sleep(0.02)

    began = time.monotonic()
    (got,) = asked(handle, BODY, timeout_s=0.1)
    assert (got.message, may_have_been_applied(got)) == ("time-out", True)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", [200, 400])
def test_a_yes_that_comes_before_its_request_was_written_is_none(status: int) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer(status))
        await writer.drain()
        await asyncio.sleep(5)

    got, after = asked(handle, LARGE, BODY, timeout_s=2)
    if status == 200:
        assert (got.status, decide(got), may_have_been_applied(got)) == (0, Decision.RETRY, True)
    else:
        assert got.status == 400  # "too large" may be said early; the connection is not used again
    assert after.status == status


def test_who_reads_nothing_and_says_nothing_is_left_in_time() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    began = time.monotonic()
    (got,) = asked(handle, LARGE, timeout_s=0.2)
    assert (got.message, may_have_been_applied(got)) == ("time-out", True)
    assert time.monotonic() - began < 4


QUITE_RIGHT = {
    "nothing to say, then closed": Reply(b"HTTP/1.1 204 No Content\r\n\r\n", closes=True),
    "a long refusal": Reply(b"HTTP/1.1 400 No\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000),
    "a long refusal in chunks": Reply(
        b"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"8000\r\n" + b"x" * 32_768 + b"\r\n") * 4
        + b"0\r\n\r\n"
    ),
    "a refusal that ends with its connection": Reply(b"HTTP/1.1 400 No\r\n\r\nno", closes=True),
    "trailers": Reply(CHUNKED + b"2\r\nok\r\n0\r\nX: y\r\n\r\n"),
}


@pytest.mark.parametrize("kind", QUITE_RIGHT)
def test_an_answer_that_is_long_or_ends_its_connection_puts_nothing_in_doubt(kind: str) -> None:
    doubts: list[Answer] = []

    async def run(url: str) -> None:
        async with HttpTransport(connections=1, timeout_s=5) as transport:
            wire = WebhookWire(url, "key")
            for _ in range(3):
                got = await transport.send(wire.request([BODY]), lambda: None)
                assert got.hearing is not None
                got.hearing.heard(lambda got=got: doubts.append(got))  # type: ignore[misc]
                await asyncio.sleep(0.02)
            await transport.overhear()

    with ScriptedWindsor(lambda body, tries: QUITE_RIGHT[kind]) as windsor:
        asyncio.run(run(windsor.url))
        assert len(windsor.bodies) == 3
    assert doubts == []


TOO_MANY = {
    "a whole answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "half of one": b"HTTP/1.1 2",
    "one byte": b"H",
    "no HTTP": b"\x00\xff",
    "more body than its length": b"{}",
}


@pytest.mark.parametrize("is_later", [False, True], ids=["at once", "a moment later"])
@pytest.mark.parametrize("kind", TOO_MANY)
def test_bytes_too_many_put_every_verdict_of_the_connection_in_doubt(kind: str, is_later: bool) -> None:
    doubts: list[int] = []
    extra = TOO_MANY[kind]

    def script(body: bytes, tries: int) -> Reply:
        if body != b"3":
            return Reply(answer(200))
        return Reply(answer(200), afterwards=extra) if is_later else Reply(answer(200) + extra)

    async def run(url: str) -> None:
        async with HttpTransport(connections=1, timeout_s=5) as transport:
            wire = WebhookWire(url, "key")
            for place in (1, 2, 3):
                got = await transport.send(wire.request([b"%d" % place]), lambda: None)
                assert got.hearing is not None
                got.hearing.heard(lambda place=place: doubts.append(place))  # type: ignore[misc]
            await asyncio.sleep(0.05)
            await transport.overhear()

    with ScriptedWindsor(script) as windsor:
        asyncio.run(run(windsor.url))
    assert doubts == [1, 2, 3]


@pytest.mark.parametrize("is_cut", [True, False], ids=["cut", "ended"])
@pytest.mark.parametrize("status", [200, 400])
def test_over_tls_a_body_without_a_length_ends_only_where_the_other_side_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_cut: bool, status: int
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    context = authority.serves("127.0.0.1")

    def serve(listener: socket.socket) -> None:
        connection = context.wrap_socket(listener.accept()[0], server_side=True)
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 %d Whatever\r\n\r\n{}" % status)
        if is_cut:
            socket.socket(fileno=connection.detach()).close()  # the TCP connection ends, TLS says nothing
        else:
            connection.unwrap().close()

    async def run() -> Answer:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            served = asyncio.create_task(asyncio.to_thread(serve, listener))
            async with HttpTransport(connections=1, timeout_s=5) as transport:
                wire = WebhookWire(f"https://127.0.0.1:{listener.getsockname()[1]}/", "key")
                got = await transport.send(wire.request([BODY]), lambda: None)
            await asyncio.gather(served, return_exceptions=True)
            return got

    got = asyncio.run(run())
    assert got.status == (0 if is_cut else status)
    assert may_have_been_applied(got) is is_cut


def test_a_redirect_that_names_a_user_is_shown_without_them() -> None:
    places = "https://windsor.example/user-0/ana@example.com/a"
    with ScriptedWindsor(lambda body, tries: answer(302, b"", f"Location: {places}")) as windsor:
        outcome = Line(windsor, MemoryJournal(1, 1)).deliver([pending_row(0)._replace(private=("user-0",))])
    assert str(outcome.stopped_by) == (
        "destination.url is redirected (302) to https://windsor.example/…/…/a: if that is Windsor's, put it into destination.url"
    )


def test_plain_http_does_not_leave_this_machine_whatever_a_name_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """`windsor.localhost` is this machine by its name only; here it means another address of it."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))
            except OSError:
                pytest.skip("this machine has no address but its loopback")
            own = probe.getsockname()[0]

        async def run() -> Answer:
            async with HttpTransport(connections=1, timeout_s=1) as transport:
                wire = WebhookWire(f"http://{own}:{port}/", "key")
                return await transport.send(wire.request([BODY]), lambda: None)

        got = asyncio.run(run())
        assert (got.was_sent, "would leave this machine" in (got.message or "")) == (False, True)
