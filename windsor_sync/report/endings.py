"""Tells how runs ended up: who approved or refused what a run withheld, which run sent it, and which one took its place."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from windsor_sync.domain.guard import Ceiling
from windsor_sync.domain.labels import counted, state_words
from windsor_sync.domain.run import ForwardingRun, Run, RunState
from windsor_sync.state.approvals import Approval, RefusedApproval, approvals_of, approvals_used, refusals_of
from windsor_sync.state.audit_log import trailed
from windsor_sync.state.database import Database, StateRow
from windsor_sync.state.runs import numbers_of_starts
from windsor_sync.usecases.backfill import KIND, PERMISSION


@dataclass(frozen=True, slots=True)
class Happening:
    """A person's word on a run, or what came of it."""

    text: str
    at: datetime | None = None
    note: str | None = None
    run_id: str | None = None
    """of the run that the text names"""


@dataclass(frozen=True, slots=True)
class Ending:
    """The standing of a run, in a few words and in full."""

    text: str
    tone: str
    """`yes`, `warn`, `no` or `calm`: the colour"""
    decisions: tuple[Happening, ...] = ()
    """oldest first"""
    can_be_answered: bool = False
    """whether a person may approve or refuse what it withholds"""
    needs_person: bool = False


def endings(database: Database, found: Sequence[Run], newest: Mapping[int, Run]) -> dict[str, Ending]:
    """Return how each run stands, by its id; `newest`: the newest run of each audience that is known to the caller."""
    of_audience: defaultdict[int, list[Run]] = defaultdict(list)
    for run in found:
        of_audience[run.audience_id].append(run)
    return {
        run_id: ending
        for audience_id, of_one in of_audience.items()
        for run_id, ending in _of_audience(database, of_one, newest.get(audience_id)).items()
    }


def _of_audience(database: Database, found: Sequence[Run], newest: Run | None) -> dict[str, Ending]:
    asked = [run.run_id for run in found if run.held]
    given = approvals_of(database, asked) if asked else []
    settled = [one.settled_at for one in given if one.settled_at is not None]
    began = numbers_of_starts(database, found[0].audience_id, settled) if settled else {}
    refused = refusals_of(database, found[0].audience) if asked else []
    by_number = {run.number: run for run in (*found, *([newest] if newest else []))}
    return {
        run.run_id: _ending(
            run,
            _Next(run, None if newest is None else newest.run_id, by_number.get(run.number + 1)),
            [one for one in given if one.run_id == run.run_id],
            [one for one in refused if one.run_id == run.run_id],
            began,
        )
        for run in found
    }


def _ending(
    run: Run,
    by: "_Next",
    given: Sequence[Approval],
    refused: Sequence[RefusedApproval],
    began: Mapping[datetime, StateRow],
) -> Ending:
    words = state_words(run.state)
    if run.state is not RunState.WITHHELD:
        left = run.books.changes - run.books.delivered
        taken_over = (by.took_over("the rest"),) if left and not by.is_none and not _is_forwarding(run) else ()
        return Ending(words.text, words.tone, taken_over, needs_person=words.tone in ("no", "warn") and by.is_none)
    said = sorted([*(_approved(one, began) for one in given), *(_refused(one) for one in refused)], key=_moment)
    answers: list[Approval | RefusedApproval] = [*given, *refused]
    last = max(answers, key=lambda one: one.at, default=None)
    used = [began[one.settled_at] for one in given if one.settled_at is not None and one.settled_at in began]
    decisions = tuple(one for each in said for one in each)
    if used and used[-1].options.get("uses_approval", True):
        text = f"approved by {given[-1].who}, sent in run {used[-1].number}"
        return Ending(text, "yes", decisions)
    if by.is_none:
        return _open(last, decisions)
    replaced = (*decisions, by.took_over("the withheld changes", last.ceiling if isinstance(last, Approval) else None))
    if isinstance(last, RefusedApproval):
        return Ending(f"refused by {last.who}, replaced by run {by.number}", "calm", replaced)
    if isinstance(last, Approval):
        return Ending(f"approved by {last.who}, replaced by run {by.number}", "calm", replaced)
    return Ending(f"replaced by run {by.number}", "calm", replaced)


