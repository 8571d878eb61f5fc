"""A grammar of answers, and a Windsor that gives them: whole ones, and everything that only looks like one."""

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

from tests.delivery.line import email_of, user_of

STATUSES = (200, 201, 202, 204, 299, 400, 404, 408, 413, 422, 423, 429, 500, 501, 502, 503, 599, 100, 101, 103, 999)
REASONS = (b"OK", b"", b"\xff\xfe", b"x" * 5_000, b"No\tTab")
HEADERS = (
    b"X: y", b"Retry-After: 0", b"Retry-After: 1e400", b"Retry-After: \xff", b"Retry-After: -5", b"Connection: close",
    b"Connection: keep-alive", b"Content-Type: text/html", b"Content-Type: application/json", b"Content-Encoding: gzip",
    b"Content-Encoding: br, gzip, \x00", b"Location: https://example.com/user-1/", b"Set-Cookie: a=b", b"X:" + b"x" * 4_000,
    b"Upgrade: h2c", b"Trailer: X", b"Content-Length: 2", b"Transfer-Encoding: gzip", b" folded: yes", b"No-Colon",
)  # fmt: skip
BODIES = (
    b"", b"OK", b"{}", b"<html>", b'{"message": "no user %(user)s, %(mail)s"}', b'{"message": "%(escaped)s"}',
    b'{"message":' + b"[" * 5_000, b'{"message": "' + b"a@" * 20_000 + b'"}', b"\x00" * 100,
    b"x" * 200_000, b"HTTP/1.1 200 OK\r\n\r\n",
)  # fmt: skip


SOUND = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


@dataclass
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    is_behind: bool = False


@dataclass
class _Said:
    data: bytes
    may_be_yes: bool = False
    """false where nobody may take it for a complete 2xx; true also where that is a matter of taste"""
    is_too_much: bool = False


def _filled(body: bytes, row: int) -> bytes:
    user, mail = user_of(row), email_of(row)
    values = {"user": user, "mail": mail, "escaped": "".join(f"\\u{ord(each):04x}" for each in mail)}
    for name, value in values.items():
        body = body.replace(f"%({name})s".encode(), value.encode())
    return body


@dataclass
class Hostile:
    """Answers requests as its dice say, and remembers which rows really got a complete 2xx of their own."""

    seed: int
    rows_of: Callable[[bytes], list[int]]
    """whom a request's body is about"""
    answers: int = 0
    may_be_told: set[int] = field(default_factory=set)
    """rows whose request was read, and whose answer may be called a complete 2xx"""

    async def __aenter__(self) -> Self:
        self._dice = random.Random(self.seed)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", limit=1 << 22)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer)
        try:
            if self._dice.random() < 0.02:
                return  # closed as soon as it is open
            while await self._exchange(connection):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            if self._dice.random() < 0.5:
                writer.transport.abort()
            writer.close()

    async def _exchange(self, connection: "_Connection") -> bool:
        """Answer one request. A connection that said too much goes on: nothing else would show that it is a step behind."""
        reader, writer, dice = connection.reader, connection.writer, self._dice
        head = await reader.readuntil(b"\r\n\r\n")
        if dice.random() < 0.02 and not connection.is_behind:
            writer.write(b"HTTP/1.1 400 Early\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return False
        body = await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
        self.answers += 1
        (row,) = self.rows_of(body)
        said = _Said(SOUND, may_be_yes=True) if connection.is_behind else self._said(row)
        if said.may_be_yes:
            self.may_be_told.add(row)
        for piece in [said.data] if said.is_too_much else self._in_pieces(said.data):
            writer.write(piece)
            await writer.drain()
            if dice.random() < 0.05:
                await asyncio.sleep(dice.choice((0, 0.001, 0.01)))
        connection.is_behind |= said.is_too_much
        return connection.is_behind or said.data == SOUND or dice.random() < 0.7

    def _said(self, row: int) -> "_Said":
        dice = self._dice
        if dice.random() < 0.35:
            return _Said(SOUND, may_be_yes=True)
        if dice.random() < 0.002:
            return _Said(b"HTTP/1.1 302 Found\r\nLocation: https://example.com/user-%04d/\r\n\r\n" % row)
        status, body = dice.choice(STATUSES), _filled(dice.choice(BODIES), row)
        headers = [dice.choice(HEADERS) for _ in range(dice.choice((0, 0, 0, 1, 2, 700)))]
        line = dice.choice((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b"HTTQ/1.1", b"ICY"))
        framing, framed, is_framed = self._framed(body)
        head = b"\r\n".join([line + b" %d " % status + dice.choice(REASONS), *headers, *framing]) + b"\r\n\r\n"
        before = b"HTTP/1.1 100 Continue\r\n\r\n" * dice.choice((0,) * 8 + (1, 3, 5_000))
        is_sound = len(headers) < 700 and line.startswith(b"HTTP/1")
        may_be_yes = 200 <= status < 300 and is_sound and (is_framed or status == 204)
        if status < 200 and body.startswith(b"HTTP/"):
            may_be_yes = True  # an interim answer has no body: another answer comes behind it
        data = before + head + framed
        match dice.randrange(8):
            case 0:
                least = len(before + head) if status == 204 or not framing else len(data)
                cut = dice.randrange(len(data))
                return _Said(data[:cut], may_be_yes=may_be_yes and cut >= least)
            case 1:
                place = dice.randrange(len(data))
                return _Said(data[:place] + bytes([dice.randrange(256)]) + data[place + 1 :], may_be_yes=True)
            case 2 if len(data) < 10_000:  # what comes too late to be seen in time is nobody's fault
                extra = dice.choice((SOUND, b"\x00", b"H", b"HTTP/1.1 4"))
                return _Said(data + extra, may_be_yes=200 <= status < 300, is_too_much=True)
            case _:
                return _Said(data, may_be_yes=may_be_yes)

    def _framed(self, body: bytes) -> tuple[list[bytes], bytes, bool]:
        """Headers that say how long the body is, the body as it is sent, and whether the two agree."""
        dice = self._dice
        match dice.randrange(7):
            case 0 | 1 | 2:
                return [b"Content-Length: %d" % len(body)], body, True
            case 3:
                return [b"Content-Length: %d" % (len(body) + dice.choice((1, 1_000_000_000)))], body, False
            case 4:
                return [], body, True
            case 5:
                trailers = dice.choice((b"", b"X: y\r\n", b"X: y\r\n" * 100_000))
                chunks = b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body) or 1, body or b"x", trailers)
                return [b"Transfer-Encoding: chunked"], chunks, len(trailers) < 1_000
            case _:
                wrong = dice.choice((b"many", b"-1", b"0x2", b"2, 2", b"2\r\nContent-Length: 3"))
                return [b"Content-Length: " + wrong], body, False

    def _in_pieces(self, data: bytes) -> Iterator[bytes]:
        if self._dice.random() < 0.8:
            yield data
            return
        size = self._dice.choice((1, 7, 1_000)) if len(data) < 2_000 else 30_000
        for place in range(0, len(data), size):
            yield data[place : place + size]
