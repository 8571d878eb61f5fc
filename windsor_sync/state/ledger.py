"""The ledger of what Windsor has acknowledged: told = snapshot ⊖ owed.

The ledger of an audience is its newest run: that run's sealed snapshot, less the changes of its outbox that Windsor
has not said yes to. Opening a run moves nothing that Windsor was told: the new snapshot comes with all of its
changes owed. Delivery then shrinks what is owed, checkpoint by checkpoint, each commit fenced by the lease.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import BigInteger, Connection, Select, Text, and_, column, delete, func, insert, select, update, values

from windsor_sync.domain.progress import ShardProgress, Stretch
from windsor_sync.domain.run import RunState
from windsor_sync.state.database import Database, StateRow
from windsor_sync.state.leases import Lease
from windsor_sync.state.stored_files import parts_of
from windsor_sync.state.tables import audiences, progress, runs, snapshots, stretches, verdicts
from windsor_sync.storage.file_store import FileStore

_T = TypeVar("_T")


class Verdict(StrEnum):
    """The outcome of a change that was not simply accepted below its shard's position."""

    DELIVERED = "delivered"
    """acknowledged, above the position"""
    REJECTED = "rejected"
    """refused for good (4xx), or of a kind Windsor does not take (501)"""
    UNANSWERED = "unanswered"
    """tried for as long as a run tries, while others went through; owed"""
    SUPPRESSED = "suppressed"
    """not sent: the user was suppressed after the run was opened"""


@dataclass(frozen=True, slots=True)
class RowVerdict:
    """The verdict on one row of an outbox."""

    seq: int
    verdict: Verdict
    in_doubt: bool
    """an earlier try may have been applied"""
    answered_at: datetime
    code: int | None = None
    message: str | None = None
    """Windsor's own words, without what they echo of the user"""


@dataclass(frozen=True, slots=True)
class Head:
    """An audience's newest run, as the diff needs it."""

    run_id: str
    number: int
    snapshot_id: int | None
    """None for forwarded events, which have no snapshot"""
    snapshot: str | None
    """location of the sealed file"""
    checksum: str | None
    taken_at: datetime
    members: int
    outbox: str | None
    """location (of forwarded events: of the folder of its files); None when the run had no changes"""
    held: tuple[str, ...]
    """the kinds of change that are withheld"""
    is_settled: bool
    """every change is delivered: Windsor was told exactly this snapshot"""
    parts: tuple[str, ...] = ()
    """of forwarded events, while they are not settled: locations of the files that the outbox has"""
    shards: tuple[ShardProgress, ...] = ()
    verdicts: tuple[RowVerdict, ...] = ()
    snapshot_path: str | None = None
    """of the sealed file, below the file store"""
    outbox_path: str | None = None
    """of the outbox, below the file store"""
    merges: int = 0
    """the number of the newest merge that the run knew of"""
    merged: int = 0
    """further rows of persons who have several rows in the snapshot"""


class Answers(NamedTuple):
    """Windsor's answers to rows of one run's outbox."""

    shards: tuple[ShardProgress, ...]
    verdicts: tuple[RowVerdict, ...]


