"""The fenced blocks of the documentation, and what is done with each.

The words after a fence say it:

- `yaml`: a windsor.yaml, read by settings.load (a destination is added where the page leaves it out); `yaml FILE` is also put
  into the page's scratch project as that file, unread
- `console`: commands after `$ ` and what they print (`…` stands for anything), run one after the other in the scratch project
- `console server`: a command that stays; it is started on a free port and is the page's Windsor from then on
- `console story`: the same, in order, by tests/story.py on two releases of Airflow
- `python`, `python FILE`: run, in the scratch project, or put there
- `text`: a picture, or output that stands by itself
- `LANGUAGE illustration: REASON`: not run, and why
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted(DOCS.rglob("*.md")),
]
FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```[ \t]*$", re.MULTILINE | re.DOTALL)

HELD_ELSEWHERE = {
    "README.md": "tests/end_to_end/test_demo.py",
    "docs/sources/warehouse.md": "tests/docs/test_warehouse_page.py",
    "docs/sources/public-api.md": "tests/cli/test_from_segment.py",
    "docs/deploy.md": "tests/deployment",
    "docs/moving-in.md": "tests/docs/test_moving_in_page.py",
    "docs/moving.md": "tests/docs/test_moving_page.py",
    "docs/page.md": "tests/airflow",
    "docs/benchmarks.md": "benchmarks",
    "docs/scale.md": "benchmarks",
    "docs/mutation.md": "tests/mutation",
}
"""Pages whose commands are the subject of tests of their own."""

MOST_ILLUSTRATIONS = 5


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    page: Path
    line: int
    """of its fence"""
    info: str
    text: str

    @property
    def language(self) -> str:
        """The first word after the fence."""
        return self.info.partition(" ")[0]

    @property
    def argument(self) -> str:
        """The words after the language."""
        return self.info.partition(" ")[2].strip()

    @property
    def illustration(self) -> str | None:
        """Why it is not run; None for a block that is."""
        return self.argument.removeprefix("illustration:").strip() if self.argument.startswith("illustration") else None

    @property
    def place(self) -> str:
        """For a failure: file and line."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """The pages whose blocks are run here."""
    return [page for page in DOCUMENTS if str(page.relative_to(ROOT)) not in HELD_ELSEWHERE]


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, match.start()) + 1, match[2].strip(), match[3])
        for match in FENCE.finditer(text)
    ]


def commands_of(block: Block) -> list[tuple[str, list[str]]]:
    """Each command of a console block with the lines that are shown after it."""
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found and found[-1][0].endswith("\\"):
            found[-1] = (f"{found[-1][0]}\n{line}", found[-1][1])
        elif line.strip():
            found[-1][1].append(line)
    return found
