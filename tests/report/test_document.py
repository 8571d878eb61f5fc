"""`windsor-sync report`: one file with everything, nothing from elsewhere, and no user."""

import re
from html.parser import HTMLParser
from pathlib import Path

from sqlalchemy import update

from tests.support.commands import clean_environment, run
from tests.support.history import HOSTILE, REJECTED, USERS
from tests.support.world import AUDIENCE, World
from windsor_sync.report.document import report
from windsor_sync.state.tables import runs

VOID = {"meta", "link", "br", "input", "img"}


class Page(HTMLParser):
    """Notes what a page is made of, and whether its elements are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_a_command_in_a_sentence_is_shown_as_code_and_nothing_else_of_it_is_markup(living: World) -> None:
    text = report(living.workspace)
    assert re.search(r"<code>windsor-sync approve order_completed_last_30days-\S+ --max-exited 171</code>;", text)
    with living.workspace.database.write() as connection:
        connection.execute(update(runs).values(sentence="an odd ` and <b>, `<i>` and <u>"))
    text = report(living.workspace)
    assert "an odd ` and &lt;b&gt;, `&lt;i&gt;` and &lt;u&gt;" in text
    with living.workspace.database.write() as connection:
        connection.execute(update(runs).values(sentence="see `<i>` there"))
    assert "see <code>&lt;i&gt;</code> there" in report(living.workspace)


def test_one_of_something_is_not_several(lived: World) -> None:
    text = report(lived.workspace)
    assert 'data-label="Rejected" data-unit="change">1<' in text
    assert 'data-label="Rejected" data-unit="changes">0<' in text


def test_the_report_has_each_audience_with_its_three_charts_and_the_events(lived: World) -> None:
    page = Page(report(lived.workspace))
    words = " ".join(page.words)
    for said in (
        AUDIENCE,
        HOSTILE,
        "waits for approval",
        "Failed on ingest",
        "names no user",
        "Deliveries and rejections",
    ):
        assert said in words
    assert page.tags.count("figure") == 7


def test_the_report_opens_offline_and_runs_nothing(lived: World) -> None:
    text = report(lived.workspace)
    page = Page(text)
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    named = {name: value or "" for name, value in page.attributes}
    assert not [name for name in named if name.startswith("on") or name in {"src", "style"}]
    links = [value or "" for name, value in page.attributes if name in {"href", "action"}]
    assert all(link.startswith("#") for link in links)
    assert "url(" not in text.replace("url(#", "")
    assert "@import" not in text


def test_no_user_is_in_the_report(lived: World) -> None:
    text = report(lived.workspace)
    assert REJECTED not in text
    assert not [user for user in USERS if re.search(rf"\b{user}\b", text)]
    assert "@example.com" not in text


def test_a_report_of_nothing_says_what_to_do(company: World) -> None:
    words = " ".join(Page(report(company.workspace)).words)
    assert "Nothing has been sent to Windsor yet" in words
    assert "Not synced yet" in words
    assert "windsor.yaml has no section events" in words


def test_the_command_writes_the_file_and_says_where(world: World, tmp_path: Path) -> None:
    command = ["-m", "windsor_sync.cli", "--config", str(world.config), "report", "--out"]
    target = tmp_path / "report.html"
    done = run(*command, str(target), env=clean_environment())
    assert (done.returncode, done.stderr) == (0, "")
    assert f"The report is in {target}" in done.stdout
    assert "</html>" in target.read_text(encoding="utf-8")
    nowhere = run(*command, str(tmp_path / "no" / "where.html"), env=clean_environment())
    assert nowhere.returncode == 2
    assert "cannot be written" in nowhere.stderr
