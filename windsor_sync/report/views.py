"""View models: what a page or the report shows, from our state only and without any user."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

from windsor_sync.domain.change import Turnover
from windsor_sync.domain.labels import class_words, counted, moment
from windsor_sync.domain.run import ForwardingRun, Run, RunState
from windsor_sync.events.books import overview
from windsor_sync.report.endings import Ending, Happening, endings, permissions
from windsor_sync.report.schedule import next_of_each, next_scheduled
from windsor_sync.segment.trait_keys import TraitKey
from windsor_sync.state.audiences import EVENTS, EVENTS_CLASS, audience_by_key, audiences_of, can_be_stored
from windsor_sync.state.database import Database, StateRow
from windsor_sync.state.rejections import RejectedRow, RejectionGroup, rejected_rows, rejection_groups
from windsor_sync.state.runs import delivered_so_far, history, newest_of_each, recent
from windsor_sync.usecases.orphans import entries_by_id
from windsor_sync.usecases.stored_records import count_false
from windsor_sync.usecases.warnings import warnings
from windsor_sync.usecases.workspace import Workspace

AUDIENCES_A_PAGE = 100
RUNS_A_PAGE = 25
RUNS_CHARTED = 60
MOST_RUNS_CHARTED = 3_000
ROWS_A_PAGE = 50

SYNC_DAG = "engage_audience_sync"
FORWARDING_DAG = "segment_event_forwarding"


@dataclass(frozen=True, slots=True)
class AudienceLine:
    """One audience or computed trait in the list."""

    audience_id: int
    key: str
    name: str
    kind: str
    is_retired: bool
    is_off: bool
    """switched off in windsor.yaml, or not in it any more"""
    last: Run | None
    next_at: datetime | None
    warnings: tuple[str, ...] = ()
    """what a person should look at, with what to do about it"""
    ending: Ending | None = None
    """how the last run stands"""

    @property
    def is_synced(self) -> bool:
        """Whether windsor.yaml syncs it."""
        return not (self.is_retired or self.is_off)

    @property
    def waiting(self) -> int:
        """Return how many changes Windsor has not acknowledged: withheld, owed and rejected."""
        return self.last.books.withheld + self.last.books.owed + self.last.books.rejected if self.last else 0

    @property
    def needs_person(self) -> bool:
        """Whether a person has to decide or mend something."""
        return self.is_synced and (bool(self.warnings) or (self.ending is not None and self.ending.needs_person))


@dataclass(frozen=True, slots=True)
class Standing:
    """The settings of a destination's audiences in windsor.yaml, by audience id."""

    synced: Set[int]
    """those with an enabled entry"""
    warnings: Mapping[int, tuple[str, ...]]
    next_at: Mapping[int, datetime]
    """by audience id: when the schedule that last synced it starts again"""


@dataclass(frozen=True, slots=True)
class AudienceList:
    """The audiences of one destination."""

    destination: str
    lines: tuple[AudienceLine, ...]
    never_synced: tuple[str, ...]
    """names in windsor.yaml that no run has been about"""
    after: int | None
    """where the next page goes on; None on the last"""
    now: datetime


@dataclass(frozen=True, slots=True)
class AudienceView:
    """One audience, as the page shows it."""

    line: AudienceLine
    runs: tuple[Run, ...]
    """newest first"""
    before: int | None
    """where older runs go on"""
    charted: tuple[Run, ...]
    """oldest first"""
    endings: Mapping[str, Ending]
    """of the runs, by id"""
    now: datetime
    days: int | None = None
    """how far back the charts go"""
    progress: "Progress | None" = None
    """of the newest run, while it has not ended"""
    told_false: int | None = None
    """users whom Windsor has as false, by what the kept runs delivered; None where nobody counted"""


@dataclass(frozen=True, slots=True)
class RunView:
    """One run, as the page shows it."""

    run: Run
    steps: dict[str, int] | None
    """of forwarded events"""
    ending: Ending
    decisions: tuple[Happening, ...]
    """who let it go out, and what became of what it left; oldest first"""
    groups: tuple[RejectionGroup, ...]
    rows: tuple[RejectedRow, ...]
    after: int | None
    now: datetime
    progress: "Progress | None" = None


