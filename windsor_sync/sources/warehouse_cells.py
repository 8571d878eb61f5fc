"""Turns the values of a database driver into the texts of a snapshot: ids to the letter, e-mails one a line, values as JSON.

Each function raises Unreadable for a cell that cannot be that, without repeating it.
"""

import json
import math
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from windsor_sync.sources.json_text import NUMBER

MOST_DIGITS = 40
WHOLE_FLOATS = 2**53
"""From here on a float does not tell one whole number from the next."""

_NUMBER = re.compile(NUMBER, re.ASCII)
_INNER_BREAK = re.compile(r"[\r\n]")
TRUE = ("true", "t", "1")


class UnreadableCell(ValueError):
    """The reason why a cell makes its row malformed."""


def id_text(cell: Any) -> str | None:
    """An id: text as it is, a whole number by its digits, whatever type the database keeps it in."""
    match cell:
        case None | str():
            return cell
        case bool():
            raise UnreadableCell("an id that is true or false")
        case int():
            return str(cell)
        case Decimal() if cell.is_finite() and cell.adjusted() < MOST_DIGITS and cell == cell.to_integral_value():
            return str(int(cell))
        case float() if cell.is_integer() and abs(cell) < WHOLE_FLOATS:
            return str(int(cell))
        case UUID():
            return str(cell)
    raise UnreadableCell("an id that is neither text nor a whole number")


def emails_text(cell: Any) -> str | None:
    """One e-mail, an array of them, or an array as JSON text (which is how some drivers hand one over)."""
    if isinstance(cell, str) and not cell.startswith("["):
        return None if _INNER_BREAK.search(cell.strip()) else cell
    if isinstance(cell, str):
        cell = _parsed(cell)
    mails = cell if isinstance(cell, list | tuple) else [cell]
    if not all(mail is None or isinstance(mail, str) for mail in mails):
        raise UnreadableCell("an e-mail that is not text")
    trimmed = (mail.strip() for mail in mails if mail is not None)
    return "\n".join(mail for mail in trimmed if mail and not _INNER_BREAK.search(mail)) or None


def value_text(cell: Any) -> str | None:
    """A value as JSON, by its type in the database; text is a string, except where it is a JSON array or object.

    Segment stores arrays in text columns, and several databases hand over JSON as text.
    """
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, str) and cell[:1] in ("[", "{") and not isinstance(_parsed(cell), str):
        return cell
    if isinstance(cell, Decimal) and cell.is_finite() and abs(cell.adjusted()) < MOST_DIGITS:
        return format(cell, "f")
    try:
        text = json.dumps(cell, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain)
        text.encode()  # JSON can hold half of a surrogate pair, a snapshot cannot
    except (ValueError, RecursionError):
        raise UnreadableCell("a value that is not JSON") from None
    return text


def untyped_value_text(cell: Any) -> str | None:
    """A value as JSON from a column that holds values of every type as text: what reads as a number is one."""
    if cell == "":
        return None
    if isinstance(cell, str) and (cell in ("true", "false") or _NUMBER.fullmatch(cell)):
        return cell
    return value_text(cell)


def flag_text(cell: Any) -> str | None:
    """A cell that may say true or false, as text; what can say neither is a text that says neither."""
    match cell:
        case None | str():
            return cell
        case bool() | int() | float() | Decimal():
            return str(cell)
    return "?"


def is_true(cell: Any) -> bool:
    """Whether a cell says yes, also in a database without booleans: 1, or text."""
    if isinstance(cell, str):
        return cell.strip().lower() in TRUE
    return isinstance(cell, bool | int | float | Decimal) and cell == 1


def _parsed(text: str) -> Any:
    """JSON read strictly; what is not JSON stays the text it is."""
    try:
        return json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return text


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def plain(cell: Any) -> Any:
    """Return a value that JSON has no type for as a JSON value; raises ValueError where there is none."""
    match cell:
        case datetime():
            moment = cell.replace(tzinfo=cell.tzinfo or UTC).astimezone(UTC)
            return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case date() | time():
            return cell.isoformat()
        case UUID():
            return str(cell)
        case Decimal() if cell.is_finite():
            return int(cell) if cell == cell.to_integral_value() and cell.adjusted() < MOST_DIGITS else float(cell)
    raise ValueError("neither JSON nor a date")
