"""Works out which ids are one person, from aliases in the order in which Windsor acknowledged them. Pure.

An alias merges the person of its previous id into the person of its user id, for good. That person is told things under one
id from then on, the survivor. Where an alias names a survivor as its previous id and one of the ids that were
merged into it as its user id, the newest alias wins: the two change places.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

BATCH_ALIASES = 200_000
"""How many aliases are taken in at a time: they use some hundred megabytes."""


class Alias(NamedTuple):
    """Two ids that are one person from now on."""

    previous_id: str
    user_id: str
    is_identify: bool = False
    """whether it is an identify with both ids; it merges only an anonymous id that belongs to no user yet"""

    @property
    def ids(self) -> tuple[str, str]:
        """Return the previous and the new id."""
        return self.previous_id, self.user_id


def survivors(aliases: Iterable[Alias], known: Mapping[str, str]) -> dict[str, str]:
    """Return the ids whose survivor changed, each with its new one; a survivor into which an id was merged is among them.

    `known` has the survivor of every id of `aliases` that was merged before. An id that is not in `known` is a person of its own.
    An id that is not in `aliases` follows its known survivor to that survivor's new survivor.
    """
    leads = dict(known)
    changed: set[str] = set()
    for previous_id, user_id, is_identify in aliases:
        if previous_id == user_id or (is_identify and _survivor(leads, previous_id) != previous_id):
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
    """Return the survivor at the end of a chain of leads, and shorten the chain."""
    path = []
    while (lead := leads.get(name, name)) != name:
        path.append(name)
        name = lead
    for passed in path:
        leads[passed] = name
    leads.setdefault(name, name)
    return name
