"""Tells why a user is, or is not, in an audience: every change we planned for them, what became of it, and what stands now."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from windsor_sync.diff.duckdb import define_answers, small_table
from windsor_sync.diff.statement import status_before
from windsor_sync.domain.change import COLUMNS, FALSE_FIRST
from windsor_sync.domain.labels import moment
from windsor_sync.errors import StoredFileError
from windsor_sync.persons.merges import Kin
from windsor_sync.segment.identify import ComputationClass
from windsor_sync.state.database import Database
from windsor_sync.state.ledger import Head, Ledger
from windsor_sync.state.runs import Outline, outlines
from windsor_sync.storage.duckdb_engine import open_duckdb, open_stored, parquet, parquet_files, quoted, stored_files
from windsor_sync.storage.file_store import FileStore
from windsor_sync.usecases.forget import is_suppressed
from windsor_sync.usecases.workspace import Workspace

RUNS_LOOKED_AT = 1_000
ROWS_AT_A_TIME = 5_000


FILES_AT_ONCE = 500
"""The outboxes of one query."""

FETCHED_BYTES = 1 << 20
"""An outbox of an object store up to this size is fetched whole."""

MOST_ROWS = 1 << 40
"""No outbox has as many rows. Each run's row numbers start at a multiple of it, so all of them fit into one table."""

ASKED = (
    "seq", "user_id", "anonymous_id", "change", "value", "was_told", "told_value", "was_sent", "tried_code", "status",
)  # fmt: skip
"""The columns that FATES reads."""

ROWS = f"""
    SELECT filename, {", ".join(ASKED)}
    FROM (
        SELECT * REPLACE (coalesce(was_sent, in_doubt) AS was_sent, {{status}} AS status)
        FROM (FROM {{outboxes}} UNION ALL BY NAME SELECT CAST(NULL AS BOOLEAN) AS was_sent WHERE FALSE)
    ) o
    WHERE {{condition}}
"""
"""Finds rows in several outboxes. An outbox of an older version has no column `was_sent`."""


class NamedRow(NamedTuple):
    """A row of an outbox that is about the person."""

    run: Outline
    seq: int
    rest: list[Any]
    """its other columns, as ASKED names them"""


@dataclass(frozen=True, slots=True)
class WhyStep:
    """One change of one run about this person."""

    run_id: str
    user: str
    """the id that the change names; the person may have several"""
    started_at: datetime
    taken_at: datetime
    """of the snapshot"""
    change: str
    value: Any
    """what Windsor was to be told"""
    fate: str
    """delivered, rejected, withheld, owed, in doubt, not due, suppressed, or merged: its id became another one, whose change
    has taken the place of this one"""
    code: int | None
    """what Windsor answered to this change: in this run, or, where it is not due yet, before"""
    message: str | None
    was_told_before: bool
    """whether Windsor had been told, and acknowledged, that the user is in it"""
    told_before: Any
    """and the value"""


@dataclass(frozen=True, slots=True)
class Account:
    """The story of one person in one audience."""

    audience: str
    name: str
    ids: tuple[Kin, ...]
    """every id of the person, where Windsor has merged several; empty where only the given one is known"""
    is_in_snapshot: bool
    """whether the newest sealed snapshot has the person, under any of the ids"""
    snapshot_taken_at: datetime | None
    is_suppressed: bool
    steps: tuple[WhyStep, ...]
    """newest first"""
    last_run: str | None
    """the audience's newest run: of what older ones owed it has taken over what still holds"""
    told: Any
    """the trait's value as Windsor was told and acknowledged; None when it never was"""
    was_told: bool
    is_in_doubt: bool
    """whether Windsor may hold something else"""
    is_merged_since: bool
    """whether Windsor has merged ids of the person after the newest run compared: it may hold something else"""
    kept_since: datetime | None
    """the oldest run that could be asked about the user; None when every run could be"""

    @property
    def sentence(self) -> str:
        """Return how it stands, in words."""
        if self.is_suppressed:
            return "The user is suppressed: Windsor is not told anything about them."
        where = "is in the newest snapshot" if self.is_in_snapshot else "is not in the newest snapshot"
        told = f"Windsor was told {_shown(self.told)}{self._told_by}" if self.was_told else self._told_nothing
        if self.is_in_doubt:
            told += ", and may have received a later message without answering"
        if self.was_told and self.is_merged_since:
            told += ", and has merged ids of this person since: the next sync tells Windsor again"
        return f"The user {where}; {told}."

    @property
    def became(self) -> tuple[str, ...]:
        """Say in words which id became which, the oldest merge first."""
        return tuple(
            f"{one.id} became {one.survivor} on {one.since:%Y-%m-%d}" for one in self.ids if one.id != one.survivor
        )

    @property
    def _told_by(self) -> str:
        is_known = self.kept_since is None or any(step.fate == "delivered" for step in self.steps)
        return "" if is_known else f" before {moment(self.kept_since)}"

    @property
    def _told_nothing(self) -> str:
        if self.kept_since is None:
            return "Windsor was never told anything about them"
        return (
            f"Windsor was told nothing about them since {moment(self.kept_since)}, and what older runs told is not kept"
        )


