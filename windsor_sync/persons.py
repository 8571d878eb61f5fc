"""Which ids are one person: the rules by which aliases, in the order in which Windsor acknowledged them, make survivors. Pure.

An alias makes the person of its previous id part of the person of its user id, for good (facts §1.6). The id by which that
person goes from then on is the survivor. Where an alias names a survivor as its previous id and one of the ids that were
merged into it as its user id, the newest alias wins: the two change places.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

BATCH_ALIASES = 200_000
"""Taken in at a time: some hundred megabytes of Python."""


class Alias(NamedTuple):
    """Two ids that are one person from now on."""

    previous_id: str
    user_id: str


def survivors(aliases: Iterable[Alias], known: Mapping[str, str]) -> dict[str, str]:
    """The ids whose survivor changed, each with its new one; a survivor that took somebody in is among them.

    `known` has the survivor of every id of `aliases` that was merged before. An id that is not there is a person of its own. Of
    ids that were merged into a known survivor and are not in `aliases`, the survivor's own new survivor holds.
    """
    leads = dict(known)
    changed: set[str] = set()
    for previous_id, user_id in aliases:
        if previous_id == user_id:
            continue
        previous, user = _survivor(leads, previous_id), _survivor(leads, user_id)
        if previous != user:
            leads[previous] = user
            changed |= {previous_id, user_id, previous, user}
        elif previous == previous_id:  # the survivor itself was renamed to an id that had been merged into it
            leads[user_id] = leads[previous] = user_id
            changed |= {previous_id, user_id}
    touched = {_survivor(leads, name) for name in changed}
    moved = {name for name in leads if _survivor(leads, name) in touched and _survivor(leads, name) != known.get(name)}
    return {name: _survivor(leads, name) for name in moved | touched}


def _survivor(leads: dict[str, str], name: str) -> str:
    """Follow the leads to their end, and shorten them on the way."""
    path = []
    while (lead := leads.get(name, name)) != name:
        path.append(name)
        name = lead
    for passed in path:
        leads[passed] = name
    leads.setdefault(name, name)
    return name