class Ledger:
    """Reads and moves what Windsor was told, for the audiences of one destination."""

    def __init__(self, database: Database, files: FileStore) -> None:
        self.database = database
        self._files = files

    def head(self, audience_id: int) -> Head | None:
        """The audience's newest run with its answers so far; None before the first sync."""
        with self.database.read() as connection:
            query = select(audiences.c.head_run).where(audiences.c.id == audience_id)
            run_id = connection.execute(query).scalar_one_or_none()
            return self._of_run(connection, run_id) if run_id is not None else None

    def of_run(self, run_id: str) -> Head | None:
        """Return the ledger as it was with this run as its newest; None when there is no such run."""
        with self.database.read() as connection:
            return self._of_run(connection, run_id)

    def _of_run(self, connection: Connection, run_id: str) -> Head | None:
        row = connection.execute(
            select(runs, snapshots.c.path, snapshots.c.checksum, snapshots.c.taken_at, snapshots.c.members)
            .outerjoin(snapshots, snapshots.c.id == runs.c.snapshot_id)
            .where(runs.c.id == run_id)
        ).one_or_none()
        if row is None:
            return None
        is_settled = row.finished_at is not None and row.owed + row.rejected + row.withheld == 0
        return Head(
            run_id=row.id,
            number=row.number,
            snapshot_id=row.snapshot_id,
            snapshot=self._files.location(row.path) if row.path else None,
            snapshot_path=row.path,
            checksum=row.checksum,
            taken_at=row.taken_at or row.started_at,
            members=row.members or 0,
            outbox=self._files.location(row.outbox) if row.outbox else None,
            outbox_path=row.outbox,
            merges=row.merges,
            merged=row.merged,
            held=tuple(row.held),
            is_settled=is_settled,
            parts=() if is_settled or row.snapshot_id else self._parts(connection, row.outbox),
            shards=self.shards(connection, row.id),
            verdicts=self._verdicts(connection, row.id),
        )

    def _parts(self, connection: Connection, outbox: str | None) -> tuple[str, ...]:
        found = parts_of(connection, self._files, outbox) if outbox else []
        return tuple(map(self._files.location, found))

    def answers(self, rows: Sequence[tuple[str, int]]) -> dict[str, Answers]:
        """Return the shards of each run and the verdicts on `rows`; a row is a run id and a row number of the run's outbox."""
        shards: dict[str, list[ShardProgress]] = {}
        decided: defaultdict[str, list[RowVerdict]] = defaultdict(list)
        with self.database.read() as connection:
            for run_ids in _in_parts(list(dict.fromkeys(run_id for run_id, _ in rows))):
                shards |= {run_id: [] for run_id in run_ids}
                for run_id, shard in _shards(connection, run_ids):
                    shards[run_id].append(shard)
            for some in _in_parts(rows):
                for row in connection.execute(_on_rows(some)):
                    decided[row.run_id].append(_verdict(row))
        return {run_id: Answers(tuple(found), tuple(decided[run_id])) for run_id, found in shards.items()}

    def shards(self, connection: Connection, run_id: str) -> tuple[ShardProgress, ...]:
        """The shards of a run's outbox, in order."""
        return tuple(shard for _, shard in _shards(connection, [run_id]))

    def _verdicts(self, connection: Connection, run_id: str) -> tuple[RowVerdict, ...]:
        rows = connection.execute(select(verdicts).where(verdicts.c.run_id == run_id).order_by(verdicts.c.seq))
        return tuple(map(_verdict, rows))

    def open_run(
        self,
        lease: Lease,
        run: Mapping[str, Any],
        shards: Sequence[ShardProgress],
        also: Sequence[Callable[[Connection], None]] = (),
    ) -> None:
        """Make `run` (a row of the runs table) the ledger's head, all of its changes owed; `also` in the same commit."""
        with self.database.write() as connection:
            lease.fence(connection)
            connection.execute(insert(runs).values(**run))
            if shards:
                connection.execute(insert(progress), [{"run_id": run["id"], **_row_of(shard)} for shard in shards])
            connection.execute(
                update(audiences)
                .where(audiences.c.id == run["audience_id"])
                .values(head_run=run["id"], runs=run["number"], ledger_lost_at=None)
            )
            for act in also:
                act(connection)

    def resume(self, lease: Lease, run_id: str, only: int | None = None) -> tuple[ShardProgress, ...]:
        """Take up a run that stopped half-way: every row that it left unanswered will be tried again.

        With `only`, that one of its shards; none when the outbox is too short to have it.
        """
        with self.database.write() as connection:
            lease.fence(connection)
            for shard in self._some_shards(connection, run_id, only):
                owed = _take_unanswered(connection, run_id, shard)
                if owed:
                    _move(connection, run_id, shard.taken_back(owed), shard)
            resumed = self._some_shards(connection, run_id, only)
            for shard in resumed:
                _note_ending(connection, run_id, shard.shard, None, None)
            return resumed

    def _some_shards(self, connection: Connection, run_id: str, only: int | None) -> tuple[ShardProgress, ...]:
        return tuple(shard for shard in self.shards(connection, run_id) if only in (None, shard.shard))

    def end_shard(self, lease: Lease, run_id: str, shard: int, how: str, why: str | None) -> None:
        """Record how the delivery of one shard ended, for whoever closes the run's books."""
        with self.database.write() as connection:
            lease.fence(connection)
            _note_ending(connection, run_id, shard, how, why)

    def endings(self, run_id: str) -> list[tuple[str | None, str | None]]:
        """Return how and why the delivery of each of a run's shards ended; None for one that goes on, or died."""
        with self.database.read() as connection:
            rows = connection.execute(select(progress).where(progress.c.run_id == run_id).order_by(progress.c.shard))
            return [(row.ended, row.ended_why) for row in rows]

    def awaits(self, run_id: str, shard: int) -> bool:
        """Whether a run has this shard and its delivery is not finished."""
        here = (progress.c.run_id == run_id, progress.c.shard == shard)
        with self.database.read() as connection:
            row = connection.execute(select(progress.c.ended).where(*here)).one_or_none()
        return row is not None and row.ended != RunState.DONE

    def decided(self, run_id: str) -> frozenset[int]:
        """The rows of a run that already have a verdict."""
        with self.database.read() as connection:
            rows = connection.execute(select(verdicts.c.seq).where(verdicts.c.run_id == run_id))
            return frozenset(rows.scalars())

    def checkpoint(
        self,
        lease: Lease,
        run_id: str,
        shards: Sequence[ShardProgress],
        decided: Sequence[RowVerdict],
        before: Mapping[int, ShardProgress] | None = None,
    ) -> None:
        """Record how far delivery is, atomically; refused (LeaseLost) when the lease is no longer ours.

        `before`, by shard: what is recorded now, where the caller knows it; then only what differs is written.
        """
        with self.database.write() as connection:
            lease.fence(connection)
            for shard in shards:
                _move(connection, run_id, shard, before.get(shard.shard) if before else None)
            if decided:
                _replace_verdicts(connection, run_id, decided)

    def reopen(self, lease: Lease, run_id: str, seqs: Sequence[int]) -> None:
        """Take rejections back: the rows are owed again."""
        with self.database.write() as connection:
            lease.fence(connection)
            for some in _in_parts(seqs):
                connection.execute(
                    update(verdicts)
                    .where(verdicts.c.run_id == run_id, verdicts.c.seq.in_(some))
                    .values(verdict=Verdict.UNANSWERED.value)
                )

    def rejections(self, run_id: str) -> list[tuple[int | None, str | None, int]]:
        """Return status code, Windsor's message and number of a run's rejected changes, the most frequent answer first."""
        count = func.count()
        with self.database.read() as connection:
            rows = connection.execute(
                select(verdicts.c.code, verdicts.c.message, count)
                .where(verdicts.c.run_id == run_id, verdicts.c.verdict == Verdict.REJECTED)
                .group_by(verdicts.c.code, verdicts.c.message)
                .order_by(count.desc())
            )
            return [(code, message, number) for code, message, number in rows]


