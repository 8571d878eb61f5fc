"""A backfill's plan in Markdown, as the approval form and the log show it; no user appears in it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from windsor_sync.domain.labels import counted
from windsor_sync.errors import harmless

_SIMPLE = re.compile(r"(?:\w(?:[\w ,;%()'\"–-]|\.(?=\s|\d|$))*)?")
_TICKS = re.compile(r"`+")


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
    """Return a narrow table for each audience, why something is withheld, and what approving means.

    The text has few lines, because the form shows its buttons below it.
    """
    parts = ["\n".join(f"> {as_words(line)}".rstrip() for line in reason.splitlines())] if reason else []
    for plan in plans:
        rows = [
            _row([as_words(plan["audience"]), _going(plan)]),
            _row(["---"] * 2),
            _row([_snapshot(plan), _changes(plan)]),
        ]
        parts.append("\n".join(rows))
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
    later = sum(one.get("later", 0) for one in plans)
    withheld = sum(one["withheld"] for one in plans)
    ends = [
        f"The next sync sends the other {later:,}, and asks only where the guard withholds them." if later else "",
        "Never more than this goes out.",
        "Withheld changes are not yet in Windsor, and the next sync asks about them." if withheld else "",
    ]
    parts.append(" ".join(filter(None, ends)))
    return "\n\n".join(parts)


def _snapshot(plan: Mapping[str, Any]) -> str:
    return f"{counted(plan['members'], 'member')} at {plan['taken_at'][:16].replace('T', ' ')} UTC"


def _changes(plan: Mapping[str, Any]) -> str:
    """Return the changes by kind; of the counts that are zero, only those of `entered` and `exited`."""
    more = ("updated", "moved", "moved_from", "withheld")
    shown = [name for name in ("entered", "exited", *more) if plan.get(name) or name not in more]
    return ", ".join(f"{plan[name]:,} {name.replace('_', ' ')}" for name in shown)


def _going(plan: Mapping[str, Any]) -> str:
    left = f", {plan['later']:,} left for the next sync" if plan.get("later") else ""
    return f"{counted(plan['messages'], 'message')} in about {_duration(plan['seconds'])}{left}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def _row(cells: Sequence[str]) -> str:
    """A row of a table; the bar ends a cell in code too, unless it is escaped."""
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
