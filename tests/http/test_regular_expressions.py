"""No regular expression of the package takes longer than its text: each is tried with texts made to hold it up.

What DuckDB is given is left out: its engine (RE2) does not go back in a text.
"""

import ast
import importlib
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import windsor_sync

PACKAGE = Path(windsor_sync.__file__).parent
FUNCTIONS = {"compile", "match", "search", "sub", "subn", "fullmatch", "split", "findall", "finditer"}
MADE_LATER = {
    "sources/dates.py": "of a date's directives, each of a bounded length",
    "sources/looking.py": "of a pattern that windsor.yaml has",
    "sources/warehouse_errors.py": "`words` of its table",
}
"""Modules that put an expression together inside of a function, and of what."""

BOUNDED: dict[str, str] = {}

LENGTHS = [8, 12, 16, 20, 24, 28, *(32 << doubling for doubling in range(10))]
ENOUGH_S = 0.03
"""Below this a growth cannot be told from the noise of other processes."""
MOST_GROWTH = 3.0
"""Of the time when the text is twice as long: 2 where it is linear, 4 where it is quadratic."""


def expressions() -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Every expression that the package's source has, with its place."""
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        tree = ast.parse(path.read_text())
        for call in ast.walk(tree):
            if not _makes_expression(call):
                continue
            if isinstance(call.args[0], ast.Constant):
                yield f"{place}:{call.lineno}", re.compile(call.args[0].value, _flags(call))
            elif not any(call in ast.walk(statement) for statement in tree.body if isinstance(statement, ast.Assign)):
                assert place in MADE_LATER, f"{place}:{call.lineno} makes an expression that this test does not know"
            else:
                module = importlib.import_module("windsor_sync." + place.removesuffix(".py").replace("/", "."))
                found = [value for value in vars(module).values() if isinstance(value, re.Pattern)]
                yield from ((f"{place}:{call.lineno}:{number}", value) for number, value in enumerate(found))


def _makes_expression(node: ast.AST) -> bool:
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and bool(node.args)
    return is_call and ast.unparse(node.func.value) == "re" and node.func.attr in FUNCTIONS  # type: ignore[attr-defined]


def _flags(call: ast.Call) -> int:
    given = [*call.args[1:], *(keyword.value for keyword in call.keywords if keyword.arg == "flags")]
    named = [ast.unparse(each) for each in given if ast.unparse(each).startswith("re.")]
    return sum(int(getattr(re, name)) for each in named for name in re.findall(r"re\.(\w+)", each))


# -- texts that hold an expression up ------------------------------------------------------------------------


def attacks(pattern: str | bytes) -> set[tuple[str, str, str]]:
    """What stands before each repetition of an expression, what is repeated in it, and what then does not fit."""
    text = pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
    found: set[tuple[str, str, str]] = set()
    _walk(re._parser.parse(text), "", found)  # type: ignore[attr-defined]
    whole = _sample(re._parser.parse(text))  # type: ignore[attr-defined]
    pumps = {pump for _, pump, _ in found} | {whole[:-1], whole[: len(whole) // 2 + 1]}
    return {(before, pump, end) for before, pump, _ in found for end in ("\x00", "")} | {
        ("", pump, "\x00") for pump in pumps if pump
    }


def _walk(tree: Any, before: str, found: set[tuple[str, str, str]]) -> None:
    for operation, argument in tree:
        name = str(operation)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            _, most, body = argument
            if most > 50:
                found.add((before, _sample(body) or "a", ""))
            _walk(body, before, found)
        elif name == "SUBPATTERN":
            _walk(argument[-1], before, found)
        elif name == "BRANCH":
            for branch in argument[1]:
                _walk(branch, before, found)
        elif name in ("ASSERT", "ASSERT_NOT"):
            _walk(argument[1], before, found)
        before += _sample([(operation, argument)])


def _sample(tree: Any) -> str:
    """Some text that fits."""
    said = ""
    for operation, argument in tree:
        match str(operation):
            case "LITERAL":
                said += chr(argument)
            case "NOT_LITERAL" | "ANY":
                said += "a"
            case "IN":
                said += _one_of(argument)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                said += _sample(argument[2]) * max(min(argument[0], 30), 1)
            case "SUBPATTERN":
                said += _sample(argument[-1])
            case "BRANCH":
                said += _sample(argument[1][0])
    return said


def _one_of(members: Any) -> str:
    for candidate in "a1 -_.A:/%\\&,\x85":
        if _fits(members, candidate):
            return candidate
    return "\ud800"


def _fits(members: Any, candidate: str) -> bool:
    is_negated, fits = False, False
    for operation, argument in members:
        match str(operation):
            case "NEGATE":
                is_negated = True
            case "LITERAL":
                fits |= candidate == chr(argument)
            case "RANGE":
                fits |= argument[0] <= ord(candidate) <= argument[1]
            case "CATEGORY":
                name = str(argument).removeprefix("CATEGORY_")
                kind = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}[name.removeprefix("NOT_")]
                fits |= bool(re.match(kind, candidate)) is not name.startswith("NOT_")
    return fits is not is_negated


# -- time ----------------------------------------------------------------------------------------------------


def grows_too_fast(run: Callable[[Any], object], text_of: Callable[[int], Any]) -> bool:
    """Whether it takes far more than twice as long for a text of twice the length, at a length where that can be told."""
    for length in LENGTHS:
        if _seconds(run, text_of(length)) < ENOUGH_S:
            continue
        if length < 64:
            return True
        return all(
            _seconds(run, text_of(2 * length)) > MOST_GROWTH * max(_seconds(run, text_of(length)), 1e-9)
            for _ in range(3)
        )
    return False


def _seconds(run: Callable[[Any], object], text: Any) -> float:
    began = time.thread_time()
    run(text)
    return time.thread_time() - began


def _text(attack: tuple[str, str, str], length: int, *, as_bytes: bool) -> Any:
    before, pump, end = attack
    text = before + pump * (length // len(pump) + 1) + end
    return text.encode("latin-1", errors="replace") if as_bytes else text


KNOWN = dict(expressions())


def test_the_walk_finds_what_the_package_has() -> None:
    assert len(KNOWN) > 50
    assert any(place.startswith("delivery/redaction.py") for place in KNOWN)


def is_slow(pattern: re.Pattern[Any]) -> bool:
    """Whether some attack makes it take much longer than its text, searched for or matched whole."""
    as_bytes = isinstance(pattern.pattern, bytes)
    runs: list[Callable[[Any], object]] = [lambda text: list(pattern.finditer(text)), pattern.fullmatch]
    return any(
        grows_too_fast(run, partial(_text, attack, as_bytes=as_bytes))
        for attack in attacks(pattern.pattern)
        for run in runs
    )


@pytest.mark.parametrize("slow", [r"[^\s@]+@[^\s@]+", r"(a+)+$", r"\s+$"])
def test_an_expression_that_is_quadratic_or_worse_is_found(slow: str) -> None:
    assert is_slow(re.compile(slow))


@pytest.mark.parametrize("place", sorted(set(KNOWN) - set(BOUNDED)))
def test_no_expression_takes_much_longer_than_its_text(place: str) -> None:
    assert not is_slow(KNOWN[place])
