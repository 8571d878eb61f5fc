"""Prepares a run: compares the snapshot with what Windsor was told, and lets the guard judge the changes; sends nothing.

`plan` and every run share `prepare`, so the messages a plan lists are the messages a run sends.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from windsor_sync.diff.choice import engine
from windsor_sync.diff.duckdb import DiffTask, Tally
from windsor_sync.diff.task import Record
from windsor_sync.domain.change import KINDS, Limits, Turnover
from windsor_sync.domain.guard import Limit, Ruling, judge, withhold_unknown
from windsor_sync.domain.labels import counted
from windsor_sync.domain.progress import FIRST_SHARD, ShardProgress
from windsor_sync.errors import SnapshotError, SnapshotStale, SnapshotSuperseded, StoredFileError
from windsor_sync.outbox.audiences import CHUNK_ROWS, Renderer, count_held, count_lost_zeros, count_protected, read_rows
from windsor_sync.segment import identify as personas
from windsor_sync.settings import Computation, ComputedTrait, Settings
from windsor_sync.settings.choices import MaxAgeAction, UnreadableRows
from windsor_sync.sources.damaged_ids import LEAST
from windsor_sync.state.audiences import Registered
from windsor_sync.state.database import Database
from windsor_sync.state.ledger import Head, Ledger
from windsor_sync.state.stored_files import Stamp, StoredFiles
from windsor_sync.state.suppressions import suppressed_users
from windsor_sync.usecases import seal as sealing
from windsor_sync.usecases import stored_records
from windsor_sync.usecases.approvers import usable_approval
from windsor_sync.usecases.emails import add_emails, last_count
from windsor_sync.usecases.learn_merges import begin
from windsor_sync.usecases.renamed import withhold_renamed
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.seal import SealedSnapshot
from windsor_sync.usecases.staleness import stale
from windsor_sync.usecases.workspace import Workspace

_log = logging.getLogger(__name__)


NOTHING = Tally(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, turnover=Turnover())


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything a run will do, decided; nothing has been recorded or sent."""

    known: Registered
    number: int
    snapshot: SealedSnapshot
    head: Head | None
    tally: Tally
    ruling: Ruling
    renderer: Renderer
    outbox: Path
    """the draft; it has rows only when the tally has"""
    withheld: int = 0
    """changes that would be sent if nothing held them back"""
    protected: int = 0
    """of these, exits of users whose row in the snapshot cannot be read"""
    is_recovery: bool = False
    """what Windsor was told was taken from outboxes and older snapshots"""
    merges: int = 0
    """the number of the newest merge that is known"""
    without_email: int = 0
    """members for whom no e-mail is known"""

    @property
    def members(self) -> int:
        """Return how many persons the snapshot has: two merged ids are one."""
        return self.snapshot.members - self.tally.merged

    @property
    def members_before(self) -> int:
        """Return how many persons Windsor had been told are members."""
        return self.members - self.tally.entered + self.tally.told_exited

    @property
    def unreadable(self) -> str | None:
        """Return the first sentence about rows that could not be read, unless the ruling has it."""
        found = self.snapshot.unreadable
        if found is None or any(reason.startswith(found.finding) for reason in self.ruling.reasons):
            return None
        kept = f" {counted(self.protected, 'member')} with such a row: nothing changed." if self.protected else ""
        return f"{found.finding}.{kept}"

    def messages(self) -> Iterator[bytes]:
        """The messages the run would send, in their order."""
        chunks = (chunk for shard in cut_into_shards(self.tally, 1) for chunk in shard.chunks(CHUNK_ROWS))
        for rows in read_rows(str(self.outbox), chunks, self.ruling.held):
            for row in rows:
                yield from self.renderer.messages(row)


@contextmanager
def planned(workspace: Workspace, computation: Computation, request: Request) -> Iterator[Prepared]:
    """Work out what a run would do now, and record no run; the messages can be read inside the block."""
    workspace.marks.require_own()
    known = workspace.registry.find(computation)
    begin(workspace)
    with (
        workspace.files.draft() as draft,  # first of all: by it `forget` knows of this plan
        sealing.newest_snapshot(workspace, computation, known, request.snapshot_path) as snapshot,
    ):
        yield prepare(workspace, computation, known, snapshot, request, draft)


