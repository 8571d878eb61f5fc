"""From an audience's name to the trait key Windsor sees, and which keys must not be used.

Segment makes the key once, when the audience is created, and a rename never moves it. So a key that is known (from the
configuration or from Segment's Public API) wins, and `trait_key` is for the first sync of a name without one.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import NewType

import inflection

TraitKey = NewType("TraitKey", str)

# Capitals and digits stay with the small letters that follow them: CStringRef is cstring_ref, not c_string_ref.
_WORD = re.compile(r"[A-Z0-9]+[a-z0-9]*|[a-z0-9]+")


def trait_key(name: str) -> TraitKey:
    """Derive the key that Segment gives to an audience or computed trait called `name`.

    The rule is the one of Segment's own snake-case library; it leaves digits glued to their word (`last_30days`).
    The key is empty when the name holds no Latin letter or digit; a derived key is its own key.
    """
    return TraitKey("_".join(_WORD.findall(_latin(name))).lower())


def _latin(name: str) -> str:
    """Transliterate `name` to ASCII: an accent goes, every other sign without an equal still separates words."""
    return "".join(_latin_or_space(character) for character in unicodedata.normalize("NFKD", name))


def _latin_or_space(character: str) -> str:
    if unicodedata.category(character).startswith("M"):  # the accent that NFKD took off its letter
        return ""
    return inflection.transliterate(character) or " "


_WHO = ("id", "username", "email", "phone", "name", "firstName", "lastName", "title", "avatar")
_ABOUT = ("address", "age", "birthday", "company", "createdAt", "description", "gender", "website")
_ID_FIELDS = ("userId", "anonymousId", "groupId", "previousId", "messageId")
_TIME_FIELDS = ("timestamp", "originalTimestamp", "sentAt", "receivedAt")
_CONTENT_FIELDS = ("type", "traits", "context", "integrations")

RESERVED: frozenset[str] = frozenset(
    spelling
    for field in (*_WHO, *_ABOUT, *_ID_FIELDS, *_TIME_FIELDS, *_CONTENT_FIELDS)
    for spelling in (field, trait_key(field))
)
"""An identify's own traits and fields, camelCase and snake_case; the spec allows both."""

_RESERVED_IN_ANY_CASE = frozenset(key.lower() for key in RESERVED)  # receivers accept fields in any case


def key_problem(key: str) -> str | None:
    """Say why no computation may have this key and what to do about it, or None.

    Any other text is fine: keys such as `Test Audience` and `my-audience` exist. The caller names the audience.
    """
    if not key.strip():
        return "the trait key is empty: the name has no Latin letter or digit to make one of; set one with `trait:`"
    if key.lower() in _RESERVED_IN_ANY_CASE:
        return (
            f"the trait key {key!r} is reserved: Segment's identify gives it another meaning, and the user's own "
            "value would be overwritten; set another key with `trait:`"
        )
    return None


@dataclass(frozen=True, slots=True)
class Collision:
    """Several computations that would write the same trait, each undoing the other; its text names them all."""

    key: TraitKey
    names: tuple[str, ...]
    """As configured, in that order; the same name twice when it is configured twice."""

    def __str__(self) -> str:
        names = ", ".join(repr(name) for name in self.names)
        return (
            f"{names} share the trait key {self.key!r}: each would overwrite what the other told Windsor; "
            "keep one of them, or set another key with `trait:`"
        )


def collisions(keys: Iterable[tuple[str, TraitKey]]) -> list[Collision]:
    """Find the keys that more than one of the (name, key) pairs claims, in the order of their first claim."""
    names: defaultdict[TraitKey, list[str]] = defaultdict(list)
    for name, key in keys:
        names[key].append(name)
    return [Collision(key, tuple(claims)) for key, claims in names.items() if len(claims) > 1]


def retired_problem(name: str, key: TraitKey, retired: Set[TraitKey], *, reuse_key: bool) -> str | None:
    """Say why `name` may not take up `key` again and what to do about it, or None.

    Segment advises against a second life of a key: whatever read it before still holds the old members.
    """
    if reuse_key or key not in retired:
        return None
    return (
        f"{name!r} has the trait key {key!r}, which was retired: what reads it in Windsor may still mean the old "
        "members; set another key with `trait:`, or allow it with `reuse_key: true`"
    )
