"""Every regular expression of the package takes time in proportion to its text, whoever wrote that text.

The expressions are found in the source, so a new one is tried too. Each is tried with texts made from its own parts: what
it begins with, then one of its repeats' characters many times over, then something that does not fit.
"""

import ast
import importlib
import itertools
import re
import signal
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

import pytest

import windsor_sync
from tests.support.clocks import seconds
from windsor_sync.sources import dates, warehouse_errors

PACKAGE = Path(windsor_sync.__file__).parent
FUNCTIONS = ("compile", "search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn")
MADE_WHILE_RUNNING: dict[str, Iterable[str]] = {
    r"f'(?<!\\d){body}(?!\\d)'": [dates._expression(each).pattern for each in ("%Y-%m-%d", "%b %d %Y", "%f%z%b%B")],
    "trouble.words": [trouble.words for trouble in warehouse_errors._BY_WORDS if trouble.words],
}
"""Expressions that are no constants, as the source has them, and examples of what they become."""

SHORT = 1_500
TIMES = 4
SLOWEST = 2.2 * TIMES
"""A text four times as long takes four times as long; where the time grows with the square, sixteen times."""
NOTICED_S = 0.002
LONGEST_S = 0.5
METHODS: dict[str, Callable[[re.Pattern[Any], Any], object]] = {
    "match": re.Pattern.match,
    "fullmatch": re.Pattern.fullmatch,
    "search": re.Pattern.search,
}
STRANGERS = (
    "a",
    "1",
    " ",
    "-",
    ".",
    "/",
    "\n",
    ":",
    "@",
    ",",
    '"',
    "'",
    "\\",
    "{",
    "[",
    "\x00",
    "é",
    "_",
    "A",
    "%",
    "u",
)
"""Characters of which a set that excludes some is sure to have one."""
AMISS = ("", "\x00", "!")


class Expression(NamedTuple):
    """One expression of the package."""

    place: str
    pattern: str | bytes
    flags: int
    uses: frozenset[str]
    """the methods that the package calls: `search` tries every place of a text, `match` its beginning"""


def expressions() -> Iterator[Expression]:
    """Find each call of the standard library's `re` in the package, and what it is given."""
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
    together = "\n".join(sources.values())
    for path, source in sources.items():
        tree = ast.parse(source)
        for parent in ast.walk(tree):
            for call in ast.iter_child_nodes(parent):
                if isinstance(call, ast.Call) and (function := _of_re(call.func)):
                    yield from _of_call(path, call, _uses(function, parent, together))


def _of_re(function: ast.expr) -> str | None:
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "re":
        return function.attr if function.attr in FUNCTIONS else None
    return None


def _uses(function: str, parent: ast.AST, sources: str) -> frozenset[str]:
    if function != "compile":
        return frozenset({function})
    if isinstance(parent, ast.Attribute):
        return frozenset({parent.attr})
    if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name):
        return frozenset(re.findall(rf"\b{parent.targets[0].id}\.(\w+)\(", sources)) & set(FUNCTIONS) or frozenset(
            FUNCTIONS
        )
    return frozenset(FUNCTIONS)


def _of_call(path: Path, call: ast.Call, uses: frozenset[str]) -> Iterator[Expression]:
    relative = path.relative_to(PACKAGE.parent).with_suffix("")
    place, source = f"{relative}:{call.lineno}", ast.unparse(call.args[0])
    names = vars(importlib.import_module(".".join(relative.parts).removesuffix(".__init__")))
    try:
        patterns = MADE_WHILE_RUNNING.get(source) or [eval(source, names)]
    except NameError:
        pytest.fail(f"{place}: {source} is known only while it runs; name examples of it in MADE_WHILE_RUNNING")
    for pattern in patterns:
        yield Expression(place, pattern, _flags(call, names), uses)


def _flags(call: ast.Call, names: dict[str, Any]) -> int:
    given = [ast.unparse(each.value) for each in call.keywords if each.arg == "flags"]
    given += [text for each in call.args[1:] if (text := ast.unparse(each)).startswith("re.")]
    return sum(int(eval(each, names)) for each in given)


# -- texts made from an expression -----------------------------------------------------------------------------


def characters(expression: re.Pattern[Any]) -> Iterator[tuple[str, str]]:
    """Yield what an expression begins with up to each of its repeats, and a text that the repeat takes."""
    yield from _repeats(parser.parse(expression.pattern, expression.flags & ~re.UNICODE), "")


def _repeats(parts: Any, before: str) -> Iterator[tuple[str, str]]:
    for kind, value in parts:
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            for sample in _samples(value[2]):
                yield before, sample
            yield from _repeats(value[2], before)
        for inner in _inside(kind, value):
            yield from _repeats(inner, before)
        before += next(iter(_samples([(kind, value)])), "")