def prepare(
    workspace: Workspace,
    computation: Computation,
    known: Registered,
    snapshot: SealedSnapshot,
    request: Request,
    draft: Path,
    stamp: Stamp | None = None,
) -> Prepared:
    """Compare the snapshot with what Windsor was told, write the changes to `draft`, and let the guard judge them.

    `stamp` says in the draft whose it is, where it is to be stored. Raises StoredFileError when the files that the ledger
    stands on are not what was stored.
    """
    head = workspace.ledger.head(known.audience_id) if known.audience_id is not None else None
    _refuse_older(computation, head, snapshot, request)
    _refuse_header_only(computation, head, snapshot, request)
    _refuse_stale(computation, snapshot, request)
    number = known.runs + 1
    drops_exits = isinstance(computation, ComputedTrait) and not computation.sends_null_when_missing
    limits = replace(request.limits, drops_exits=drops_exits)
    told, limits = _what_was_told(workspace.stored, known, head, limits, is_beyond_guard=request.is_beyond_guard)
    merges = workspace.merges.known()
    is_same = head is not None and head.checksum == snapshot.checksum and head.merges == merges.number
    if head and head.is_settled and is_same and not limits.is_resync:
        tally = replace(NOTHING, merged=head.merged)
        without_email = last_count(workspace.database, head.run_id)
    else:
        suppressed = suppressed_users(workspace.database)
        task = DiffTask(
            head=told,
            snapshot=snapshot.location,
            number=number,
            taken_at=snapshot.taken_at,
            moment=datetime.now(UTC),
            suppressed=suppressed,
            protected=snapshot.unreadable.protected if snapshot.unreadable else (),
            salt=workspace.database.installation(),
            departed=_once_told(workspace, known, limits),
            limits=limits,
            merges=workspace.merges.locations(merges),
            merges_seen=head.merges if head else merges.number,
            joins=workspace.settings.destination.identify_merges is True,
            drafts=workspace.files.drafts_url,
            stamp=stamp.options() if stamp else "",
        )
        tally = engine(workspace.settings.diff)(task, draft)
        without_email = add_emails(workspace, computation, task, draft)
    _refuse_lost_zeros(computation, tally, draft, request)
    prepared = Prepared(
        known,
        number,
        snapshot,
        head,
        tally,
        Ruling((), ()),
        renderer(workspace.settings, workspace.database, computation, known),
        draft,
        is_recovery=limits.is_recovery,
        merges=merges.number,
        without_email=without_email,
    )
    if request.is_beyond_guard:
        return prepared
    ruling = _ruling(workspace, computation, prepared)
    protected = count_protected(str(draft)) if tally.rows and snapshot.unreadable else 0
    return replace(
        prepared, ruling=ruling, withheld=count_held(str(draft), ruling.held) + protected, protected=protected
    )


def _what_was_told(
    stored: StoredFiles, known: Registered, head: Head | None, limits: Limits, *, is_beyond_guard: bool
) -> tuple[Head | None, Limits]:
    """The ledger for the diff, with its files checked; without files, and as a recovery, where it is lost.

    A resync and a retirement (`is_beyond_guard`) need no ledger that is whole.
    """
    if limits.is_recovery or known.is_ledger_lost:
        return _without_files(head) if head else None, replace(limits, is_resync=True, is_recovery=True)
    if head is None:
        return None, limits
    told = _owing(head)
    try:
        _confirm(stored, told)
    except StoredFileError:
        if not (limits.is_resync or is_beyond_guard):
            raise
        return _without_files(head), replace(limits, is_resync=True, is_recovery=True)
    return told, limits


def ledger_is_whole(ledger: Ledger, stored: StoredFiles, known: Registered) -> bool:
    """Whether what Windsor was told is known, and the files that say so are what was stored."""
    assert known.audience_id is not None
    head = ledger.head(known.audience_id)
    if head is None or known.is_ledger_lost:
        return not known.is_ledger_lost
    try:
        _confirm(stored, _owing(head))
    except StoredFileError:
        return False
    return True


def _confirm(stored: StoredFiles, head: Head) -> None:
    """Raise StoredFileError unless the files that the ledger stands on are what was stored, by their checksums."""
    for path in filter(None, (head.snapshot_path, head.outbox_path)):
        stored.confirm(path, thoroughly=True)


def _without_files(head: Head) -> Head:
    return replace(
        head, snapshot=None, snapshot_path=None, checksum=None, outbox=None, outbox_path=None, shards=(), verdicts=()
    )


def _owing(head: Head) -> Head:
    """The ledger without an outbox of which nothing is owed: it is its snapshot then."""
    return replace(head, outbox=None, outbox_path=None, shards=(), verdicts=()) if head.is_settled else head


def _once_told(workspace: Workspace, known: Registered, limits: Limits) -> tuple[Record, ...]:
    if limits.is_recovery:
        return stored_records.everyone_told(workspace, known)
    return stored_records.exits(workspace, known) if limits.is_resync else ()


