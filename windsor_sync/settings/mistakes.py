"""A mistake in the settings: where it stands and, in one sentence, what was found and what would be accepted."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from windsor_sync.errors import ConfigError

_CREDENTIAL = re.compile(
    r"(?:.*[_-])?(?:(?:api|write|secret|access|private)[_-]?key|token|password|passwd|secret|auth|credentials?)", re.I
)


@dataclass(frozen=True, slots=True)
class SettingPlace:
    """A line of the file, or an environment variable."""

    source: str
    line: int = 0  # 1-based; 0 for a variable

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing to correct; its text never repeats a value that may be secret."""

    place: SettingPlace
    field: str  # as it is nested: audiences['VIP'].snapshot.path; empty where the file cannot be read at all
    text: str

    def __str__(self) -> str:
        return f"{self.place} {self.field}: {self.text}" if self.field else f"{self.place}: {self.text}"


class InvalidSettings(ConfigError):
    """Everything that is wrong with the settings, in the order of the file, then the variables."""

    def __init__(self, file: Path, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(
            sorted(dict.fromkeys(mistakes), key=lambda mistake: (not mistake.place.line, mistake.place.line))
        )
        count = "one mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        lines = "".join(f"\n  {mistake}" for mistake in self.mistakes)
        super().__init__(
            f"The settings in {file} have {count}; nothing was done. Correct what is listed, then run "
            f"`windsor-sync check`.{lines}"
        )


def found_but(found: str, expected: str) -> str:
    """Say what was found and what would be accepted."""
    return f"found {found}; expected {expected}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean …?)` when a known word is close, else nothing."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    near = get_close_matches(word.strip().casefold()[:100], by_folded, n=1, cutoff=0.55)
    return f" (did you mean {by_folded[near[0]]}?)" if near else ""


def is_credential(key: str) -> bool:
    """Tell whether a key of this name holds a secret."""
    return _CREDENTIAL.fullmatch(key) is not None


def credential_problem(where: Sequence[str | int]) -> str | None:
    """Say where a credential belongs when a key of that name stands in the settings, or None for other keys."""
    key = str(where[-1])
    if not is_credential(key) and not (key == "key" and where[0] == "destination"):
        return None
    if where[0] == "segment":
        return (
            "a credential does not belong here (its value is not shown); the token for Segment's Public API goes into the "
            "Airflow connection that segment.connection names or, outside Airflow, into the variable SEGMENT_PUBLIC_API_TOKEN"
        )
    return (
        "a credential does not belong here (its value is not shown); the key for Windsor goes into the Airflow "
        "connection that destination.connection names or, outside Airflow, into the variable WINDSOR_API_KEY"
    )
