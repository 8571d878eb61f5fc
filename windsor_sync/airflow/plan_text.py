"""A backfill's plan in Markdown, as the approval form and the log show it; no user appears in it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

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
    parts.append("\n".join([_row(COLUMNS), _row(["---"] * len(COLUMNS)), *(_row(_cells(one)) for one in plans)]))
    parts += [
        f"- withheld in {one['audience']} until approved: {why}" for one in plans for why in one["withheld_because"]
    ]
    parts += [f"`{json.dumps(one['example'], ensure_ascii=False)}`" for one in plans if one["example"]]
    parts.append(
        "Requests and time are estimates, at the pace that is free now. The comparison is made again before anything is "
        "sent, and no more changes go out than are shown here; what is withheld stays owed, and the next scheduled sync asks "
        "about it."
    )
    return "\n\n".join(parts)


def _cells(plan: Mapping[str, Any]) -> list[str]:
    counts = [
        f"{plan[name]:,}" for name in ("members", "entered", "exited", "updated", "withheld", "messages", "requests")
    ]
    return [plan["audience"], f"{plan['taken_at'][:16].replace('T', ' ')}", *counts, _duration(plan["seconds"])]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