def _inside(kind: Any, value: Any) -> list[Any]:
    if kind is op.SUBPATTERN:
        return [value[-1]]
    if kind is op.BRANCH:
        return list(value[1])
    if kind in (op.ASSERT, op.ASSERT_NOT):
        return [value[1]]
    return [value] if kind is op.ATOMIC_GROUP else []


def _samples(parts: Any) -> list[str]:
    """Return a few texts that the parts take."""
    found = [""]
    for kind, value in parts:
        found = [left + right for left, right in itertools.product(found, _sample(kind, value))][:4]
    return found


def _sample(kind: Any, value: Any) -> list[str]:
    if kind is op.LITERAL:
        return [chr(value)]
    if kind is op.NOT_LITERAL:
        return [next(each for each in STRANGERS if each != chr(value))]
    if kind is op.ANY:
        return ["a", '"']
    if kind is op.IN:
        return _members(value)
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        least, most, inner = value
        return [each * max(least, min(1, int(most))) for each in _samples(inner)]
    if kind is op.SUBPATTERN:
        return _samples(value[-1])
    if kind is op.ATOMIC_GROUP:
        return _samples(value)
    return [each for branch in value[1] for each in _samples(branch)[:1]] if kind is op.BRANCH else [""]


def _members(charset: Any) -> list[str]:
    first = [chr(value[0] if kind is op.RANGE else value) for kind, value in charset if kind in (op.LITERAL, op.RANGE)]
    if charset[0][0] is op.NEGATE or not first:
        source = parser.SubPattern(parser.State())
        source.append((op.IN, charset))
        matches = re._compiler.compile(source, 0).match  # type: ignore[attr-defined]
        first = [each for each in STRANGERS if matches(each)]
    return first[:3]


def attacks(expression: re.Pattern[Any]) -> Iterator[tuple[str, str, str]]:
    """Yield beginnings, what to repeat, and ends."""
    found = list(dict.fromkeys(each for each in characters(expression) if each[1]))
    pumps = list(dict.fromkeys(pump for _, pump in found))[:12]
    pairs = [left + right for left, right in itertools.permutations(pumps[:5], 2)]
    befores = list(dict.fromkeys(before for before, _ in found))[:4]
    whole = next(iter(_samples(parser.parse(expression.pattern, expression.flags & ~re.UNICODE))), "")
    texts = {(before, pump) for before, pump in found} | set(itertools.product(["", *befores], [*pumps[:6], *pairs]))
    texts |= {("", before + pump) for before, pump in found} | {("", whole or "a"), ("", (whole or "a")[:-1] or "a")}
    return ((before, pump, after) for (before, pump), after in itertools.product(sorted(texts), AMISS))


# -- the clock -------------------------------------------------------------------------------------------------


class TooLong(Exception):
    """A use that did not end in time."""


@contextmanager
def cut_off() -> Iterator[None]:
    """Let the block end with TooLong: an expression looks for signals while it tries."""

    def end(_number: int, _frame: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def is_slow(use: Callable[[Any], object], build: Callable[[int], Any]) -> bool:
    """Return whether the time grows faster than the text."""
    try:
        with cut_off():
            if seconds(use, build(SHORT * TIMES)) < NOTICED_S:
                return False
            long = seconds(use, build(SHORT * TIMES), 3)
            return long >= NOTICED_S and long > SLOWEST * seconds(use, build(SHORT), 3)
    except TooLong:
        return True


def slow_text(pattern: str | bytes, flags: int = 0, uses: Collection[str] = FUNCTIONS) -> tuple[str, str, str] | None:
    """Return the first attack that takes an expression too long."""
    expression = re.compile(pattern, flags)
    methods = {METHODS.get(each, re.Pattern.findall) for each in uses}  # split and sub look for what findall finds

    def use(text: Any) -> None:
        for method in methods:
            method(expression, text)

    for before, pump, after in attacks(expression):

        def build(size: int, parts: tuple[str, str, str] = (before, pump, after)) -> Any:
            text = parts[0] + parts[1] * (size // len(parts[1])) + parts[2]
            return text.encode("latin-1", "replace") if isinstance(pattern, bytes) else text

        if is_slow(use, build):
            return before[:40], pump[:40], after
    return None


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"\s+$", r"\w+@\w+\.", r"(?:.*x){4}", r"table .* gone", r"(?:a|aa)+b"])
def test_an_expression_that_takes_too_long_is_found(pattern: str) -> None:
    assert slow_text(pattern)


def test_every_regular_expression_takes_time_in_proportion_to_its_text() -> None:
    found = list(expressions())
    assert len(found) > 50
    slow = {
        f"{each.place} {each.pattern!r}": text
        for each in found
        if (text := slow_text(each.pattern, each.flags, each.uses))
    }
    assert not slow, "\n".join(f"{place} {text}" for place, text in slow.items())
