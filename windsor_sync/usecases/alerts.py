"""Finds out what is wrong and what is over, and brings each of those who are told up to date.

Nothing here stops a sync: what cannot be found out or told is logged, and looked at again by the next run or command.
"""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from windsor_sync.domain.alert import EVENT_WORDS, Alert, AlertEvent, Condition, Target, without_markup
from windsor_sync.domain.labels import counted, moment
from windsor_sync.domain.run import ForwardingRun, Run, RunState
from windsor_sync.errors import (
    CredentialsRefused,
    SnapshotError,
    SnapshotStale,
    SnapshotSuperseded,
    WindsorSyncError,
    harmless,
)
from windsor_sync.http.webhook import WebhookError
from windsor_sync.state import alerts as state
from windsor_sync.state.runs import history
from windsor_sync.state.tries import note_try
from windsor_sync.usecases.late import late_audiences
from windsor_sync.usecases.warnings import orphan_warnings, stale_warnings
from windsor_sync.usecases.workspace import Workspace

_log = logging.getLogger(__name__)

SCHEDULED = "sync"
"""The kind of run that takes the newest snapshot."""

ENDED = (RunState.DONE, RunState.REJECTED, RunState.WITHHELD)

FEWEST_SNAPSHOTS = 5
"""Before an audience has had so many snapshots, no size is usual."""

WINDOW = 20
"""The usual size of an audience is that of so many snapshots before."""

MARGIN = 0.3
"""So far beyond the smallest and largest of them a size is still usual."""

MAX_LINES = 20
"""in one message about several audiences"""

MAX_TEXT = 4_000


@contextmanager
def harmlessly() -> Iterator[None]:
    """Log what went wrong instead of raising it: an alert never fails a sync."""
    try:
        yield
    except Exception as error:  # also what a notifier raises, whose words can hold an address
        words = str(error) if isinstance(error, WindsorSyncError) else type(error).__name__
        _log.warning("Alerts could not be checked: %s. The sync goes on; the next run or command checks again.", words)


def after_run(workspace: Workspace, run: Run) -> None:
    """Record what a closed run says about its audience, and about the destination."""
    if run.finished_at is None:
        return
    destination, at, books = workspace.settings.destination.name, run.finished_at, run.books
    ended = run.state in ENDED
    # A backfill of one side, or of so many, is done with the other changes still owed: nobody has judged those.
    is_released = run.state in (RunState.DONE, RunState.REJECTED) and not books.owed
    judged: list[tuple[str, AlertEvent, bool, bool]] = [
        ("", AlertEvent.CREDENTIALS_REFUSED, run.state is RunState.REFUSED, ended and books.delivered > 0),
        ("", AlertEvent.UNAVAILABLE, run.state is RunState.UNAVAILABLE, ended and books.delivered > 0),
        (run.audience, AlertEvent.WITHHELD, run.state is RunState.WITHHELD, is_released),
        (run.audience, AlertEvent.REJECTED, run.state is RunState.REJECTED, run.state is RunState.DONE),
    ]
    if run.kind == SCHEDULED:  # a backfill may be of another snapshot
        judged.append((run.audience, AlertEvent.UNUSABLE, False, True))
    for audience, event, is_wrong, is_right in judged:
        if is_wrong:
            found = Condition(destination, audience, event, run.sentence or "", at, run.run_id)
            state.begin_condition(workspace.database, found, at)
        elif is_right:
            state.end_condition(workspace.database, destination, audience, event, at)
    if run.kind == SCHEDULED and not isinstance(run, ForwardingRun):
        _judge_size(workspace, run, at)


def after_failure(workspace: Workspace, audience: str, error: BaseException, at: datetime | None = None) -> None:
    """Record what an error says that left no run behind."""
    destination, at = workspace.settings.destination.name, at or datetime.now(UTC)
    note_try(workspace.database, destination, audience, at)
    if isinstance(error, SnapshotSuperseded | SnapshotStale):  # stale is looked for in the state
        return
    kinds = {SnapshotError: AlertEvent.UNUSABLE, CredentialsRefused: AlertEvent.CREDENTIALS_REFUSED}
    event = next((event for kind, event in kinds.items() if isinstance(error, kind)), None)
    if event is not None:
        about = audience if event is AlertEvent.UNUSABLE else ""
        state.begin_condition(workspace.database, Condition(destination, about, event, str(error), at), at)


def look_at_all(workspace: Workspace, *, is_due_looked_for: bool = False, now: datetime | None = None) -> None:
    """Record what the state shows about all audiences: stale snapshots, keys without an audience, and syncs that are late.

    A sync that begins late is no reason to tell anybody that it is late, so a task of a sync does not look for that.
    """
    now = now or datetime.now(UTC)
    _record(workspace, AlertEvent.STALE, {one.key: str(one) for one in stale_warnings(workspace)}, now)
    _record(workspace, AlertEvent.ORPHANED, {one.key: str(one) for one in orphan_warnings(workspace)}, now)
    late = late_audiences(workspace, now)
    known = {one.audience for one in _open(workspace) if one.event is AlertEvent.LATE}
    has_resumed = "" in known and "" not in late  # then the other audiences are still to come
    if has_resumed or not is_due_looked_for:
        late = {audience: sentence for audience, sentence in late.items() if audience in known}
    _record(workspace, AlertEvent.LATE, late, now)