def _shards(connection: Connection, run_ids: Sequence[str]) -> Iterator[tuple[str, ShardProgress]]:
    """Yield the shards of these runs with their run ids; the shards of a run come in order."""
    found: defaultdict[tuple[str, int], list[Stretch]] = defaultdict(list)
    here = select(stretches).where(stretches.c.run_id.in_(run_ids)).order_by(stretches.c.first)
    for row in connection.execute(here):
        found[row.run_id, row.shard].append(Stretch(row.first, row.last, row.is_answered))
    for r in connection.execute(select(progress).where(progress.c.run_id.in_(run_ids)).order_by(progress.c.shard)):
        reached = (r.shard, r.first, r.last, r.position, r.reach, r.delivered)
        yield r.run_id, ShardProgress(*reached, tuple(found[r.run_id, r.shard]))


def _verdict(r: StateRow) -> RowVerdict:
    return RowVerdict(r.seq, Verdict(r.verdict), r.in_doubt, r.answered_at, r.code, r.message)


def _on_rows(rows: Sequence[tuple[str, int]]) -> Select[Any]:
    """Return the query of the verdicts on these rows of outboxes, which finds each of them through the index.

    For `(run_id, seq) IN (…)` SQLite would read the whole table, and for 500 pairs joined by OR PostgreSQL plans for 0.3 s.
    """
    wanted = values(column("run_id", Text), column("seq", BigInteger), name="wanted").data(rows).cte("wanted")
    return select(verdicts).join(wanted, and_(wanted.c.run_id == verdicts.c.run_id, wanted.c.seq == verdicts.c.seq))