def _open(last: Approval | RefusedApproval | None, decisions: tuple[Happening, ...]) -> Ending:
    if isinstance(last, RefusedApproval):
        return Ending(f"refused by {last.who}", "warn", decisions, can_be_answered=True)
    if isinstance(last, Approval):
        return Ending(f"approved by {last.who}, waits for the next run", "calm", decisions, can_be_answered=True)
    return Ending("waits for approval", "warn", decisions, can_be_answered=True, needs_person=True)


@dataclass(frozen=True, slots=True)
class _Next:
    """The run after a run."""

    run: Run
    newest_id: str | None
    found: Run | None
    """where the caller knows it"""

    @property
    def is_none(self) -> bool:
        """Whether there is none yet."""
        return self.newest_id in (None, self.run.run_id)

    @property
    def number(self) -> int:
        """Return its number: an audience's runs have consecutive ones."""
        return self.run.number + 1

    def took_over(self, what: str, ceiling: Ceiling | None = None) -> Happening:
        """Say that it took over; `ceiling` was approved and not used."""
        text = f"Run {self.number} took over {what}."
        if self.found is None:
            return Happening(text)
        more = _beyond(ceiling, self.found) if ceiling else []
        if more:
            text = f"Run {self.number} found {' and '.join(more)}, more than approved, and sent none of them."
        return Happening(text, self.found.started_at, run_id=self.found.run_id)


def _beyond(ceiling: Ceiling, run: Run) -> list[str]:
    """Return what a run withholds because it is more than was approved."""
    sides = (
        ("exited", ceiling.max_exited, run.books.exited, "exits"),
        ("entered", ceiling.max_entered, run.books.entered, "entries"),
    )
    return [
        f"{number:,} {many}"
        for side, top, number, many in sides
        if side in run.held and top is not None and number > top
    ]


def ceiling_words(approval: Approval) -> str:
    """Return what was approved in words."""
    ceiling = approval.ceiling
    sides = ((ceiling.max_exited, "exit"), (ceiling.max_entered, "entry"))
    many = {"exit": "exits", "entry": "entries"}
    return " and ".join(f"at most {counted(number, one, many[one])}" for number, one in sides if number is not None)


def _approved(one: Approval, began: Mapping[datetime, StateRow]) -> tuple[Happening, ...]:
    given = Happening(f"Approved by {one.who}: {ceiling_words(one)}.", one.at, one.why)
    run = began.get(one.settled_at) if one.settled_at else None
    if run is None:
        return (given,)
    is_used = run.options.get("uses_approval", True)
    became = f"Sent in run {run.number}." if is_used else f"The approval was not needed any more in run {run.number}."
    return given, Happening(became, run.started_at, run_id=run.id)


def _refused(one: RefusedApproval) -> tuple[Happening, ...]:
    return (Happening(f"Refused by {one.who}: no withheld change was sent.", one.at, one.why),)


def _moment(said: tuple[Happening, ...]) -> datetime:
    assert said[0].at is not None
    return said[0].at


def _is_forwarding(run: Run) -> bool:
    return isinstance(run, ForwardingRun)


def permissions(database: Database, run: Run) -> tuple[Happening, ...]:
    """Say who let a run go out: the approval that it used, or a person's word on a backfill's plan."""
    used = approvals_used(database, [run.audience_id], [run.started_at]) if run.options.get("uses_approval") else []
    said = [Happening(f"Approved by {one.who}: {ceiling_words(one)}.", one.at, one.why) for one in used]
    if run.kind == KIND:
        said += [
            Happening(
                f"Plan approved by {row.who}: at most {counted(row.details['changes'], 'change')}.", row.at, row.why
            )
            for row in trailed(database, PERMISSION, run.audience)
            if row.details["trigger"] == run.trigger and row.at <= run.started_at
        ][:1]
    return tuple(said)