@dataclass(frozen=True, slots=True)
class EventsView:
    """Event forwarding, by step of the Delivery Overview."""

    is_configured: bool
    runs: tuple[Run, ...]
    before: int | None
    charted: tuple[Run, ...]
    endings: Mapping[str, Ending]
    steps: dict[str, int]
    """summed over the charted runs, but for what waits now: that is the newest run's"""
    failed_on_ingest: dict[str, int]
    filtered: dict[str, int]
    next_at: datetime | None
    now: datetime


def list_audiences(workspace: Workspace, *, after: int = 0, limit: int = AUDIENCES_A_PAGE) -> AudienceList:
    """A page of all that was ever synced to the destination, and on the last one what has not been yet."""
    database, settings = workspace.database, workspace.settings
    destination = settings.destination.name
    rows = audiences_of(database, destination, after=after, limit=limit + 1)
    page = rows[:limit]
    newest = newest_of_each(database, destination, after=after, limit=limit)
    last = {run.audience_id: run for run in _as_they_stand(database, newest)}
    is_last = len(rows) <= limit
    standing = how_all_stand(workspace)
    how = endings(database, list(last.values()), last)
    return AudienceList(
        destination=destination,
        lines=tuple(
            _line(row, last.get(row.id), standing, how) for row in page if row.computation_class != EVENTS_CLASS
        ),
        never_synced=_never_synced(workspace) if is_last else (),
        after=None if is_last else page[-1].id,
        now=datetime.now(UTC),
    )


def view_audience(
    workspace: Workspace,
    key: str,
    *,
    before: int | None = None,
    days: int | None = None,
    standing: Standing | None = None,
) -> AudienceView | None:
    """One audience with a page of its runs; None when it was never synced. `standing` is worked out where it is not given.

    `days`: how far back its charts go; by default its last 60 runs.
    """
    row = audience_by_key(workspace.database, workspace.settings.destination.name, key)
    if row is None or row.computation_class == EVENTS_CLASS:
        return None
    newest = _history(workspace.database, row.id, None, 1)
    page, older = _page_of_runs(workspace.database, row.id, before)
    how = _how(workspace.database, row.id, page, newest)
    return AudienceView(
        line=_line(row, newest[0] if newest else None, standing or how_all_stand(workspace), how),
        endings=how,
        days=days,
        progress=_progress(workspace, newest[0]) if newest else None,
        told_false=count_false(workspace, row.id) if days is not None and row.computation_class == "audience" else None,
        runs=page,
        before=older,
        charted=_charted(workspace.database, row.id, days),
        now=datetime.now(UTC),
    )


def _charted(database: Database, audience_id: int, days: int | None) -> tuple[Run, ...]:
    """Return the runs that charts show, oldest first; of many runs in the window each day as one."""
    if days is None:
        return tuple(reversed(_history(database, audience_id, None, RUNS_CHARTED)))
    since = datetime.now(UTC) - timedelta(days=days)
    found = _as_they_stand(database, history(database, audience_id, since=since, limit=MOST_RUNS_CHARTED))
    found.reverse()
    return tuple(found) if len(found) <= RUNS_CHARTED else tuple(map(_as_one, _days_of(found)))


def _days_of(runs: Sequence[Run]) -> Iterator[list[Run]]:
    for _, of_day in groupby(runs, key=lambda run: run.started_at.date()):
        yield list(of_day)


def _as_one(runs: Sequence[Run]) -> Run:
    """Return a day's runs as one: who came and went, and what was delivered, added up; what waits is the last run's."""
    last = runs[-1]
    turnover = Turnover(
        *(
            sum(getattr(run.books.since_last, name) for run in runs)
            for name in ("entered", "exited", "updated", "moved")
        )
    )
    delivered = sum(run.books.delivered for run in runs)
    number = 1 if runs[0].number == 1 else last.number
    return replace(last, number=number, books=replace(last.books, turnover=turnover, delivered=delivered))


