"""The way to Windsor that a company's machine has: a proxy, an authority of its own, a certificate to show."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.delivery.scripted import ScriptedWindsor, answer
from tests.support.certificates import Authority
from tests.support.programs import needs
from tests.support.segment_api import TOKEN, SegmentApi
from windsor_sync.delivery.probe import date_of, probe
from windsor_sync.delivery.protocols.segment_webhook import WebhookWire
from windsor_sync.delivery.transport import HttpTransport
from windsor_sync.delivery.verdicts import Answer, Decision, decide
from windsor_sync.errors import ConfigError
from windsor_sync.http.opening import tls_of
from windsor_sync.settings import Destination
from windsor_sync.sources.segment_api import PublicApi

BODY = b'{"type": "identify"}'
SECRET = "canary-4242"


class Tinyproxy:
    """Debian's proxy, with a log of what it was asked for."""

    def __init__(self, folder: Path, *settings: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._log = folder / "proxy.log"
        lines = ["Listen 127.0.0.1", f"Port {self.port}", "Timeout 20", f'LogFile "{self._log}"', "LogLevel Connect"]
        (folder / "proxy.conf").write_text("\n".join([*lines, *settings]) + "\n")
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = subprocess.Popen(
            ["tinyproxy", "-d", "-c", str(folder / "proxy.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait()

    def _wait(self) -> None:
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError("the proxy did not start")

    def asked(self) -> list[str]:
        """The request lines that it logged."""
        lines = self._log.read_text().splitlines()
        return [line.partition("): ")[2] for line in lines if "Request (file" in line]

    def end(self) -> None:
        """Stop it."""
        self._process.kill()
        self._process.wait()


@pytest.fixture
def proxied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tinyproxy]:
    needs("tinyproxy", "tinyproxy")
    proxy = Tinyproxy(tmp_path)
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    yield proxy
    proxy.end()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    found = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(found.path))
    return found


def ask(destination: Destination, times: int = 1) -> list[Answer]:
    """The answers to some messages."""

    async def run() -> list[Answer]:
        async with HttpTransport(connections=1, timeout_s=5, tls=tls_of(destination)) as transport:
            wire = WebhookWire(destination.url, "key")
            return [await transport.send(wire.request([BODY]), lambda: None) for _ in range(times)]

    return asyncio.run(run())


def test_https_goes_through_the_tunnel_of_a_real_proxy(proxied: Tinyproxy, authority: Authority) -> None:
    with ScriptedWindsor(tls=authority.serves("127.0.0.1")) as windsor:
        assert ask(Destination(url=windsor.url), times=3) == [Answer(200)] * 3
        assert (len(windsor.bodies), windsor.connections) == (3, 1)
        assert proxied.asked() == [f"CONNECT 127.0.0.1:{windsor.port} HTTP/1.1"]


def test_http_names_the_whole_address_to_a_real_proxy(proxied: Tinyproxy) -> None:
    with ScriptedWindsor() as windsor:
        assert ask(Destination(url=f"{windsor.url}hook")) == [Answer(200)]
        assert windsor.bodies == [BODY]
        assert proxied.asked() == [f"POST http://127.0.0.1:{windsor.port}/hook HTTP/1.1"]


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_no_proxy_names_hosts_that_are_reached_straight(
    proxied: Tinyproxy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "elsewhere.example,127.0.0.1")
    with ScriptedWindsor() as windsor:
        assert ask(Destination(url=windsor.url)) == [Answer(200)]
        assert (len(windsor.bodies), proxied.asked()) == (1, [])


def test_the_test_button_the_clock_and_segments_api_take_the_proxy_too(
    proxied: Tinyproxy, authority: Authority
) -> None:
    def script(body: bytes, tries: int) -> bytes:
        return answer(400)

    with ScriptedWindsor(script, tls=authority.serves("127.0.0.1")) as windsor, SegmentApi() as segment:
        destination = Destination(url=windsor.url)
        assert not probe(destination, "key").is_certain
        with PublicApi(segment.url, TOKEN) as api:
            list(api.suppressed_users())
        date_of(destination)
        asked = {line.split(" ")[0] for line in proxied.asked()}
        assert asked == {"CONNECT", "GET"}
        assert len(proxied.asked()) == 3


def test_a_proxy_that_refuses_is_named_and_nothing_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority, capfd: pytest.CaptureFixture[str]
) -> None:
    needs("tinyproxy", "tinyproxy")
    proxy = Tinyproxy(tmp_path, f"BasicAuth somebody {SECRET}")
    try:
        with ScriptedWindsor() as plain, ScriptedWindsor(tls=authority.serves("127.0.0.1")) as windsor:
            for user, status in ((f"somebody:{SECRET}@", 200), (f"nobody:{SECRET}@", 0), ("", 0)):
                monkeypatch.setenv("ALL_PROXY", proxy.url.replace("//", f"//{user}"))
                (tunnelled,) = ask(Destination(url=windsor.url))
                (named,) = ask(Destination(url=plain.url))
                assert tunnelled.status == status
                if status:
                    assert named.status == status
                    continue
                assert (tunnelled.was_sent, "proxy" in (tunnelled.message or "")) == (False, True)
                assert decide(named) in (Decision.STOP, Decision.RETRY)  # it may end the connection as it refuses
                assert SECRET not in repr((tunnelled, named)) + "".join(capfd.readouterr())
            assert (len(plain.bodies), len(windsor.bodies)) == (1, 1)
    finally:
        proxy.end()


@pytest.mark.parametrize(
    "greeting",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 502 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000,
        b"\xff\r\n\r\n",
    ],
)
def test_what_is_no_tunnel_is_left_before_anything_is_said(monkeypatch: pytest.MonkeyPatch, greeting: bytes) -> None:
    said: list[bytes] = []
    has_ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(greeting)
        with suppress(ConnectionError):
            said.append(await reader.read(100) or b"nothing")
        writer.close()
        has_ended.set()

    async def run() -> Answer:
        async with await asyncio.start_server(serve, "127.0.0.1") as server:
            monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
            async with HttpTransport(connections=1, timeout_s=0.2) as transport:
                wire = WebhookWire("https://windsor.example/", SECRET)
                got = await transport.send(wire.request([BODY]), lambda: None)
            await has_ended.wait()
            return got

    got = asyncio.run(run())
    assert (got.status, got.was_sent) == (0, False)
    assert said[0] == b"CONNECT windsor.example:443 HTTP/1.1\r\nHost: windsor.example:443\r\n\r\n"
    assert said[1:] in ([], [b"nothing"])


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1", "http://:1", "http://127.0.0.1:port", f"ftp://x:{SECRET}@y"])
def test_a_proxy_that_cannot_be_used_is_said_and_not_shown(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    (got,) = ask(Destination(url="https://windsor.example/"))
    assert (got.was_sent, got.message) == (False, "the proxy of the environment does not let it through (unusable)")


def test_an_authority_in_a_folder_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    with ScriptedWindsor(tls=authority.serves("127.0.0.1")) as windsor:
        assert ask(Destination(url=windsor.url))[0].message == "no trusted TLS connection"
        name = subprocess.run(
            ["openssl", "x509", "-hash", "-noout", "-in", str(authority.path)],
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
        (tmp_path / "trusted").mkdir()
        (tmp_path / "trusted" / f"{name}.0").write_bytes(authority.path.read_bytes())
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "trusted"))
        assert ask(Destination(url=windsor.url)) == [Answer(200)]