def tell(
    workspace: Workspace,
    targets: Iterable[Target],
    link_of: Callable[[Sequence[str]], str | None] = lambda _: None,
    now: datetime | None = None,
) -> int:
    """Bring every target up to date; returns how many messages arrived. One that is not reached is tried again later.

    `link_of` says where the page about audiences is.
    """
    return sum(_tell(workspace, target, link_of, now or datetime.now(UTC)) for target in targets)


def _tell(workspace: Workspace, target: Target, link_of: Callable[[Sequence[str]], str | None], now: datetime) -> int:
    by_event: dict[tuple[AlertEvent, bool], list[state.Telling]] = defaultdict(list)
    for one in state.claim(workspace.database, target, workspace.settings.destination.name, now):
        by_event[one.condition.event, one.is_end].append(one)
    # One that a receiver never takes comes last, so that it keeps no other from arriving.
    messages = sorted(by_event.values(), key=lambda each: min(one.tries for one in each))
    for number, tellings in enumerate(messages):
        try:
            target.send(_alert(workspace, target.key, tellings, link_of))
        except Exception as error:  # whatever a notifier raises, in words that can hold an address
            shown = str(error) if isinstance(error, WebhookError | WindsorSyncError) else type(error).__name__
            _log.warning("An alert did not reach %s: %s. It is tried again later.", target.key, shown)
            unsent = [one for each in messages[number + 1 :] for one in each]
            state.put_off(workspace.database, tellings, unsent, now)
            return number
        state.arrived(workspace.database, tellings)
    return len(messages)


def _alert(
    workspace: Workspace,
    target: str,
    tellings: Sequence[state.Telling],
    link_of: Callable[[Sequence[str]], str | None],
) -> Alert:
    conditions = [one.condition for one in tellings]
    first, is_end = conditions[0], tellings[0].is_end
    lines = [_end_text(one) if is_end else harmless(one.sentence) for one in conditions]
    more = f"\n… and {len(lines) - MAX_LINES:,} more." if len(lines) > MAX_LINES else ""
    several = f"{counted(len(conditions), 'audience')} at {first.destination}"
    audiences = tuple(one.audience for one in conditions if one.audience)
    parts = [workspace.database.installation(), target, first.event.value, str(is_end)]
    parts += [f"{one.audience} {one.since.isoformat()}" for one in conditions]
    return Alert(
        event=AlertEvent.RECOVERED if is_end else first.event,
        subject=first.subject if len(conditions) == 1 else harmless(several),
        text=without_markup("\n".join(lines[:MAX_LINES]) + more)[:MAX_TEXT],
        audiences=tuple(map(harmless, audiences)),
        run_id=first.run_id,
        since=first.since,
        id=hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32],
        link=link_of(audiences),
    )


def _end_text(condition: Condition) -> str:
    return f"{condition.subject} has recovered ({EVENT_WORDS[condition.event]}, since {moment(condition.since)})."


def _open(workspace: Workspace) -> list[Condition]:
    return state.open_conditions(workspace.database, workspace.settings.destination.name)


def _record(workspace: Workspace, event: AlertEvent, wrong: dict[str, str], now: datetime) -> None:
    """Let these audiences, by trait key and with a sentence, be all that this event has happened to."""
    destination = workspace.settings.destination.name
    known = {one.audience for one in _open(workspace) if one.event is event}
    for audience in known - wrong.keys():
        state.end_condition(workspace.database, destination, audience, event, now)
    for audience in wrong.keys() - known:
        state.begin_condition(workspace.database, Condition(destination, audience, event, wrong[audience], now), now)


def _judge_size(workspace: Workspace, run: Run, at: datetime) -> None:
    """Compare the size of a run's snapshot with the sizes before it; before the unusual one, where it lasts."""
    destination = workspace.settings.destination.name
    known = next(
        (one for one in _open(workspace) if one.event is AlertEvent.SIZE and one.audience == run.audience), None
    )
    before = [
        each.books.members
        for each in history(workspace.database, run.audience_id, before=run.number, limit=2 * WINDOW)
        if known is None or (each.finished_at or each.started_at) < known.since
    ][:WINDOW]
    low, high = (min(before) * (1 - MARGIN), max(before) * (1 + MARGIN)) if before else (0, 0)
    is_small = max([run.books.members, *before]) < workspace.settings.defaults.guard_floor
    if len(before) < FEWEST_SNAPSHOTS or is_small or low <= run.books.members <= high:
        state.end_condition(workspace.database, destination, run.audience, AlertEvent.SIZE, at)
        return
    sentence = (
        f"{harmless(run.name)} has {counted(run.books.members, 'member')} now; it had "
        f"{min(before):,} to {max(before):,} in the {len(before)} runs before. The guard decided whether its changes were "
        f"sent. Check whether its source is complete and its definition in Segment has changed: windsor-sync runs {run.run_id}"
    )
    state.begin_condition(
        workspace.database, Condition(destination, run.audience, AlertEvent.SIZE, sentence, at, run.run_id), at
    )