def why(workspace: Workspace, user: str, audience_ids: Sequence[int] | None = None) -> list[Account]:
    """One account for each audience that was ever synced (or those given), oldest audience first.

    It is about the person: all ids that Windsor has merged with the given one count. Raises StoredFileError where a file that
    is needed for that is lost or damaged.
    """
    person = Person(user, tuple(workspace.merges.kin([user])))
    return [
        _account(workspace, row, person)
        for row in workspace.registry.known()
        if audience_ids is None or row.id in audience_ids
    ]


@dataclass(frozen=True, slots=True)
class Person:
    """The person who is asked for: the given id, and every id that Windsor has merged with it."""

    asked_for: str
    kin: tuple[Kin, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Return all ids, the one that was asked for first."""
        return tuple(dict.fromkeys((self.asked_for, *(one.id for one in self.kin))))

    @property
    def condition(self) -> str:
        """Return the SQL condition of the person's rows `o`: by user id, or by anonymous id where there is no user id.

        In this form the engine leaves out the parts of a file whose range of ids has none of them.
        """
        ids = ", ".join(map(quoted, self.ids))
        return f"(o.user_id IN ({ids}) OR (o.user_id IS NULL AND o.anonymous_id IN ({ids})))"


def _account(workspace: Workspace, row: Any, person: Person) -> Account:
    head = workspace.ledger.head(row.id)
    owing = head.run_id if head and not head.is_settled else None
    everything = outlines(workspace.database, row.id, RUNS_LOOKED_AT)
    runs, found = _about(workspace.files, workspace.ledger, everything, row.computation_class, person, owing)
    kept_since = _kept_since(runs)
    steps = tuple(_closed(workspace.database, person, step) for step in found)
    is_in_snapshot = bool(head and head.snapshot and _is_in(head.snapshot, person))
    was_told, told = _told(head, row.computation_class, person, steps, is_in_snapshot=is_in_snapshot)
    return Account(
        audience=row.trait_key,
        name=row.name,
        ids=person.kin,
        is_in_snapshot=is_in_snapshot,
        snapshot_taken_at=head.taken_at if head else None,
        is_suppressed=any(is_suppressed(workspace.database, name) for name in person.ids),
        steps=steps,
        last_run=head.run_id if head else None,
        told=told,
        was_told=was_told,
        is_in_doubt=bool(steps) and steps[0].fate == "in doubt",
        is_merged_since=bool(runs) and any(one.since > runs[0].started_at for one in person.kin),
        kept_since=kept_since,
    )


def _about(
    files: FileStore, ledger: Ledger, runs: Sequence[Outline], computation_class: str, person: Person, owing: str | None
) -> tuple[list[Outline], list[WhyStep]]:
    """Return all runs, and the person's steps in them, on one engine.

    A lost or damaged outbox counts as one that is not kept, unless its run is `owing`: then StoredFileError is raised.
    """
    with _fetched(files, runs) as copies, open_duckdb() as connection:
        try:
            kept, found = list(runs), _rows(connection, files, runs, person, copies)
        except StoredFileError:
            kept, found = _of_each(connection, files, runs, person, owing)
        return kept, _steps(connection, ledger, runs, found, computation_class) if found else []


@contextmanager
def _fetched(files: FileStore, runs: Sequence[Outline]) -> Iterator[dict[str, Path]]:
    """Yield local copies of an object store's small outboxes: the engine would send several requests a file, one by one."""
    small = [run.outbox for run in runs if run.outbox and (run.size_bytes or FETCHED_BYTES + 1) <= FETCHED_BYTES]
    if files.is_local or not small:
        yield {}
        return
    with files.draft_folder() as folder:
        copies: dict[str, Path] = {}
        for first in range(0, len(small), FILES_AT_ONCE):
            copies |= files.fetch(small[first : first + FILES_AT_ONCE], folder)
        yield copies


def _of_each(
    connection: duckdb.DuckDBPyConnection,
    files: FileStore,
    runs: Sequence[Outline],
    person: Person,
    owing: str | None,
) -> tuple[list[Outline], list[NamedRow]]:
    """Read one outbox after the other, because one of them cannot be read; return all runs, and the person's rows."""
    kept: list[Outline] = []
    rows: list[NamedRow] = []
    for run in runs:
        try:
            rows += _rows(connection, files, [run], person, {})
            kept.append(run)
        except StoredFileError:
            if run.run_id == owing:
                raise
            kept.append(run._replace(outbox=None))
    return kept, rows


def _rows(
    connection: duckdb.DuckDBPyConnection,
    files: FileStore,
    runs: Sequence[Outline],
    person: Person,
    copies: Mapping[str, Path],
) -> list[NamedRow]:
    """Return the person's rows in the outboxes of the runs, or in copies of them.

    Raises StoredFileError where one of the files cannot be read.
    """
    found: list[NamedRow] = []
    with stored_files():
        for held in dict.fromkeys(run.held for run in runs):
            run_of = {
                str(copies.get(run.outbox) or files.location(run.outbox)): run
                for run in runs
                if run.outbox and run.held == held
            }
            locations = list(run_of)
            for first in range(0, len(locations), FILES_AT_ONCE):
                query = ROWS.format(
                    outboxes=parquet_files(
                        locations[first : first + FILES_AT_ONCE], "filename = true, union_by_name = true"
                    ),
                    status=status_before(held),
                    condition=person.condition,
                )
                found += (
                    NamedRow(_run_of(run_of, name), seq, rest)
                    for name, seq, *rest in connection.execute(query).fetchall()
                )
    return found


def _run_of(run_of: Mapping[str, Outline], file: str) -> Outline:
    """Return the run whose outbox is this file, or the folder that the file is in."""
    return run_of[file] if file in run_of else run_of[file.rpartition("/")[0]]


def _kept_since(runs: Sequence[Outline]) -> datetime | None:
    """Runs newest first; of those from the first on that had changes and has lost its outbox nothing is known."""
    whole = list(takewhile(lambda run: run.outbox is not None or not run.changes, runs))
    if len(whole) == len(runs) < RUNS_LOOKED_AT:
        return None
    return whole[-1].started_at if whole else runs[0].started_at


def _told(
    head: Head | None, computation_class: str, person: Person, steps: Sequence[WhyStep], *, is_in_snapshot: bool
) -> tuple[bool, Any]:
    """Whether Windsor was told anything, and the last thing it acknowledged."""
    delivered = next((step for step in steps if step.fate == "delivered"), None)
    if delivered is not None:
        return True, delivered.value
    if steps:  # what runs whose outboxes are gone had told
        oldest = {step.user: step for step in steps}.values()
        return next(((True, step.told_before) for step in oldest if step.was_told_before), (False, None))
    if is_in_snapshot:  # told by such a run too: else something would be owed
        return True, _value_in_snapshot(head, computation_class, person)
    return False, None


def _closed(database: Database, person: Person, step: WhyStep) -> WhyStep:
    """Return the step; as merged, where it was not delivered and its id became another one after the run began."""
    is_away = any(one.id == step.user != one.survivor and one.since > step.started_at for one in person.kin)
    if step.fate == "delivered" or not is_away or is_suppressed(database, step.user):
        return step
    return replace(step, fate="merged")


def _steps(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    runs: Sequence[Outline],
    found: Sequence[NamedRow],
    computation_class: str,
) -> list[WhyStep]:
    """Return the steps of these rows, newest run first, and within a run the last row first.

    One query finds out what became of the rows of all runs, so each run gets its own range of row numbers.
    """
    oldest_first = runs[::-1]
    start_of = {run.run_id: place * MOST_ROWS for place, run in enumerate(oldest_first)}
    answers = ledger.answers([(one.run.run_id, one.seq) for one in found])
    rows = [(start_of[one.run.run_id] + one.seq, *one.rest) for one in found]
    small_table(connection, "outbox_before", {name: COLUMNS[name] for name in ASKED}, rows)
    define_answers(connection, [(start_of[run_id], answer) for run_id, answer in answers.items()])
    messages = {(run_id, one.seq): one.message for run_id, (_, verdicts) in answers.items() for one in verdicts}
    decided = connection.execute(f"{FATES} ORDER BY o.seq DESC").fetchall()
    return [_step(oldest_first[row[0] // MOST_ROWS], computation_class, messages, row) for row in decided]


def _step(
    run: Outline, computation_class: str, messages: Mapping[tuple[str, int], str | None], row: tuple[Any, ...]
) -> WhyStep:
    number, user, change, value, was_told, told_value, fate, code = row
    return WhyStep(
        run_id=run.run_id,
        user=user,
        started_at=run.started_at,
        taken_at=run.taken_at,
        change=change,
        value=value_told(computation_class, change, value),
        fate=fate,
        code=code,
        message=messages.get((run.run_id, number % MOST_ROWS)),
        was_told_before=was_told,
        told_before=value_told(computation_class, "entered", told_value) if was_told else None,
    )


FATES = """
    SELECT
        o.seq, coalesce(o.user_id, o.anonymous_id), o.change, o.value, o.was_told, o.told_value,
        CASE
            WHEN v.verdict = 'delivered' OR (v.verdict IS NULL AND o.status = 'send' AND o.seq < p.position) THEN 'delivered'
            WHEN v.verdict = 'suppressed' OR o.status = 'withheld' THEN coalesce(v.verdict, o.status)
            WHEN v.verdict = 'rejected' THEN 'rejected'
            WHEN o.status = 'deferred' THEN 'not due'
            WHEN o.was_sent OR coalesce(v.in_doubt, o.status = 'send' AND o.seq < p.reach) THEN 'in doubt'
            ELSE 'owed'
        END AS fate,
        CASE WHEN fate = 'not due' THEN o.tried_code ELSE v.code END AS code
    FROM outbox_before o
    LEFT JOIN progress_before p ON o.seq >= p.first AND o.seq < p.last
    LEFT JOIN verdicts_before v ON o.seq = v.seq
"""


def _is_in(snapshot: str, person: Person) -> bool:
    with open_stored() as connection:
        return _names(connection, snapshot, person)


def _names(connection: duckdb.DuckDBPyConnection, file: str, person: Person) -> bool:
    """Whether a sealed snapshot or an outbox has a row about the person."""
    query = f"SELECT 1 FROM {parquet(file)} o WHERE {person.condition} LIMIT 1"
    return connection.execute(query).fetchone() is not None


def _value_in_snapshot(head: Head | None, computation_class: str, person: Person) -> Any:
    assert head is not None
    with open_stored() as connection:
        row = connection.execute(
            f"SELECT value FROM {parquet(head.snapshot or '')} o WHERE {person.condition} LIMIT 1"
        ).fetchone()
    return value_told(computation_class, "entered", row[0] if row else None)


def value_told(computation_class: str, change: str, value: str | None) -> Any:
    """Return the value that a change tells Windsor."""
    if computation_class == ComputationClass.AUDIENCE.value:
        return change not in FALSE_FIRST
    return json.loads(value) if value is not None and change not in FALSE_FIRST else None


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
