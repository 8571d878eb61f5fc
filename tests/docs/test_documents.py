"""Documents do not promise what no test holds, and links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([\w-]+))?\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_or_to_a_test_in_it(document: Path) -> None:
    for target, anchor in LINK.findall(document.read_text(encoding="utf-8")):
        path = (document.parent / target).resolve()
        assert path.exists(), target
        if anchor:
            assert re.search(rf"^def {anchor}\(", path.read_text(encoding="utf-8"), re.MULTILINE), anchor


def test_every_sentence_of_what_happens_when_has_its_test() -> None:
    text = (ROOT / "docs" / "what-happens-when.md").read_text(encoding="utf-8")
    sentences = re.split(r"\n- ", text.split("\n## ", 1)[1])[1:]
    assert len(sentences) > 25
    assert not [sentence for sentence in sentences if "](../tests/" not in sentence]


def test_the_lock_names_no_index() -> None:
    assert "://" not in (ROOT / "constraints.txt").read_text(encoding="utf-8")
