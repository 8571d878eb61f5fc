"""Docstrings say what a thing does or is, in a sentence."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "windsor_sync"
FEWEST_WORDS = 3
RIDDLES = (
    *("What ", "Who ", "Whom ", "Whose ", "How ", "Where ", "When ", "Why ", "Which "),
    *("The same ", "It is ", "Of ", "By what ", "Those ", "Also ", "As "),
)
"""Beginnings that say neither what a function does nor what a class is."""


def docstrings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            found = ast.get_docstring(node)
            if found is not None:
                yield found


@pytest.mark.parametrize(
    "room", sorted(path for path in PACKAGE.iterdir() if path.is_dir()), ids=lambda path: path.name
)
def test_no_docstring_is_a_riddle_or_two_words(room: Path) -> None:
    every = [text for path in room.rglob("*.py") for text in docstrings(path)]
    assert [text for text in every if text.startswith(RIDDLES)] == []
    assert [text for text in every if len(text.split()) < FEWEST_WORDS] == []
