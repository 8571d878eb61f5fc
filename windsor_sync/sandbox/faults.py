"""Faults of the sandbox, chosen at its start or while it runs."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from enum import StrEnum
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, Self

from windsor_sync.errors import ConfigError
from windsor_sync.sandbox.messages import CALLS


class Outage(StrEnum):
    """The way in which requests end while nothing works."""

    NONE = "none"
    RESET = "reset"  # the connection is reset before the request was read
    UNAVAILABLE = "unavailable"  # 503


class Fate(StrEnum):
    """The fate of one try of one message that Windsor could have taken."""

    NORMAL = "normal"
    BUSY = "busy"  # 429, not applied
    ERROR = "error"  # a status of `error_statuses`, not applied
    RESET = "reset"  # connection reset, not applied
    GARBAGE = "garbage"  # bytes that are not HTTP, not applied
    LOST_ANSWER = "lost_answer"  # applied, then the connection is reset
    FALSE_ERROR = "false_error"  # applied, then a status of `error_statuses`
    HTML = "html"  # applied, and 200 with a page instead of JSON

    @property
    def is_applied(self) -> bool:
        """Whether Windsor knows the message afterwards."""
        return self in _APPLIED


_APPLIED = frozenset({Fate.NORMAL, Fate.LOST_ANSWER, Fate.FALSE_ERROR, Fate.HTML})


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults in force and their rates; raises ConfigError that names every impossible value.

    A rate is the share of tries, 0 to 1. Which tries it hits follows from `seed`, the messageId and the number of the
    try alone, so the same messages meet the same faults in any order, on any number of connections.
    """

    seed: int = 0
    latency_ms: tuple[float, float] = (0, 0)  # least and most, before an answer; the message is applied on arrival
    busy_rate: float = 0
    retry_after_s: float | None = 1  # of a 429; None leaves the header out
    retry_after_as_date: bool = False  # an HTTP date, rounded up to whole seconds
    error_rate: float = 0
    error_statuses: tuple[int, ...] = (500, 503)
    reset_rate: float = 0
    garbage_rate: float = 0
    lost_answer_rate: float = 0
    false_error_rate: float = 0
    html_rate: float = 0
    outage: Outage = Outage.NONE
    outage_requests: int | None = None  # the outage ends after so many requests; None: when it is switched off
    revoked_after: int | None = None  # from this many requests on the key is refused
    revoked_status: int = 401  # or 403
    rejected_users: frozenset[str] = frozenset()  # 400 for their messages, with a text that repeats their e-mail
    rejected_share: float = 0  # of all user ids, chosen by `seed`: see `rejects`
    unsupported_calls: frozenset[str] = frozenset()  # 501

    def __post_init__(self) -> None:
        found = _mistakes({field.name: getattr(self, field.name) for field in fields(self)})
        if found:
            raise _config_error(found)

    @classmethod
    def parse(cls, given: str | bytes | Mapping[str, Any]) -> Self:
        """Read faults from JSON or its object; what is not named does not go wrong. Raises ConfigError."""
        values = _object(given)
        found = [_unknown(name) for name in values if name not in _EXPECTED] + _mistakes(values)
        if found:
            raise _config_error(found)
        return cls(**{name: _FROM_JSON.get(name, _as_it_is)(value) for name, value in values.items()})

    def as_json(self) -> dict[str, Any]:
        """Return every fault with its value, as `parse` reads it."""
        return {name: _to_json(value) for name, value in asdict(self).items()}

    def rejects(self, user_id: str) -> bool:
        """Tell whether messages of this user are answered with 400."""
        if user_id in self.rejected_users:
            return True
        return self.rejected_share > 0 and draw(self.seed, "rejected", user_id) < self.rejected_share

    @property
    def rates(self) -> tuple[tuple[Fate, float], ...]:
        """The fates that are left to chance, each with its share."""
        return tuple((fate, getattr(self, f"{fate}_rate")) for fate in Fate if fate is not Fate.NORMAL)


def draw(seed: int, *parts: str) -> float:
    """Return a number from 0 up to but not 1, the same one for the same seed and parts in every process."""
    text = json.dumps([seed, *parts])  # lists tell ("ab", "c") from ("a", "bc")
    return int.from_bytes(blake2b(text.encode(), digest_size=6).digest()) / 2**48


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_amount(value: object) -> bool:
    return _is_number(value) and 0 <= value < 1e9  # type: ignore[operator]


