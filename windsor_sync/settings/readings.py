"""Turns a value as it was written into a typed one, or into words for what was found and what would be accepted.

Every scalar arrives as the text that stands in the file or the variable. The setting decides what the text
means, so `name: NO`, `id: 00123` and `trait: 1e5` are the text they look like, and `enabled: yes` is a mistake.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from math import isfinite
from typing import Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from windsor_sync.settings.durations import parse_duration

T = TypeVar("T")
Choice = TypeVar("Choice", bound=StrEnum)

UNEXPECTED = "unexpected"
_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,25})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_SCHEMA = re.compile(r"[\w$-]{1,128}(?:\.[\w$-]{1,128}){0,2}")
_LONGEST_SHOWN = 60


class Mismatch(ValueError):
    """A value that does not fit; its text, if any, says what was found without repeating a value that may be secret."""


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """The reading of one kind of setting: an annotation that pydantic validates with."""

    expected: str
    parse: Callable[[object], T]  # raises ValueError
    shows_value: bool = False  # only where a secret is not to be feared: choices, numbers, durations
    choices: tuple[str, ...] = ()

    def read(self, value: object) -> T:
        """Return the typed value, or raise pydantic's error that carries `found` and `expected`."""
        try:
            return self.parse(value)
        except ValueError as problem:
            found = str(problem) if isinstance(problem, Mismatch) else ""
        shown = shown_text(value) if self.shows_value and isinstance(value, str) else kind_of(value)
        raise PydanticCustomError(
            UNEXPECTED, "found {found}; expected {expected}", {"found": found or shown, "expected": self.expected}
        )

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic call `read` and nothing else."""
        return core_schema.no_info_plain_validator_function(self.read)


def kind_of(value: object) -> str:
    """Name the shape of a value, never the value."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a section"
    return "a list" if isinstance(value, list | tuple) else "text"


def shown_text(text: str) -> str:
    """Quote a text on one line, shortened."""
    return repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")


def text_of(value: object) -> str:
    """Accept a text that is not blank, as it was written."""
    if not isinstance(value, str):
        raise Mismatch
    if not value.strip():
        raise Mismatch("blank text")
    return value


def line_of(value: object) -> str:
    """Accept one line of text: no line break or other control character, so that it can stand in a log line."""
    text = text_of(value)
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise Mismatch("text with a line break or another control character")
    return text


TEXT = Reading("text", text_of)
LINE = Reading("one line of text", line_of)


def _schema(value: object) -> str:
    name = line_of(value)
    if not _SCHEMA.fullmatch(name):
        raise Mismatch
    return name


SCHEMA = Reading("a schema's name, or DATABASE.SCHEMA: letters, digits, _, $ and -", _schema)


def _numeral(value: object, pattern: re.Pattern[str]) -> str:
    """Return a number's digits, from a text that the pattern lets through, or from a number in Airflow's connection."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Mismatch
    return value


def whole_number(low: int, high: int | None = None) -> Reading[int]:
    """Read a whole number of at least `low` and, where given, at most `high`."""

    def parse(value: object) -> int:
        number = int(_numeral(value, _WHOLE))
        if number < low or (high is not None and number > high):
            raise Mismatch
        return number

    bounds = f"from {low} to {high}" if high is not None else f"of at least {low}"
    return Reading(f"a whole number {bounds}", parse, shows_value=True)


def number(expected: str, accepts: Callable[[float], bool]) -> Reading[float]:
    """Read a finite decimal number for which `accepts` is true."""

    def parse(value: object) -> float:
        amount = float(_numeral(value, _NUMBER))
        if not isfinite(amount) or not accepts(amount):
            raise Mismatch
        return amount

    return Reading(expected, parse, shows_value=True)


def _boolean(value: object) -> bool:
    if value not in ("true", "false"):
        raise Mismatch
    return value == "true"


BOOLEAN = Reading("true or false", _boolean, shows_value=True, choices=("true", "false"))


def interval_of_text(value: object) -> timedelta:
    """Accept a duration of at least a minute."""
    interval = parse_duration(text_of(value).strip())
    if interval < timedelta(minutes=1):
        raise Mismatch
    return interval


INTERVAL = Reading(
    "a duration of at least 1m, such as 2h30m, 15m, 90s, 1d or PT2H30M", interval_of_text, shows_value=True
)


def one_of(choices: type[Choice]) -> Reading[Choice]:
    """Read one value of an enumeration, spelled exactly."""
    names = tuple(str(choice) for choice in choices)
    return Reading(alternatives(names), lambda value: choices(text_of(value)), shows_value=True, choices=names)


def several_of(choices: type[Choice]) -> Reading[tuple[Choice, ...]]:
    """Read a list of an enumeration's values, at least one, none twice; in a variable, with commas between them."""
    names = tuple(str(choice) for choice in choices)

    def parse(value: object) -> tuple[Choice, ...]:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not items:
            raise Mismatch("an empty list" if items == [] else kind_of(value))
        texts = [text_of(item).strip() for item in items]
        wrong = [text for text in texts if text not in names]
        if wrong or len(set(texts)) < len(texts):
            raise Mismatch(shown_text(wrong[0]) if wrong else "the same value twice")
        return tuple(choices(text) for text in texts)

    return Reading(f"a list of {', '.join(names)}", parse, choices=names)


def _distinct_lines(value: object) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise Mismatch
    lines = tuple(line_of(item).strip() for item in items)
    if len(set(lines)) < len(lines):
        raise Mismatch("the same value twice")
    return lines


def distinct_lines(expected: str) -> Reading[tuple[str, ...]]:
    """Read a list of lines of text, maybe empty, none twice; in a variable, with commas between them."""
    return Reading(expected, _distinct_lines)


def _day(value: object) -> date:
    text = text_of(value).strip()
    if not _DAY.fullmatch(text):  # fromisoformat also takes 20250601 and 2025-W22-7
        raise Mismatch
    return date.fromisoformat(text)


DAY = Reading("a day as YYYY-MM-DD", _day, shows_value=True)


def _date_pattern(value: object) -> str:
    pattern = line_of(value)
    moment = datetime(2024, 11, 23, 14, 35, 52)  # noqa: DTZ001  # only its digits matter
    try:
        understood = datetime.strptime(moment.strftime(pattern), pattern)  # noqa: DTZ007
    except (ValueError, re.error):  # a directive given twice surfaces as re.error
        raise Mismatch("a pattern that strptime does not understand") from None
    if understood.date() != moment.date():
        raise Mismatch("a pattern without a whole date")
    return pattern


DATE_PATTERN = Reading('a strptime pattern with year, month and day, such as "%Y-%m-%d"', _date_pattern)


def alternatives(names: Sequence[str]) -> str:
    """Join names as a sentence does: `first, last or all`."""
    return " or ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
