"""No assertion of these tests is true whatever happens."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
CONTAINERS = (ast.Tuple, ast.List, ast.Set, ast.Dict, ast.JoinedStr)
LAZY = {"map", "filter", "zip", "reversed", "enumerate", "iter"}
"""Functions whose result is true even when it is empty."""


def constant_assertions(text: str) -> Iterator[int]:
    """Yield the line of each assertion that does not look into what it asserts."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Assert) and any(is_constant(part) for part in parts_of(node.test)):
            yield node.lineno


def parts_of(test: ast.expr) -> Iterator[ast.expr]:
    """Yield the operands of `and` and `or`, or the expression itself."""
    if isinstance(test, ast.BoolOp):
        for value in test.values:
            yield from parts_of(value)
    else:
        yield test


def is_constant(part: ast.expr) -> bool:
    """Whether the truth of the expression says nothing about the elements it is made of."""
    if isinstance(part, ast.Call):
        return isinstance(part.func, ast.Name) and part.func.id in LAZY
    return isinstance(part, (*COMPREHENSIONS, *CONTAINERS, ast.Constant, ast.Lambda))


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_no_assertion_is_always_true(path: Path) -> None:
    found = list(constant_assertions(path.read_text(encoding="utf-8")))
    assert found == [], f"{path}: assert all(…) or any(…) of the elements, or compare them"


@pytest.mark.parametrize(
    "assertion",
    ["[a for a in b]", "(a for a in b)", "(a, 'text')", "[a]", "'text'", "map(a, b)", "a and [c for c in b]", "f'{a}'"],
)
def test_an_assertion_that_is_always_true_is_found(assertion: str) -> None:
    assert list(constant_assertions(f"x = 1\nassert {assertion}\n")) == [2]


@pytest.mark.parametrize("assertion", ["a", "not [a for a in b]", "all(a for a in b)", "[a for a in b] == []", "a(b)"])
def test_an_assertion_that_can_fail_is_left_alone(assertion: str) -> None:
    assert list(constant_assertions(f"assert {assertion}\n")) == []
