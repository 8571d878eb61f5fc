"""A backfill's plan in Markdown, as the approval form and the log show it; no user appears in it."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from windsor_sync.errors import harmless

_SIMPLE = re.compile(r"(?:\w(?:[\w ,;%()'\"–-]|\.(?=\s|\d|$))*)?")
_TICKS = re.compile(r"`+")

COLUMNS = (
    "audience",
    "snapshot",
    "members",
    "entered",
    "exited",
    "updated",
    "withheld",
    "messages",
    "requests",
    "time",
)


def as_words(text: str) -> str:
    """Return words of a person so that Markdown shows them and makes nothing of them: no link, picture, list or heading.

    A renderer finds addresses in escaped words too, so that all but simple words stand as code.
    """
    text = harmless(text)
    if _SIMPLE.fullmatch(text):
        return text
    fence = "`" * (max(map(len, _TICKS.findall(text)), default=0) + 1)
    space = " " if text.startswith(("`", " ")) or text.endswith(("`", " ")) else ""
    return f"{fence}{space}{text}{space}{fence}"


def as_markdown(plans: Sequence[Mapping[str, Any]], reason: str | None = None) -> str:
    """A row an audience, why something is withheld, an example of each, and what approving means."""
    parts = ["\n".join(f"> {as_words(line)}".rstrip() for line in reason.splitlines())] if reason else []
    moved = [name for name in ("moved", "moved_from") if any(one.get(name) for one in plans)]
    columns = [*COLUMNS[:6], *moved, *COLUMNS[6:]]
    parts.append("\n".join([_row(columns), _row(["---"] * len(columns)), *(_row(_cells(one, moved)) for one in plans)]))
    parts += [
        " ".join(
            [
                f"- withheld in {as_words(one['audience'])} until approved: {as_words(why)}.",
                as_words(one.get("withheld_remedy") or ""),
            ]
        ).rstrip()
        for one in plans
        for why in one["withheld_because"]
    ]
    parts += [as_words(json.dumps(one["example"], ensure_ascii=False)) for one in plans if one["example"]]
    parts.append(
        "Requests and time are estimates, at the pace that is free now. The comparison is made again before anything is "
        "sent, and no more changes go out than are shown here; what is withheld is not yet in Windsor, and the next scheduled "
        "sync asks about it."
    )
    return harmless("\n\n".join(parts), keeps="\n")


def _cells(plan: Mapping[str, Any], moved: Sequence[str]) -> list[str]:
    names = ("members", "entered", "exited", "updated", *moved, "withheld", "messages", "requests")
    counts = [f"{plan[name]:,}" for name in names]
    return [
        as_words(plan["audience"]),
        f"{plan['taken_at'][:16].replace('T', ' ')}",
        *counts,
        _duration(plan["seconds"]),
    ]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def _row(cells: Sequence[str]) -> str:
    """A row of a table; the bar ends a cell in code too, unless it is escaped."""
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