def _is_share(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1  # type: ignore[operator]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return value is None or (_is_whole(value) and _is_amount(value))


def _is_list_of(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, (list, tuple, set, frozenset)) and all(check(item) for item in value)


def _is_range(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_amount, value)) and value[0] <= value[1]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_call(value: object) -> bool:
    return isinstance(value, str) and value in CALLS


def _are_statuses(value: object) -> bool:
    return bool(value) and _is_list_of(lambda item: _is_whole(item) and item in _ERROR_STATUSES)(value)


_ERROR_STATUSES = frozenset(status.value for status in HTTPStatus if status >= 400)

_SHARE = (_is_share, "a number from 0 to 1")
_COUNT = (_is_count, "a whole number, or null")

_EXPECTED: dict[str, tuple[Callable[[object], bool], str]] = {
    "seed": (_is_whole, "a whole number"),
    "latency_ms": (_is_range, "two numbers, the least and the most milliseconds"),
    "busy_rate": _SHARE,
    "retry_after_s": (lambda value: value is None or _is_amount(value), "a number of seconds, or null"),
    "retry_after_as_date": (lambda value: isinstance(value, bool), "true or false"),
    "error_rate": _SHARE,
    "error_statuses": (_are_statuses, "a list of HTTP statuses from 400 up"),
    "reset_rate": _SHARE,
    "garbage_rate": _SHARE,
    "lost_answer_rate": _SHARE,
    "false_error_rate": _SHARE,
    "html_rate": _SHARE,
    "outage": (lambda value: value in list(Outage), f"one of {', '.join(Outage)}"),
    "outage_requests": _COUNT,
    "revoked_after": _COUNT,
    "revoked_status": (lambda value: _is_whole(value) and value in {401, 403}, "401 or 403"),
    "rejected_users": (_is_list_of(_is_text), "a list of user ids"),
    "rejected_share": _SHARE,
    "unsupported_calls": (_is_list_of(_is_call), f"a list of calls out of {', '.join(sorted(CALLS))}"),
}

_FROM_JSON: dict[str, Callable[[Any], Any]] = {
    "latency_ms": tuple,
    "error_statuses": tuple,
    "outage": Outage,
    "rejected_users": frozenset,
    "unsupported_calls": frozenset,
}


def _as_it_is(value: object) -> object:
    return value


def _to_json(value: object) -> object:
    if isinstance(value, (frozenset, tuple)):
        return sorted(value) if isinstance(value, frozenset) else list(value)
    return value


def _object(given: str | bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        values = json.loads(given) if isinstance(given, (str, bytes)) else given
    except (ValueError, RecursionError):
        raise _config_error(['found no JSON; expected an object such as {"busy_rate": 0.1}']) from None
    if not isinstance(values, Mapping):
        raise _config_error(['found no object; expected one such as {"busy_rate": 0.1}'])
    return values


def _mistakes(values: Mapping[str, Any]) -> list[str]:
    found = []
    for name, value in values.items():
        check, expected = _EXPECTED.get(name, (None, ""))
        if check is not None and not check(value):
            # The ids of users are the one thing in here that is not for everybody's eyes.
            what = "something else" if name == "rejected_users" else json.dumps(value, default=str)[:80]
            found.append(f"{name}: found {what}; expected {expected}")
    shares = [value for name, value in values.items() if name.endswith("_rate") and _is_share(value)]
    if sum(shares) > 1 + 1e-9:
        found.append(f"the rates add up to {sum(shares):g}; expected 1 at most, as one try meets one fault")
    return found


def _unknown(name: str) -> str:
    near = get_close_matches(name, _EXPECTED, n=1)
    return f"{name[:40]}: no such fault{f'; did you mean {near[0]}?' if near else ''}"


def _config_error(found: list[str]) -> ConfigError:
    return ConfigError(
        "The sandbox's faults cannot be read, and none of them was taken over. Correct what follows and set them again:"
        + "".join(f"\n  {mistake}" for mistake in found)
    )
