"""Lines of the archive that are no message: when they fail a run, and which files the next run tries again."""

from collections.abc import Mapping
from typing import Any

from windsor_sync.domain.labels import counted
from windsor_sync.events.intake import Intake

MAX_NAMED = 3
"""Files that a run names."""


def unreadable(intake: Intake, max_percent: float) -> frozenset[str]:
    """Return the files that do not count as read: no line of them is a message."""
    return frozenset(intake.unreadable) if max_percent < 100 else frozenset()


def malformed_as_json(intake: Intake, max_percent: float) -> dict[str, Any]:
    """Return what the runs table keeps of them; nothing where all is well."""
    found: dict[str, Any] = {}
    lines = sum(intake.malformed.values())
    if files := sorted(unreadable(intake, max_percent)):
        found["unreadable"] = {"files": files[:MAX_NAMED], "number_of_files": len(files)}
    if files or lines * 100 > max_percent * intake.received:
        found["malformed"] = {"lines": lines, "max_percent": max_percent}
    return found


def malformed_sentence(intake: Mapping[str, Any]) -> str | None:
    """Return why the run has failed, and what a person can do; None when it has not."""
    if "unreadable" in intake:
        named, number = intake["unreadable"]["files"], intake["unreadable"]["number_of_files"]
        names = ", ".join(repr(name)[1:-1] for name in named) + (", …" if number > len(named) else "")
        verb = "has" if number == 1 else "have"
        return (
            f"{counted(number, 'archive file')} {verb} no line that is a message ({names}). What was readable elsewhere is sent; "
            "the next run reads the file again. Write it as Segment does (one JSON object a line, gzip), or move it out of "
            "`events.archive`; `events.max_malformed_percent: 100` takes it for read."
        )
    if "malformed" in intake:
        lines, most = intake["malformed"]["lines"], intake["malformed"]["max_percent"]
        return (
            f"{lines:,} of {intake['received']:,} lines are no messages; at most {most:g} % may be. What was readable is "
            "sent, and the files count as read. Look what writes them; a file that is written anew is read again. Raise "
            "`events.max_malformed_percent` if these lines can be done without."
        )
    return None