def _ruling(workspace: Workspace, computation: Computation, prepared: Prepared) -> Ruling:
    audience_id = prepared.known.audience_id
    approval = usable_approval(workspace.settings, workspace.database, audience_id)
    ceiling = approval.ceiling if approval else None
    ruling = judge(
        before=prepared.members_before,
        after=prepared.members,
        entered=prepared.tally.new_members,
        exited=prepared.tally.lost_members,
        limit=Limit(
            computation.max_exited_percent, computation.max_entered_percent, workspace.settings.defaults.guard_floor
        ),
        ceiling=ceiling,
    )
    if prepared.members_before == 0 and not prepared.is_recovery:
        ruling = withhold_renamed(
            workspace,
            computation,
            ruling,
            snapshot=prepared.snapshot.location,
            members=prepared.snapshot.members,
            entered=prepared.tally.new_members,
            ceiling=ceiling,
        )
    unreadable = prepared.snapshot.unreadable
    if unreadable is None or not unreadable.nameless or computation.unreadable_rows is UnreadableRows.TELL:
        return ruling
    exits = count_held(str(prepared.outbox), KINDS["exited"]) if prepared.tally.exited else 0
    return withhold_unknown(ruling, exits=exits, because=unreadable.finding, ceiling=ceiling)


def renderer(settings: Settings, database: Database, computation: Computation, known: Registered) -> Renderer:
    """Return how this audience's changes become messages."""
    return Renderer(
        personas.EngageComputation(
            key=known.key,
            id=computation.id or str(known.key),
            computation_class=computation.computation_class,
            space_id=settings.space or "",
        ),
        installation=database.installation(),
        destination=settings.destination.name,
    )


def _refuse_older(computation: Computation, head: Head | None, snapshot: SealedSnapshot, request: Request) -> None:
    is_free = head is None or head.checksum == sealing.NOBODY or request.is_of_named_file
    if head is None or is_free or snapshot.taken_at >= head.taken_at:
        return
    raise SnapshotSuperseded(
        f"The newest snapshot of {computation.name} was taken at {snapshot.taken_at:%Y-%m-%d %H:%M:%S} UTC, but Windsor was told "
        f"the one of {head.taken_at:%Y-%m-%d %H:%M:%S} UTC. Nothing was sent. If the older one is right, name it: "
        f"windsor-sync backfill {computation.key} --snapshot PATH"
    )


def _refuse_stale(computation: Computation, snapshot: SealedSnapshot, request: Request) -> None:
    """Say that the snapshot is stale, or refuse it, as `max_age_action` has it; one that a person named may be old."""
    why = stale(computation, snapshot.taken_at)
    if why is None or request.snapshot_path is not None or request.is_beyond_guard:
        return
    if computation.snapshot.max_age_action is MaxAgeAction.FAIL:
        raise SnapshotStale(f"{why} Nothing was sent; the last good snapshot stands.")
    _log.warning("%s", why)


def _refuse_lost_zeros(computation: Computation, tally: Tally, draft: Path, request: Request) -> None:
    """A program that takes ids for numbers makes 123 of 00123: the one would be told false, and the other is nobody."""
    if not (tally.told_exited and tally.entered) or request.is_of_named_file or request.is_beyond_guard:
        return
    exited, without = count_lost_zeros(str(draft))
    if without >= LEAST and without * 2 > exited:
        raise SnapshotError(
            f"{without:,} user ids in the newest snapshot of {computation.name} lack the leading zeros that Windsor was told: a "
            "program such as Excel or pandas read them as numbers. Nothing was sent, the last good snapshot stands. Export the "
            "column as text; if the ids really changed, name the file: "
            f"windsor-sync backfill {computation.key} --snapshot PATH"
        )


def _refuse_header_only(
    computation: Computation, head: Head | None, snapshot: SealedSnapshot, request: Request
) -> None:
    """A download without a single row looks like an audience that everyone left; mostly it is a download that failed."""
    is_meant = request.is_beyond_guard or request.is_of_named_file
    if snapshot.rows_read or head is None or not head.members or is_meant:
        return
    raise SnapshotError(
        f"The newest snapshot of {computation.name} has no rows at all, but Windsor was told "
        f"{counted(head.members, 'member')}. Nothing was sent, the last good snapshot stands. Download it again; if everyone "
        f"really left, name the file: windsor-sync backfill {computation.key} --snapshot PATH"
    )


def cut_into_shards(tally: Tally, count: int) -> list[ShardProgress]:
    """Cut an outbox into FIRST_SHARD, which has every `false`, and `count` stretches of about equal length of the other rows.

    Where only `false` is told, or only `true`, there is no FIRST_SHARD.
    """
    first = tally.false_rows if tally.false_rows < tally.rows else 0
    bounds = [0, *(first + (tally.rows - first) * index // count for index in range(count + 1))]
    return [
        ShardProgress(shard, start, end, position=start, reach=start)
        for shard, (start, end) in enumerate(pairwise(bounds), start=FIRST_SHARD)
        if start < end
    ]
