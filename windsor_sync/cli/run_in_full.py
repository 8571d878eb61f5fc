"""One run in words that somebody who has never seen Segment understands, every number with its unit."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from windsor_sync.domain.labels import MOVED_WORDS, STEPS, code_words, counted, left_out_words, moment, state_words
from windsor_sync.domain.run import ForwardingRun, Run
from windsor_sync.errors import harmless
from windsor_sync.events.books import overview


def pairs_of(run: Run, rejections: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Return the facts of a run as pairs of label and text."""
    yield "state", state_words(run.state).text
    yield (
        "in words",
        run.sentence or "It has not ended; if nobody runs it any more, `windsor-sync audit --repair` closes it.",
    )
    is_forwarding = isinstance(run, ForwardingRun)
    yield "what", "forwarded events" if is_forwarding else f"{run.kind} of {harmless(run.name)} (trait {run.audience})"
    yield "started", f"{moment(run.started_at)}, {run.trigger}"
    if run.finished_at is not None:
        yield "took", _lasting(run.finished_at - run.started_at)
    yield from _of_events(run) if isinstance(run, ForwardingRun) else _of_snapshot(run)
    for one in rejections:
        said = f": {one['message']}" if one["message"] else ""
        yield "Windsor said no", f"{counted(one['changes'], run.unit)} with {one['code']}{said}"


def _of_snapshot(run: Run) -> Iterator[tuple[str, str]]:
    books = run.books
    yield "snapshot", f"taken {moment(run.taken_at)}, {counted(books.rows_read, 'row')}"
    for reason, rows in books.left_out.items():
        if rows:
            yield "left out", f"{counted(rows, 'row')}: {left_out_words(reason)}"
    if emails := run.options.get("emails_left_out", 0):
        yield "left out", f"{counted(emails, 'e-mail')}: without an @; the members are told without one"
    yield "members", f"{counted(books.members, 'user')}; Windsor had been told of {books.members_before:,}"
    if without := run.options.get("without_email", 0):
        yield "without e-mail", f"{counted(without, 'member')}: no snapshot that is looked at has one"
    kinds = {"entered": books.entered, "exited": books.exited, "updated": books.updated}
    kinds |= {name: number for name, number in books.moved_kinds.items() if number}
    counts = ", ".join(f"{number:,} {name}" for name, number in kinds.items())
    yield "changes", f"{counted(books.changes, 'change')}: {counts}"
    yield from ((name, MOVED_WORDS[name]) for name in kinds if name in MOVED_WORDS)
    yield "delivered", f"{counted(books.delivered, 'change')}: Windsor acknowledged them"
    if books.rejected:
        yield "rejected", f"{counted(books.rejected, 'change')}: tried again after 1, 2, 4 … runs"
    if books.withheld:
        yield "withheld", f"{counted(books.withheld, 'change')}: wait until a person approves them"
    if books.owed:
        doubt = f"; {books.in_doubt:,} of them may have arrived" if books.in_doubt else ""
        yield "owed", f"{counted(books.owed, 'change')}: the next run sends them{doubt}"
    if rest := books.changes - books.delivered:
        yield "in all", f"{counted(rest, 'change')} not yet in Windsor: rejected, withheld and owed together"


def _of_events(run: ForwardingRun) -> Iterator[tuple[str, str]]:
    yield "archive", counted(run.intake["files"], "file")
    if late := run.intake.get("late"):
        yield "not sent", f"{counted(late['lines'], 'line')}: the file was rewritten after its messages were forgotten"
        for path in late["files"]:
            yield "", path
    found = overview(run)
    for step, name, meaning in STEPS:
        yield name.lower(), f"{counted(found[step], 'message')}: {meaning}"
        reasons = {"failed_on_ingest": "failed_on_ingest", "filtered_at_destination": "filtered"}
        for code, number in run.intake[reasons[step]].items() if step in reasons else ():
            words = code_words(code)
            yield "", f"{number:,} × {code}{f': {words}' if words else ''}"


def _lasting(span: timedelta) -> str:
    seconds = span.total_seconds()
    return f"{seconds:,.1f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"
