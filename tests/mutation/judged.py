"""What docs/mutation.md says: the figures of each module, and the mutants that are left with a judgement."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "mutation.md"

_FIGURES = re.compile(r"^\| `([\w/]+\.py)` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", re.MULTILINE)
_JUDGED = re.compile(r"^\| `([\w/]+\.py)` `([\w.]+)` \| (\d+) \| (.+) \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Place:
    """A function that was changed."""

    module: str
    """below windsor_sync/"""
    function: str
    """with its class before it"""


@dataclass(frozen=True, slots=True)
class Figures:
    """How the mutants of one module fared."""

    mutants: int
    killed: int
    timed_out: int
    left: int

    def row(self, module: str) -> str:
        """A line of the page's table."""
        return f"| `{module}` | {self.mutants} | {self.killed} | {self.timed_out} | {self.left} |"


def figures() -> dict[str, Figures]:
    """The page's figures by module."""
    return {module: Figures(*map(int, numbers)) for module, *numbers in _FIGURES.findall(PAGE.read_text("utf-8"))}


def judged() -> Counter[Place]:
    """How many mutants of each function the page judges."""
    found: Counter[Place] = Counter()
    for module, function, left, _ in _JUDGED.findall(PAGE.read_text("utf-8")):
        found[Place(module, function)] += int(left)
    return found
