"""Code, documents, page and messages use the words of the glossary, and none of those that they replaced."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import DOCUMENTS, ROOT

REPLACED = {
    "announcement": "alert",
    "consignment": "outbox delivery",
    "lane": "ordering key",
    "parcel": "row",
    "patience": "time-out, or retry policy",
    "settlement": "close of a run",
    "stop switch": "cancel token",
    "struggle": "retry state",
    "supply": "scheduler",
    "surroundings": "discovery",
}
"""Old word → the word that is used now."""

TEXTS = {".py", ".sql", ".html", ".js", ".css", ".yaml", ".yml", ".md"}
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
GLOSSARY = re.compile(r"\n## Glossary\n.*?\n\n\| word \| meaning \|\n\|---\|---\|\n(.*?)\n\n", re.DOTALL)


def texts() -> Iterator[tuple[Path, str]]:
    """Every file that people or programs read, but for migrations, which are never edited."""
    for folder in ("windsor_sync", "dags", "deploy"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in TEXTS and "versions" not in path.parts:
                yield path, path.read_text(encoding="utf-8")
    for path in DOCUMENTS:
        yield path, path.read_text(encoding="utf-8")


def words_of(text: str) -> str:
    """The words of a text in small letters, one blank between them; names of Python fall into their words."""
    return " ".join(re.findall(r"[^\W\d_]+", CAMEL.sub(" ", text).lower()))


def old_words_in(text: str) -> list[str]:
    words = f" {words_of(text)} "
    return [old for old in REPLACED if f" {old} " in words or f" {old}s " in words]


def test_an_old_word_is_found_wherever_it_hides() -> None:
    for text in (
        "PARCEL_BYTES = 1",
        "def stop_switch()",
        "class StopSwitch:",
        "two Lanes wait",
        "the stop\n    switch",
    ):
        assert old_words_in(text), text
    assert old_words_in("an airplane supplies a landscape") == []


def test_no_code_document_page_or_message_uses_a_word_that_was_replaced() -> None:
    found = {str(path.relative_to(ROOT)): old_words_in(text) for path, text in texts()}
    assert {path: old for path, old in found.items() if old} == {}


def test_every_word_of_the_glossary_is_used_in_the_package() -> None:
    table = GLOSSARY.search((ROOT / "docs" / "concepts.md").read_text(encoding="utf-8"))
    assert table is not None
    words = [re.sub(r"[`*]", "", row.split(" | ")[0].strip("| ")) for row in table[1].splitlines()]
    assert len(words) == len(set(words)) > 25
    package = " ".join(words_of(text) for path, text in texts() if "windsor_sync" in path.parts)
    assert [word for word in words if words_of(word) not in package] == []
