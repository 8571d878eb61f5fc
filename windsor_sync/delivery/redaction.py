"""Takes out of Windsor's words what they echo of a user, before they are stored or shown."""

import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

EMAIL = re.compile(r"(?<![^\s@'\"<>(),;:])[^\s@'\"<>(),;:]+@[^\s@'\"<>(),;:]+")
"""Begins where such a word begins: each word is looked at once."""
LONG_NUMBER = re.compile(r"\+?\d[\d ()./-]{5,}\d")
PLACEHOLDER = "…"

SHORT = 4
"""Characters below which a value is only taken out where it stands alone: `1` is also part of many other numbers."""

LOOKED_AT = 2_048
"""Characters of a message that are looked at; what comes after them is left out."""

LONGEST = 300
"""Characters kept of a message: one line of a table."""


def redacted(text: str | None, private: Iterable[str | None]) -> str | None:
    """`text` on one line without the given values, and without what looks like an e-mail address or a phone number.

    Values may be JSON, and are found in any case and as JSON, HTML or a URL would spell them. The text is cut only
    afterwards: the first half of a user id is private too.
    """
    if text is None:
        return None
    plain = _plain(text[:LOOKED_AT])
    forms = {form for value in private if value for form in _forms(value)}
    spans = [match.span() for form in forms for match in _pattern(form).finditer(plain)]
    spans += [match.span() for pattern in (EMAIL, LONG_NUMBER) for match in pattern.finditer(plain)]
    return _without(plain, spans)[:LONGEST] or None


def _plain(text: str) -> str:
    """One line of printable characters: no terminal or database has to cope with others."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


def _forms(value: str) -> Iterator[str]:
    for part in (value, *_leaves(value)):
        for form in (part, json.dumps(part)[1:-1], html.escape(part), quote(part, safe="", errors="replace")):
            if plain := _plain(form):
                yield plain


def _leaves(value: str) -> Iterator[str]:
    """What a value that is JSON says without its quotes and brackets."""
    try:
        waiting = [json.loads(value)]
    except (ValueError, RecursionError):
        return
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)
        elif isinstance(found, str):
            yield found
        elif isinstance(found, int | float) and not isinstance(found, bool):
            yield json.dumps(found)


def _pattern(form: str) -> re.Pattern[str]:
    escaped = re.escape(form)
    return re.compile(rf"(?<!\w){escaped}(?!\w)" if len(form) < SHORT else escaped, re.IGNORECASE)


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """`text` with a placeholder for each stretch; stretches that touch or overlap become one."""
    kept = []
    end = 0
    for first, last in sorted(spans):
        if first > end or end == 0:
            kept.append(text[end:first] + PLACEHOLDER)
        end = max(end, last)
    return "".join(kept) + text[end:]
