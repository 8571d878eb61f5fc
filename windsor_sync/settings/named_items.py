"""`WINDSOR_SYNC_AUDIENCES__<TRAIT KEY OR NAME>__<KEY>`: which setting of which audience or computed trait it means."""

import re
from collections.abc import Iterator, Mapping

from pydantic.fields import FieldInfo

from windsor_sync.segment.trait_keys import trait_key
from windsor_sync.settings.catalogue import (
    VARIABLE_PREFIX,
    all_settings,
    inner_section,
    keys_of,
    reading_of,
    section_at,
)
from windsor_sync.settings.choices import Column
from windsor_sync.settings.document import Tree, Where
from windsor_sync.settings.mistakes import credential_problem, did_you_mean, found_but
from windsor_sync.settings.readings import alternatives

NAMED_LISTS = {"AUDIENCES": "audiences", "COMPUTED_TRAITS": "computed_traits"}


Named = tuple[Mapping[str, list[int]], Mapping[str, list[int]]]
"""Positions in a list by trait key and by name, both as variables spell them"""


def as_variable(name: str) -> str:
    """Spell a trait key or a name as it stands in a variable: `VIP customers` is VIP_CUSTOMERS."""
    return re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")


def named_items(tree: Tree) -> Named:
    """Return where each item of a list stands."""
    keys: dict[str, list[int]] = {}
    names: dict[str, list[int]] = {}
    for position, item in enumerate(tree if isinstance(tree, list) else ()):
        name = item.get("name") if isinstance(item, dict) else None
        pinned = item.get("trait") if isinstance(item, dict) else None
        if isinstance(pinned, str) or isinstance(name, str):
            key = pinned if isinstance(pinned, str) else trait_key(str(name))
            keys.setdefault(as_variable(key), []).append(position)
        if isinstance(name, str):
            names.setdefault(as_variable(name), []).append(position)
    return keys, names


def setting_meant(variable: str, items: Mapping[str, Named]) -> tuple[Where, FieldInfo | None] | str:
    """Return the place and the field that a variable sets (a column has no field), or what is wrong with it."""
    section, *steps = variable.removeprefix(VARIABLE_PREFIX).split("__")
    if len(steps) < 2:
        return found_but("a variable that sets nothing", f"{VARIABLE_PREFIX}{section}__<TRAIT KEY OR NAME>__<KEY>")
    kind, keys = NAMED_LISTS[section], tuple(step.lower() for step in steps[1:])
    position = _position(steps[0], kind, items[kind])
    if isinstance(position, str):
        return position
    field = _field(kind, keys)
    return field if isinstance(field, str) else ((kind, position, *keys), field)


def _position(word: str, kind: str, items: Named) -> int | str:
    """Return the position of the item that a word means, or what is wrong with the word."""
    keys, names = items
    found = sorted({*keys.get(word, []), *names.get(word, [])})
    if len(found) == 1:
        return found[0]
    what = "audience" if kind == "audiences" else "computed trait"
    if found:
        return found_but(
            f"{word}, which means {len(found)} of {kind}",
            "a word that means one: take its trait key or its name, whichever no other has, or give it another trait key",
        )
    known = [*keys, *(name for name in names if name not in keys)]
    near = did_you_mean(word, known)
    expected = f"one that the file has{near}" if known else f"{kind} in the file, to which a variable can give values"
    return found_but(f"the {what} {word}, which the file does not have", expected)


def _field(kind: str, steps: tuple[str, ...]) -> FieldInfo | str | None:
    """Return the setting of an item that the steps lead to, or what is wrong with them."""
    *within, key = steps
    if within and within[-1] == "columns":
        section = section_at((kind, 0, *within[:-1]))
        if section is not None and "columns" in keys_of(section) and key in tuple(Column):
            return None
    section = section_at((kind, 0, *within))
    field = keys_of(section).get(key) if section is not None else None
    if field is not None and reading_of(field) is not None:
        return field
    if credential := credential_problem(steps):
        return credential
    word, known = "__".join(steps).upper(), list(_keys(kind))
    near = did_you_mean(word, known)
    return found_but(f"the key {word}, which sets nothing", f"another{near}" if near else alternatives(known))


def _keys(kind: str) -> Iterator[str]:
    """Yield what may follow an item's name in a variable."""
    for setting in all_settings():
        if setting.where[:2] == (kind, "[]") and inner_section(setting.field) is None:
            is_value = reading_of(setting.field) is not None
            yield "__".join(setting.where[2:]).upper() + ("" if is_value else "__<COLUMN>")