def test_a_certificate_is_shown_to_a_windsor_that_asks_for_one(authority: Authority, tmp_path: Path) -> None:
    pair = authority.vouch_for("a-company")
    key, _, certificate = pair.read_text().partition("-----BEGIN CERTIFICATE")
    (tmp_path / "key.pem").write_text(key)
    (tmp_path / "certificate.pem").write_text(f"-----BEGIN CERTIFICATE{certificate}")
    with ScriptedWindsor(tls=authority.serves("127.0.0.1", asks_for_certificate=True)) as windsor:
        (without,) = ask(Destination(url=windsor.url))
        assert without.status == 0
        apart = {"client_certificate": str(tmp_path / "certificate.pem"), "client_key": str(tmp_path / "key.pem")}
        assert ask(Destination(url=windsor.url, **apart)) == [Answer(200)]
        assert ask(Destination(url=windsor.url, client_certificate=str(pair))) == [Answer(200)]
        assert len(windsor.bodies) == 2


def test_a_certificate_that_cannot_be_used_is_a_sentence_and_no_question(tmp_path: Path) -> None:
    """OpenSSL would ask for the passphrase on the terminal."""
    locked = tmp_path / "locked.pem"
    command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes256"]
    subprocess.run([*command, "-pass", "pass:locked", "-out", str(locked)], check=True, capture_output=True)
    tls = "from windsor_sync.http.opening import tls_context; tls_context(*__import__('sys').argv[1:])"
    for files in ([str(tmp_path / "missing.pem")], [str(locked)], [str(Authority(tmp_path).path), str(locked)]):
        ran = subprocess.run(
            [sys.executable, "-c", tls, *files], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert "ConfigError: destination.client_certificate" in ran.stderr
        assert "pass phrase" not in ran.stderr + ran.stdout
        with pytest.raises(ConfigError, match="Nothing was sent"):
            tls_of(Destination(url="https://windsor.example/", client_certificate=files[0], client_key=files[-1]))
