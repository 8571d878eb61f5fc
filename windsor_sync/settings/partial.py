"""Settings without what is wrong in them: `check` looks at everything else in the same go."""

import os
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from windsor_sync.settings.document import Document, Where
from windsor_sync.settings.loading import completed, read_with_variables
from windsor_sync.settings.mistakes import InvalidSettings, Mistake
from windsor_sync.settings.model import Settings
from windsor_sync.settings.validation import validated

NOWHERE = "https://windsor.invalid/"
"""Stands for a destination that cannot be used; nothing is ever sent there."""

_SOURCE = frozenset({"path", "format", "query", "connection", "profiles_sync", "engage"})

_MOST_ROUNDS = 20  # each takes away what the round before found; a file needs two or three


@dataclass(frozen=True, slots=True)
class Examined:
    """The settings of a file as far as they are right."""

    settings: Settings | None
    """None where nothing of the file can be used"""
    mistakes: tuple[Mistake, ...]
    left_out: frozenset[str]
    """Where something was left out because it is wrong: a list or key at the top, or a section's key (`destination.url`)"""


def examined(path: Path | None = None, env: Mapping[str, str] = os.environ) -> Examined:
    """Read settings as `load` does, and leave out what is wrong: a value, else its audience, else its section.

    Raises ConfigError for a file that cannot be read as settings at all.
    """
    document = read_with_variables(path, env)
    found = validated(document)
    unusable = [where[:3] for where in document.wrong if _is_source(where)]
    if found is not None and not document.mistakes:
        return Examined(completed(found, document), (), frozenset())
    mistakes = InvalidSettings(document.file, document.mistakes).mistakes
    left_out: set[str] = set()
    rest = Document(document.file, deepcopy(document.tree), document.places)
    wrong = [*unusable, *(document.wrong if found is None else ())]
    for _ in range(_MOST_ROUNDS):
        _leave_out(rest, wrong, left_out)
        rest.wrong = set()
        found = validated(rest)
        if found is not None:
            return Examined(completed(found, rest), mistakes, frozenset(left_out))
        wrong = list(rest.wrong)
    return Examined(None, mistakes, frozenset(left_out))


def _is_source(where: Where) -> bool:
    """Tell whether a place says what a snapshot is read from: without it the audience cannot be looked at."""
    return where[2:3] == ("snapshot",) and (not where[3:] or where[3] in _SOURCE)


def _leave_out(rest: Document, wrong: list[Where], left_out: set[str]) -> None:
    """Take each wrong place out of the tree; of what is missing, whatever lacks it. Later items of a list go first."""
    left_out |= {".".join(step for step in where[:2] if isinstance(step, str)) for where in wrong}
    is_address_wrong = ("destination", "url") in wrong
    for where in sorted({_there(rest, where) for where in wrong}, key=_by_place, reverse=True):
        rest.take_out(where)
    destination = rest.tree.get("destination")
    kept = destination if isinstance(destination, dict) else {}
    if is_address_wrong or "url" not in kept:
        rest.tree["destination"] = kept | {"url": NOWHERE}


def _there(rest: Document, where: Where) -> Where:
    """Return the place, or else the nearest one around it at which something stands; the address is replaced, never taken out."""
    while where and where != ("destination", "url") and not _stands(rest, where):
        where = where[:-1]
    return where


def _stands(rest: Document, where: Where) -> bool:
    inside, step = rest.at(where[:-1]), where[-1]
    if isinstance(inside, dict):
        return step in inside
    return isinstance(inside, list) and isinstance(step, int) and step < len(inside)


def _by_place(where: Where) -> list[tuple[int, str]]:
    return [(step, "") if isinstance(step, int) else (0, step) for step in where]