def _note_ending(connection: Connection, run_id: str, shard: int, how: str | None, why: str | None) -> None:
    here = (progress.c.run_id == run_id, progress.c.shard == shard)
    connection.execute(update(progress).where(*here).values(ended=how, ended_why=why))


def _row_of(shard: ShardProgress) -> dict[str, int]:
    names = ("shard", "first", "last", "position", "reach", "delivered")
    return {name: getattr(shard, name) for name in names}


def _move(connection: Connection, run_id: str, shard: ShardProgress, before: ShardProgress | None) -> None:
    """Record a shard's progress; what is recorded of its stretches is `before`, or unknown."""
    here = (progress.c.run_id == run_id, progress.c.shard == shard.shard)
    values = {"position": shard.position, "reach": shard.reach, "delivered": shard.delivered}
    connection.execute(update(progress).where(*here).values(values))
    known = set(before.stretches) if before else set()
    stale = (stretches.c.run_id == run_id, stretches.c.shard == shard.shard)
    gone = sorted(stretch.first for stretch in known.difference(shard.stretches))
    if before is None:
        connection.execute(delete(stretches).where(*stale))
    for some in _in_parts(gone):
        connection.execute(delete(stretches).where(*stale, stretches.c.first.in_(some)))
    fresh = [stretch for stretch in shard.stretches if stretch not in known]
    if fresh:
        owner = {"run_id": run_id, "shard": shard.shard}
        connection.execute(insert(stretches), [{**owner, **stretch._asdict()} for stretch in fresh])


def _take_unanswered(connection: Connection, run_id: str, shard: ShardProgress) -> dict[int, bool]:
    """Remove the verdicts on rows that had no answer; returns the rows with whether they are in doubt."""
    unanswered = (
        verdicts.c.run_id == run_id,
        verdicts.c.verdict == Verdict.UNANSWERED,
        verdicts.c.seq >= shard.first,
        verdicts.c.seq < shard.last,
    )
    rows = connection.execute(select(verdicts.c.seq, verdicts.c.in_doubt).where(*unanswered))
    found = {row.seq: row.in_doubt for row in rows}
    if found:
        connection.execute(delete(verdicts).where(*unanswered))
    return found


def _in_parts(rows: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Split the rows into parts of 500, because a statement takes a limited number of values."""
    return (rows[start : start + 500] for start in range(0, len(rows), 500))


def _replace_verdicts(connection: Connection, run_id: str, decided: Sequence[RowVerdict]) -> None:
    """A resumed run decides anew on rows it had left unanswered."""
    for some in _in_parts([v.seq for v in decided]):
        connection.execute(delete(verdicts).where(verdicts.c.run_id == run_id, verdicts.c.seq.in_(some)))
    connection.execute(
        insert(verdicts),
        [
            {
                "run_id": run_id,
                "seq": v.seq,
                "verdict": v.verdict.value,
                "code": v.code,
                "message": v.message,
                "in_doubt": v.in_doubt,
                "answered_at": v.answered_at,
            }
            for v in decided
        ],
    )
