"""A backfill's plan in Markdown, as the approval form and the log show it; no user appears in it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from windsor_sync.errors import harmless

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


def as_markdown(plans: Sequence[Mapping[str, Any]], reason: str | None = None) -> str:
    """A row an audience, why something is withheld, an example of each, and what approving means."""
    parts = ["\n".join(f"> {line}" for line in reason.splitlines())] if reason else []
    moved = [name for name in ("moved", "moved_from") if any(one.get(name) for one in plans)]
    columns = [*COLUMNS[:6], *moved, *COLUMNS[6:]]
    parts.append("\n".join([_row(columns), _row(["---"] * len(columns)), *(_row(_cells(one, moved)) for one in plans)]))
    parts += [
        " ".join([f"- withheld in {one['audience']} until approved: {why}.", one.get("withheld_remedy", "")]).rstrip()
        for one in plans
        for why in one["withheld_because"]
    ]
    parts += [f"`{json.dumps(one['example'], ensure_ascii=False)}`" for one in plans if one["example"]]
    parts.append(
        "Requests and time are estimates, at the pace that is free now. The comparison is made again before anything is "
        "sent, and no more changes go out than are shown here; what is withheld stays owed, and the next scheduled sync asks "
        "about it."
    )
    return harmless("\n\n".join(parts), keeps="\n")


def _cells(plan: Mapping[str, Any], moved: Sequence[str]) -> list[str]:
    names = ("members", "entered", "exited", "updated", *moved, "withheld", "messages", "requests")
    counts = [f"{plan[name]:,}" for name in names]
    return [plan["audience"], f"{plan['taken_at'][:16].replace('T', ' ')}", *counts, _duration(plan["seconds"])]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
