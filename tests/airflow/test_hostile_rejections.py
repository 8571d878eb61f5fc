"""What Windsor says of a message it rejects is text, whatever it looks like: on the page, in the report, in the sentence."""

import json
import unicodedata
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from selenium import webdriver

from tests.airflow.test_page import NARROW, look
from tests.delivery.scripted import ScriptedWindsor, answer
from tests.support.api_server import api_server, signed_in, token_of
from tests.support.world import AUDIENCE, KEY, World
from windsor_sync.delivery.redaction import LONGEST
from windsor_sync.report.document import report
from windsor_sync.state.runs import recent

SCRIPT = "<script>document.title='taken'</script>"
BIDI = "\u202e\u2066\u200f\u061c"
HOSTILE = f"{SCRIPT}<img src=x onerror=\"document.title='taken'\">{BIDI}\"'>&quot;\n\x1b[31m{'W' * 5_000}"
USERS = [f"user-{number:02}" for number in range(60)]


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts = 0
        self.handlers: list[str] = []
        self.sources: list[str | None] = []
        self.shown: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.sources += [value for name, value in attrs if name == "src"]

    def handle_data(self, data: str) -> None:
        self.shown.append(data)

    def assert_harmless(self) -> None:
        """Nothing of the message became markup, and nothing of it turns or floods the text around it."""
        assert (self.handlers, "x" in self.sources) == ([], False)
        assert [text for text in self.shown if any(unicodedata.category(each) == "Cf" for each in text)] == []
        assert all(text.count("W") <= LONGEST for text in self.shown)


@pytest.fixture
def rejecting(make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A company whose Windsor rejects a user with a hostile message; the run's sentence quotes it."""
    rejection = answer(400, json.dumps({"message": HOSTILE}).encode())

    def script(body: bytes, _: int) -> bytes:
        return rejection if json.loads(body).get("userId") == USERS[0] else answer(200)

    with ScriptedWindsor(script) as windsor:
        world = make_world(url=windsor.url)
        world.snapshot(USERS)
        assert SCRIPT in (world.sync().sentence or "")
        monkeypatch.setenv("WINDSOR_SYNC_CONFIG", str(world.config))
        yield world


def test_a_hostile_message_of_windsor_is_harmless_text_wherever_it_is_shown(
    airflow_db: Path, rejecting: World, browser: webdriver.Chrome
) -> None:
    run = f"/windsor/runs/{recent(rejecting.workspace.database)[0].run_id}"
    with api_server() as url, signed_in(url, "vic", "viewer") as client:
        for path in ("/windsor/", f"/windsor/audiences/{KEY}", run):
            found = client.get(path)
            assert found.status_code == 200
            page = Page(found.text)
            page.assert_harmless()
            assert page.scripts == Page(client.get("/windsor/events").text).scripts
        assert any(SCRIPT in text for text in page.shown), "a person can read what Windsor said"
        browser.get(f"{url}/windsor/style.css")
        browser.add_cookie({"name": "_token", "value": token_of("vic", "viewer")})
        look(browser, NARROW, "light")
        browser.get(url + run)
        assert AUDIENCE in browser.title
        assert SCRIPT in browser.page_source.replace("&lt;", "<").replace("&gt;", ">")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= NARROW
        browser.delete_all_cookies()


def test_the_report_shows_it_as_text_too(rejecting: World) -> None:
    page = Page(report(rejecting.workspace))
    page.assert_harmless()
    assert page.scripts == 0
    assert any(SCRIPT in text for text in page.shown)
