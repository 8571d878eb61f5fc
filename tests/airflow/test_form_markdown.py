"""What people and files say reaches Airflow's approval form as words, and as nothing that a browser loads or follows.

Airflow shows the form's text with GitHub's Markdown, without HTML; the same rules are used here.
"""

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.report.test_charts import run
from windsor_sync.airflow.approval import _body
from windsor_sync.airflow.plan_text import as_markdown

RENDER = MarkdownIt("gfm-like")
WORDS = (
    "![](https://evil.example/pixel.png)",
    "[click](javascript:alert(1))",
    "[click](https://evil.example)",
    "<https://evil.example>",
    "https://evil.example/a",
    "www.evil.example",
    "ana@example.com",
    "<img src=https://evil.example/pixel.png onerror=alert(1)>",
    "<script>alert(1)</script>",
    "`` ![](https://evil.example/x) ``",
    "`![](https://evil.example/x)",
    "![x][1]\n\n[1]: https://evil.example/x",
    "| a | ![](https://evil.example/x) |",
    "# Approved by the board",
    "\\![](https://evil.example/x)\\",
    "a\u202eb\x1b[31m\x00",
    "mailto:ana@example.com",
    "&#33;[](https://evil.example)",
    "http://`?",  # the sign of a shortened address took the place of the mark that ends the code
)
HARMLESS = {"p", "ul", "li", "code", "blockquote", "table", "thead", "tbody", "tr", "th", "td", "em", "br", "pre"}


class Tags(HTMLParser):
    """The tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)


def tags(markdown: str) -> set[str]:
    found = Tags()
    found.feed(RENDER.render(markdown))
    return found.seen


def form_of_a_plan(words: str) -> str:
    counts = dict.fromkeys(("members", "entered", "exited", "updated", "withheld", "messages", "requests"), 1)
    plan = {
        "audience": words,
        "taken_at": "2026-01-01T02:30:00+00:00",
        "withheld_because": [f"row 3 of {words} cannot be read"],
        "withheld_remedy": words,
        "example": {"traits": {words: True}},
        "seconds": 1.0,
    }
    return as_markdown([{**plan, **counts}], words)


def form_of_a_run(words: str) -> str:
    said = {"withheld_because": [words, f"{words}: 3 rows"], "withheld_remedy": words}
    return _body(replace(run(1), options=said))


def test_these_words_would_be_more_than_words() -> None:
    dangerous = {words: tags(words) - HARMLESS for words in WORDS}
    assert sum(map(bool, dangerous.values())) > 8


@pytest.mark.parametrize("form", [form_of_a_plan, form_of_a_run])
@pytest.mark.parametrize("words", WORDS)
def test_words_stay_words(form: Callable[[str], str], words: str) -> None:
    assert tags(form(words)) <= HARMLESS
    assert not [each for each in form(words) if not each.isprintable() and each != "\n"]


PIECES = st.sampled_from(
    ["`", "``", "!", "[", "](", ")", "<", ">", "|", "\n", "\\", "www.", "http://", "e.x", " ", "a", "@", "*"]
)


@given(st.lists(PIECES | st.characters(), max_size=12).map("".join))
def test_no_words_become_a_link_or_a_picture(words: str) -> None:
    for form in (form_of_a_plan, form_of_a_run):
        assert not tags(form(words)) & {"a", "img", "script", "iframe", "input", "h1", "h2", "h3"}
