"""Reads when something runs: every so often, at the times of a cron expression, or when an upstream asset has changed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypeAlias
from zoneinfo import ZoneInfo

from windsor_sync.settings.durations import format_duration
from windsor_sync.settings.readings import Mismatch, Reading, interval_of_text, line_of

USUAL = timedelta(hours=2, minutes=30)

_FIELDS = 5
_ON = {"true": "on", "True": "on"}
"""What a program that rewrites YAML makes of the key `on`, which YAML 1.1 takes for a boolean."""

_RANDOM = re.compile(r"(?<![A-Za-z])R(?![A-Za-z])", re.IGNORECASE)
"""A field for which croniter picks another value each time."""

_LOOKED_AT = 50
"""So many times of a cron expression say how far apart they are."""


@dataclass(frozen=True, slots=True)
class Cron:
    """The times of a cron expression by the clocks of a time zone."""

    expression: str
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class OnAssets:
    """A start whenever one of these assets has changed, and at the latest after an interval."""

    assets: tuple[str, ...]
    """URIs, or names where there is no `://` in them"""
    every: timedelta = USUAL


Timing: TypeAlias = timedelta | Cron | OnAssets


def interval_of(timing: Timing) -> timedelta:
    """Return the shortest time from one start to the next that the clock causes."""
    if isinstance(timing, Cron):
        moments = _moments(timing, datetime(2025, 1, 1, tzinfo=UTC), _LOOKED_AT)
        return min(after - before for before, after in pairwise(moments))
    return timing.every if isinstance(timing, OnAssets) else timing


def next_after(timing: Timing, moment: datetime) -> datetime:
    """Return when it runs next, at the latest, after it ran at a moment."""
    return _moments(timing, moment, 1)[0] if isinstance(timing, Cron) else moment + interval_of(timing)


def in_words(timing: Timing) -> str:
    """Say when it runs."""
    if isinstance(timing, Cron):
        return f"at {timing.expression} ({timing.timezone})"
    if isinstance(timing, OnAssets):
        return f"when {' or '.join(timing.assets)} changed, at the latest every {format_duration(timing.every)}"
    return f"every {format_duration(timing)}"


def _moments(cron: Cron, start: datetime, number: int) -> list[datetime]:
    from croniter import croniter

    times = croniter(cron.expression, start.astimezone(ZoneInfo(cron.timezone)))
    return [times.get_next(datetime).astimezone(UTC) for _ in range(number)]


def _timing(value: object) -> Timing:
    if isinstance(value, Mapping):
        given = {str(key): each for key, each in value.items() if each is not None}
        named = {_ON.get(key, key): each for key, each in given.items()}
        if len(named) < len(given):
            raise Mismatch("`on` several times (YAML reads `true` and `on` as the same key)")
        return _section(named)
    text = line_of(value).strip()
    if " " not in text:
        return interval_of_text(text)
    fields = text.split()
    return _cron(" ".join(fields[:_FIELDS]), fields[_FIELDS] if len(fields) == _FIELDS + 1 else "UTC", len(fields))


def _section(given: Mapping[str, object]) -> Timing:
    if "cron" in given and not given.keys() - {"cron", "timezone"}:
        expression = line_of(given["cron"]).strip()
        return _cron(expression, line_of(given.get("timezone", "UTC")).strip(), len(expression.split()))
    if "on" not in given or given.keys() - {"on", "every"}:
        raise Mismatch("a section with other keys")
    assets = given["on"]
    if not isinstance(assets, list | tuple) or not assets:
        raise Mismatch("`on` without a list of assets")
    named = tuple(line_of(each).strip() for each in assets)
    return OnAssets(named, interval_of_text(line_of(given["every"]).strip()) if "every" in given else USUAL)


def _cron(expression: str, timezone: str, fields: int) -> Cron:
    from croniter import CroniterBadDateError, croniter

    if fields not in (_FIELDS, _FIELDS + 1) or len(expression.split()) != _FIELDS or not croniter.is_valid(expression):
        raise Mismatch("text that is neither a duration nor a cron expression of five fields")
    if _RANDOM.search(expression):
        raise Mismatch("a cron expression with R, which means another time whenever it is asked")
    if not re.fullmatch(r"[\w+/-]{1,64}", timezone, re.ASCII):
        raise Mismatch("a time zone that is not known")
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise Mismatch("a time zone that is not known") from None
    found = Cron(expression, timezone)
    try:
        interval_of(found)
    except CroniterBadDateError:
        raise Mismatch("a cron expression of a day that no month has, such as 30 February") from None
    return found


TIMING = Reading(
    "a duration of at least 1m, such as 2h30m; or {cron: …, timezone: …}; or {on: [assets], every: …}",
    _timing,
    shows_value=True,
)