def view_banner(workspace: Workspace) -> str | None:
    """Return what keeps everything from being told to Windsor now; None when nothing does."""
    found = recent(workspace.database, destination=workspace.settings.destination.name, limit=RUNS_A_PAGE)
    last = next((run for run in found if run.finished_at is not None and run.books.changes), None)
    if last is None or last.state not in (RunState.REFUSED, RunState.UNAVAILABLE):
        return None
    connection = workspace.settings.destination.connection
    since = f"since {moment(last.finished_at)}"
    if last.state is RunState.REFUSED:
        key = f"until the connection {connection} has a valid one"
        return f"Windsor refuses the key {since}: nothing is sent {key}."
    return f"Windsor does not answer {since}. The next run sends what waits."


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run that has not ended."""

    done: int
    total: int
    a_second: float
    left: timedelta | None
    """at that pace; None while it is not known"""
    is_running: bool
    """whether anybody delivers it; else it died, and the next run goes on"""


def _progress(workspace: Workspace, run: Run) -> Progress | None:
    if run.state is not RunState.OPEN:
        return None
    is_running = workspace.is_held(TraitKey(run.audience))
    total = run.options.get("to_send", run.books.changes)
    spent_s = max((datetime.now(UTC) - run.started_at).total_seconds(), 1.0)
    a_second = run.books.delivered / spent_s
    left = timedelta(seconds=max(total - run.books.delivered, 0) / a_second) if a_second and is_running else None
    return Progress(run.books.delivered, total, a_second, left, is_running)


def view_run(workspace: Workspace, run_id: str, *, after: int = -1) -> RunView | None:
    """One run of this destination with a page of its rejected rows; None when there is none."""
    database, destination = workspace.database, workspace.settings.destination.name
    if not can_be_stored(run_id):
        return None
    found = _as_they_stand(database, recent(database, destination=destination, run_id=run_id, limit=1))
    if not found:
        return None
    rows = rejected_rows(database, run_id, after=after, limit=ROWS_A_PAGE + 1)
    near = _history(database, found[0].audience_id, found[0].number + 2, 2)
    newest = _history(database, found[0].audience_id, None, 1)
    ending = endings(database, near, {found[0].audience_id: newest[0]})[run_id]
    return RunView(
        run=found[0],
        steps=overview(found[0]) if isinstance(found[0], ForwardingRun) else None,
        ending=ending,
        decisions=(*permissions(database, found[0]), *ending.decisions),
        groups=tuple(rejection_groups(database, run_id)),
        rows=tuple(rows[:ROWS_A_PAGE]),
        after=rows[ROWS_A_PAGE - 1].seq if len(rows) > ROWS_A_PAGE else None,
        now=datetime.now(UTC),
        progress=_progress(workspace, found[0]),
    )


def view_events(workspace: Workspace, *, before: int | None = None) -> EventsView:
    """Event forwarding: the newest runs added up by step, and a page of the runs."""
    settings = workspace.settings
    row = audience_by_key(workspace.database, settings.destination.name, EVENTS)
    found = _history(workspace.database, row.id, None, RUNS_CHARTED) if row is not None else []
    charted = [run for run in found if isinstance(run, ForwardingRun)]
    page, older = _page_of_runs(workspace.database, row.id, before) if row is not None else ((), None)
    return EventsView(
        is_configured=settings.events is not None,
        runs=page,
        before=older,
        charted=tuple(reversed(charted)),
        endings=_how(workspace.database, row.id, page, found) if row is not None else {},
        steps=_summed(charted),
        failed_on_ingest=_by_code(charted, "failed_on_ingest"),
        filtered=_by_code(charted, "filtered"),
        next_at=next_scheduled(workspace.database, FORWARDING_DAG, settings.schedule.events),
        now=datetime.now(UTC),
    )


def how_all_stand(workspace: Workspace) -> Standing:
    """Return which audiences are synced, what is to be looked at, and when the next run is due."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for one in warnings(workspace):
        found[one.audience_id].append(str(one))
    shared, entries = (
        workspace.settings.schedule.audiences,
        entries_by_id(workspace.settings, workspace.registry.known()),
    )
    return Standing(
        synced=entries.keys(),
        warnings={audience_id: tuple(texts) for audience_id, texts in found.items()},
        next_at=next_of_each(workspace.database, {number: each.schedule or shared for number, each in entries.items()}),
    )


