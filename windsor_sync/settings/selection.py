"""From the words a person types to the trait keys they mean."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from windsor_sync.errors import ConfigError


def keys_meant(words: Iterable[str], named: Sequence[tuple[str, str]], file: Path) -> set[str]:
    """Return the trait keys that words mean among `named`, the (key, name) pairs of a file.

    Raises ConfigError naming every word that fits none, with what is close to it.
    """
    meant = {word: _meant_keys(word, named) for word in words}
    unknown = [word for word, keys in meant.items() if not keys]
    if unknown:
        raise ConfigError(_unknown_text(unknown, named, file))
    return {key for keys in meant.values() for key in keys}


def _meant_keys(word: str, named: Sequence[tuple[str, str]]) -> list[str]:
    """Return what a word means among (key, name) pairs: that key, else keys in another case, else names in any case."""
    folded = word.strip().casefold()
    exact = [key for key, _ in named if key == word]
    in_any_case = [key for key, _ in named if key.casefold() == folded]
    return exact or in_any_case or [key for key, name in named if name.strip().casefold() == folded]


def _unknown_text(unknown: Sequence[str], named: Sequence[tuple[str, str]], file: Path) -> str:
    known = {text.casefold(): text for pair in named for text in pair}
    sentences = []
    for word in unknown:
        near = [known[text] for text in get_close_matches(word.casefold(), known, n=3)]
        hint = f"; near it: {', '.join(near)}" if near else ""
        sentences.append(f"No audience or computed trait in {file.name} is called {word!r}{hint}.")
    known_keys = ", ".join(key for key, _ in named) or "none"
    return " ".join([*sentences, f"Nothing was done. The trait keys are: {known_keys}."])
