"""Documents do not promise what no test holds, and links lead somewhere."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCUMENTS

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([\w-]+))?\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_to_a_test_or_heading_in_it(document: Path) -> None:
    for target, anchor in LINK.findall(document.read_text(encoding="utf-8")):
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), f"{target}#{anchor}"


def anchors(path: Path) -> set[str]:
    """What a link can lead to: a heading as its anchor is made of it, or a test."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return set(re.findall(r"^def (\w+)\(", text, re.MULTILINE))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_every_sentence_of_what_happens_when_has_its_test() -> None:
    text = (ROOT / "docs" / "what-happens-when.md").read_text(encoding="utf-8")
    sentences = re.split(r"\n- ", text.split("\n## ", 1)[1])[1:]
    assert len(sentences) > 25
    assert not [sentence for sentence in sentences if "](../tests/" not in sentence]


def test_the_lock_names_no_index() -> None:
    assert "://" not in (ROOT / "constraints.txt").read_text(encoding="utf-8")


def test_the_changelog_has_the_sections_of_keep_a_changelog_and_how_to_upgrade() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.split(r"^## \[", text, flags=re.MULTILINE)[1:]
    assert releases[0].startswith("Unreleased]")
    for release in releases:
        sections = re.findall(r"^### (.*)$", release, re.MULTILINE)
        assert sections[0] == "Upgrade"
        assert set(sections[1:]) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
        assert len(sections) == len(set(sections))