def _how(database: Database, audience_id: int, page: Sequence[Run], newest: Sequence[Run]) -> dict[str, Ending]:
    """Return how the runs of a page stand, and the newest one."""
    found = {run.run_id: run for run in (*newest[:1], *page)}
    return endings(database, list(found.values()), {audience_id: newest[0]} if newest else {})


def _line(row: StateRow, last: Run | None, standing: Standing, how: Mapping[str, Ending]) -> AudienceLine:
    is_retired = row.retired_at is not None
    is_off = not is_retired and row.id not in standing.synced
    return AudienceLine(
        audience_id=row.id,
        key=row.trait_key,
        name=row.name,
        kind=class_words(row.computation_class),
        is_retired=is_retired,
        is_off=is_off,
        last=last,
        next_at=None if is_retired or is_off else standing.next_at.get(row.id),
        warnings=standing.warnings.get(row.id, ()),
        ending=how[last.run_id] if last else None,
    )


def _never_synced(workspace: Workspace) -> tuple[str, ...]:
    rows = workspace.registry.known()
    known = {row.trait_key for row in rows} | {row.segment_id for row in rows if row.segment_id}
    wanted = [each for each in workspace.settings.computations if each.enabled]
    return tuple(each.name for each in wanted if each.key not in known and each.id not in known)


def _page_of_runs(database: Database, audience_id: int, before: int | None) -> tuple[tuple[Run, ...], int | None]:
    """A page of runs, newest first, and the number from which older ones go on."""
    found = _history(database, audience_id, before, RUNS_A_PAGE + 1)
    page = tuple(found[:RUNS_A_PAGE])
    return page, page[-1].number if len(found) > RUNS_A_PAGE else None


BACKFILLS_SHOWN = 100
"""Number of an audience's newest runs in which the backfills of the list are looked for."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A backfill in our books: what went out, in words."""

    run_id: str
    text: str


def backfills_of(workspace: Workspace, key: str, dag_id: str) -> dict[str, Outcome]:
    """Return what went out in the newest backfills of an audience, by the id of the DAG's run."""
    row = audience_by_key(workspace.database, workspace.settings.destination.name, key)
    start = f"airflow {dag_id} "
    found = _history(workspace.database, row.id, None, BACKFILLS_SHOWN) if row is not None else []
    return {
        run.trigger.removeprefix(start): Outcome(run.run_id, _went_out(run))
        for run in reversed(found)
        if run.trigger.startswith(start)
    }


def _went_out(run: Run) -> str:
    total = run.options.get("to_send", run.books.changes)
    left = total - run.books.delivered - run.books.rejected
    goes_on = run.state is RunState.OPEN
    more = (
        f"; {left:,} {'are' if left != 1 else 'is'} left, and the next sync sends them"
        if left > 0 and not goes_on
        else ""
    )
    return f"{run.books.delivered:,} of {counted(total, 'change')} went out{more}"


def _history(database: Database, audience_id: int, before: int | None, limit: int) -> list[Run]:
    return _as_they_stand(database, history(database, audience_id, before=before, limit=limit))


def _as_they_stand(database: Database, runs: Sequence[Run]) -> list[Run]:
    """The books of a run that has not ended are written at its end; until then, its checkpoints say how far it is."""
    unfinished = [run.run_id for run in runs if run.state is RunState.OPEN]
    if not unfinished:
        return list(runs)
    delivered = delivered_so_far(database, unfinished)
    return [_so_far(run, delivered.get(run.run_id, 0)) if run.state is RunState.OPEN else run for run in runs]


def _so_far(run: Run, delivered: int) -> Run:
    return replace(run, books=replace(run.books, delivered=delivered, owed=run.books.changes - delivered))


STANDING = ("held", "awaiting_retry")
"""Steps in which a message stays from run to run: adding them up would count it again and again."""


def _summed(newest_first: Sequence[ForwardingRun]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for run in newest_first:
        total.update(overview(run))
    if newest_first:
        now = overview(newest_first[0])
        total.update({step: now[step] - total[step] for step in STANDING})
    total.pop("carried", None)  # counted when it was received
    return dict(total)


def _by_code(runs: Sequence[ForwardingRun], step: str) -> dict[str, int]:
    total: Counter[str] = Counter()
    for run in runs:
        total.update(run.intake[step])
    return dict(total.most_common())
