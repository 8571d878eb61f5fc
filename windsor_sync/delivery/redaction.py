"""Takes out of Windsor's words what they echo of a user, before they are stored or shown."""

import base64
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote

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

MAX_ENCODINGS = 3
"""So many times something may be escaped within something escaped."""

_ESCAPES = re.compile(
    r"(?:%[0-9a-f]{2})+|(?:[\\%]u[0-9a-f]{4})+|\\x[0-9a-f]{2}|\\[\"'/\\bfnrt]|&#?\w{1,10};?", re.IGNORECASE
)
_ALIGNED = ((0, 0), (1, 2), (2, 3))
"""Bytes before a value in what is encoded as base64, and the characters that these have a part in."""


class _Reading(NamedTuple):
    """One way to read a message: its characters, and the stretch of the message that each of them stands for."""

    text: str
    places: list[tuple[int, int]]


def redacted(text: str | None, private: Iterable[str | None]) -> str | None:
    """`text` on one line without the given values, and without what looks like an e-mail address or a phone number.

    Values may be JSON, and are found in any case, escaped as JSON, HTML or a URL would (several times too), and in hex or
    base64. The text is cut only afterwards: the first half of a user id is private too.
    """
    if text is None:
        return None
    plain = _plain(text[:LOOKED_AT])
    needles = {needle for value in private if value for needle in _needles(value)}
    is_cut = len(text) > LOOKED_AT
    spans: set[tuple[int, int]] = set()
    for reading in _readings(plain):
        found = [match.span() for pattern in (EMAIL, LONG_NUMBER) for match in pattern.finditer(reading.text)]
        spans.update(_in_message(reading, found))
        folded = _folded(reading)
        for needle in needles:
            spans.update(_in_message(folded, _found(needle, folded.text, is_cut=is_cut)))
    return _without(plain, spans)[:LONGEST] or None


def redacted_address(address: str | None, private: Iterable[str | None]) -> str | None:
    """`address` with a placeholder for each part of its path that repeats one of the values."""
    if address is None:
        return None
    values = list(private)
    return "/".join(redacted(part, values) or "" for part in address[:LOOKED_AT].split("/"))[:LONGEST]


def _plain(text: str) -> str:
    """One line of printable characters: no terminal or database has to cope with others."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


# -- what is looked for --------------------------------------------------------------------------------------


def _needles(value: str) -> Iterator[str]:
    for whole in {value, *_leaves(value)}:
        part = whole[:LOOKED_AT]  # more of it does not fit
        plain = _plain(part)
        for spelling in (plain, *_encoded(part), *_encoded(plain)):
            if needle := _folded(_straight(spelling)).text:
                yield needle


def _encoded(part: str) -> Iterator[str]:
    """Return the hex and base64 forms of a value, wherever it starts in the encoded text."""
    octets = part.encode(errors="replace")
    if len(octets) < SHORT:
        return
    yield octets.hex()
    for before, shared in _ALIGNED:
        encoded = base64.b64encode(bytes(before) + octets).decode("ascii")
        own = encoded[shared : (before + len(octets)) * 8 // 6]
        yield own
        yield own.translate({ord("+"): "-", ord("/"): "_"})


def _leaves(value: str) -> Iterator[str]:
    """Return the texts and numbers inside a JSON value."""
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


# -- where it is looked for ----------------------------------------------------------------------------------


def _readings(plain: str) -> Iterator[_Reading]:
    """The message as it is, and as it reads after its escapes are undone: once, twice …"""
    reading = _straight(plain)
    yield reading
    for _ in range(MAX_ENCODINGS):
        undone = _undone(reading)
        if undone.text == reading.text:
            return
        yield undone
        reading = undone


def _straight(text: str) -> _Reading:
    return _Reading(text, [(place, place + 1) for place in range(len(text))])


def _undone(reading: _Reading) -> _Reading:
    characters, places, end = [], [], 0
    for match in _ESCAPES.finditer(reading.text):
        first, last = match.span()
        meant = _meant(match[0])
        stretch = (reading.places[first][0], reading.places[last - 1][1])
        characters += [reading.text[end:first], meant]
        places += reading.places[end:first] + [stretch] * len(meant)
        end = last
    return _Reading("".join([*characters, reading.text[end:]]), places + reading.places[end:])


def _meant(escape: str) -> str:
    match escape[0], escape[1].lower():
        case "&", _:
            return html.unescape(escape)
        case _, "u":
            units = bytes.fromhex(re.sub(r"[\\%]u", "", escape, flags=re.IGNORECASE))
            return units.decode("utf-16-be", errors="replace")
        case "%", _:
            return unquote(escape, errors="replace")
        case _, "x":
            return chr(int(escape[2:], 16))
        case _:
            return {"b": "", "f": " ", "n": " ", "r": " ", "t": " "}.get(escape[1], escape[1])


def _folded(reading: _Reading) -> _Reading:
    """Without case, with one blank for any white space; `+` is a blank in a URL."""
    characters: list[str] = []
    places = []
    for character, stretch in zip(reading.text, reading.places, strict=True):
        if character.isspace() or character == "+":
            if characters[-1:] == [" "]:
                continue
            character = " "
        elif not character.isprintable():
            continue
        for each in character.casefold():
            characters.append(each)
            places.append(stretch)
    return _Reading("".join(characters), places)


def _found(needle: str, text: str, *, is_cut: bool) -> Iterator[tuple[int, int]]:
    """Return where a value stands; at the end of a message that was cut, its beginning is enough."""
    fits: Callable[[int, int], bool] = _stands_alone(text) if len(needle) < SHORT else lambda *_: True
    first = text.find(needle)
    while first >= 0:
        last = first + len(needle)
        if fits(first, last):
            yield first, last
        first = text.find(needle, last)
    if is_cut:
        longest = min(len(needle) - 1, len(text))
        length = next((length for length in range(longest, 0, -1) if text.endswith(needle[:length])), 0)
        if length:
            yield len(text) - length, len(text)


def _stands_alone(text: str) -> Callable[[int, int], bool]:
    def is_word(place: int) -> bool:
        return 0 <= place < len(text) and (text[place].isalnum() or text[place] == "_")

    return lambda first, last: not (is_word(first - 1) or is_word(last))


def _in_message(reading: _Reading, spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for first, last in spans:
        yield reading.places[first][0], reading.places[last - 1][1]


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """`text` with a placeholder for each stretch; stretches that touch or overlap become one."""
    kept = []
    end = 0
    for first, last in sorted(spans):
        if first > end or end == 0:
            kept.append(text[end:first] + PLACEHOLDER)
        end = max(end, last)
    return "".join(kept) + text[end:]
