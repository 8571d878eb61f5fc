"""Random states of a ledger: what Windsor was told and may have been told, and the snapshot that comes next."""

import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from hypothesis import strategies as st

from windsor_sync.diff.statement import MERGES
from windsor_sync.diff.task import DiffTask, MergeFiles, Record
from windsor_sync.domain.change import COLUMNS, FALSE_FIRST, Limits, Retry
from windsor_sync.domain.identity import Alias, survivors
from windsor_sync.domain.progress import ShardProgress
from windsor_sync.domain.suppression import Suppressed, SuppressionHash
from windsor_sync.state.ledger import Head, RowVerdict, Verdict
from windsor_sync.storage.duckdb_engine import quoted
from windsor_sync.storage.file_store import FileStore

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MEMBER = dict.fromkeys(("user_id", "anonymous_id", "email", "profile_id", "value"), "VARCHAR")
IDENTITIES = [*(f"u{number}" for number in range(7)), "a0", "a1", "uä", "u😀"]
TEXTS = st.sampled_from([None, None, "", "x@y.de", "1", "1\n2"])

HASHING = SuppressionHash("salt", b"a key of the installation's own, 42")
SUPPRESSES_U1 = Suppressed(frozenset({HASHING.of("1")}), HASHING)

USERS = [identity for identity in IDENTITIES if identity[0] == "u"]
ANONYMOUS = st.sampled_from([None, "0", "1", "0\n1"])
PROFILES = st.sampled_from([None, None, "p", "q"])

some_aliases = st.just(()) | st.lists(
    st.builds(Alias, st.sampled_from([name[1:] for name in IDENTITIES]), st.sampled_from([name[1:] for name in USERS])),
    max_size=3,
)

Details = tuple[str | None, str | None]
"""e-mail and value"""


@dataclass(frozen=True)
class State:
    """A diff's input before it is written to files."""

    before: Mapping[str, Details] | None
    now: Mapping[str, Details]
    outbox: Sequence[dict[str, Any]]
    departed: Sequence[dict[str, Any]]
    held: tuple[str, ...]
    shards: tuple[ShardProgress, ...]
    verdicts: tuple[RowVerdict, ...]
    limits: Limits
    suppressed: Suppressed = field(default_factory=Suppressed)
    others: Mapping[str, Details] = field(default_factory=dict)
    """anonymous ids, one a line, and profile of those who have any"""
    base: Sequence[Alias] = ()
    """merged long ago"""
    recent: Sequence[Alias] = ()
    merges_seen: int = 0
    joins: bool = False

    def task(self, folder: Path) -> DiffTask:
        """The files, and what a diff of them is asked."""
        return DiffTask(
            head=self._head(folder),
            snapshot=self._snapshot(folder / "now.parquet", self.now),
            number=9,
            taken_at=NOW - timedelta(hours=1),
            moment=NOW,
            suppressed=self.suppressed,
            salt="salt",
            departed=(Record(_outbox(folder / "departed.parquet", self.departed), 1),) if self.limits.is_resync else (),
            limits=self.limits,
            merges=self._merges(folder),
            merges_seen=self.merges_seen,
            joins=self.joins,
        )

    def _merges(self, folder: Path) -> MergeFiles:
        """Both files, as `Merges.record` writes them after one change each."""
        if not self.base and not self.recent:
            return MergeFiles()
        base = survivors(self.base, {})
        recent = survivors(self.recent, base)
        paths = (
            write_rows(
                folder / f"{name}.parquet", MERGES, [(*pair, number, NOW.replace(tzinfo=None)) for pair in rows.items()]
            )
            for number, (name, rows) in enumerate((("base", base), ("recent", recent)), start=1)
        )
        return MergeFiles(*paths)

    def _snapshot(self, path: Path, members: Mapping[str, Details]) -> str:
        rows = []
        for identity, (email, value) in members.items():
            user_id, anonymous_id = _ids(identity)
            others, profile = self.others.get(identity, (None, None))
            rows.append((user_id, anonymous_id or others, email, profile, value))
        return write_rows(path, MEMBER, rows)

    def _head(self, folder: Path) -> Head | None:
        if self.before is None:
            return None
        return Head(
            run_id="r8",
            number=8,
            snapshot_id=8,
            snapshot=self._snapshot(folder / "before.parquet", self.before),
            checksum="",
            taken_at=NOW - timedelta(days=1),
            members=len(self.before),
            outbox=_outbox(folder / "outbox.parquet", self.outbox) if self.outbox else None,
            held=self.held,
            is_settled=False,
            shards=self.shards if self.outbox else (),
            verdicts=self.verdicts if self.outbox else (),
        )


def uploaded(task: DiffTask, files: FileStore) -> DiffTask:
    """Upload the files of a task to a store, and return the task with their locations there."""

    def place(location: str | None) -> str | None:
        if location is None:
            return None
        path = f"snapshots/{uuid.uuid4().hex}.parquet"
        with files.draft() as draft:
            shutil.copy(location, draft)
            files.keep(draft, path)
        return files.location(path)

    head = task.head and replace(task.head, snapshot=place(task.head.snapshot), outbox=place(task.head.outbox))
    departed = tuple(replace(record, location=str(place(record.location))) for record in task.departed)
    merges = MergeFiles(*map(place, task.merges))
    snapshot = str(place(task.snapshot))
    return replace(task, head=head, snapshot=snapshot, departed=departed, merges=merges, drafts=files.drafts_url)


def _outbox(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    return write_rows(path, COLUMNS, [[row[name] for name in COLUMNS] for row in rows])


def _ids(identity: str) -> tuple[str | None, str | None]:
    return (identity[1:], None) if identity[0] == "u" else (None, identity[1:])


def write_rows(path: Path, columns: Mapping[str, str], rows: Sequence[Sequence[object]]) -> str:
    """Write a Parquet file; returns where it is."""
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")
        if rows:
            connection.executemany(f"INSERT INTO t VALUES ({', '.join('?' for _ in columns)})", rows)
        connection.execute(f"COPY t TO {quoted(str(path))} (FORMAT parquet)")
    return str(path)


moments = st.integers(0, 60).map(lambda hours: NOW - timedelta(hours=hours))
some_details = st.tuples(TEXTS, TEXTS)


@st.composite
def outbox_rows(draw: st.DrawFn, identities: Sequence[str]) -> list[dict[str, Any]]:
    """One row an identity, as runs before this one left them; a forgotten user's has no identity."""
    rows = []
    for seq, identity in enumerate(identities):
        user_id, anonymous_id = _ids(identity)
        attempts = draw(st.integers(0, 4))
        was_told = draw(st.booleans())
        tried_at = draw(moments).replace(tzinfo=None)
        told_email, told_value = draw(some_details) if was_told else (None, None)
        email, value = draw(some_details)
        rows.append(
            {
                "seq": seq,
                "identity": identity if draw(st.integers(0, 9)) else None,
                "user_id": user_id,
                "anonymous_id": anonymous_id,
                "email": email,
                "value": value,
                "change": draw(st.sampled_from(["entered", "exited", "updated", "moved", "moved_from"])),
                "was_told": was_told,
                "told_anonymous_id": anonymous_id if was_told else None,
                "told_email": told_email,
                "told_value": told_value,
                "in_doubt": draw(st.booleans()),
                "was_sent": draw(st.booleans()),
                "since_run": draw(st.integers(1, 8)),
                "since_at": draw(moments).replace(tzinfo=None),
                "attempts": attempts,
                "tried_run": draw(st.integers(5, 8)) if attempts else None,
                "tried_at": tried_at if attempts else None,
                "tried_code": draw(st.sampled_from([400, 422])) if attempts else None,
                "status": draw(st.sampled_from(["send", "send", "send", "deferred", "withheld", "later"])),
            }
        )
    return rows


@st.composite
def answers(draw: st.DrawFn, rows: int) -> tuple[tuple[ShardProgress, ...], tuple[RowVerdict, ...]]:
    """How far the shards of an outbox of so many rows came, and what was not a plain yes."""
    cut = draw(st.integers(0, rows))
    shards = []
    for number, (first, last) in enumerate(((0, cut), (cut, rows))):
        if first < last:
            position = draw(st.integers(first, last))
            shards.append(ShardProgress(number, first, last, position, draw(st.integers(position, last))))
    verdicts = [
        RowVerdict(seq, verdict, draw(st.booleans()), draw(moments), draw(st.sampled_from([400, 422])))
        for seq in range(rows)
        if (verdict := draw(st.sampled_from([None, None, *Verdict]))) is not None
    ]
    return tuple(shards), tuple(verdicts)


retries = st.none() | st.builds(
    Retry, code=st.sampled_from([None, 400]), since=st.sampled_from([None, NOW - timedelta(hours=20)])
)
all_limits = st.builds(
    Limits,
    is_resync=st.sampled_from([False, False, False, True]),
    drops_exits=st.booleans(),
    retry=retries,
    only=st.sampled_from([None, None, "entered", "exited"]),
    count=st.sampled_from([None, None, 0, 2]),
)


@st.composite
def states(draw: st.DrawFn, more_users: int = 0) -> State:
    """Most users stay as they were, as in life."""
    users = [*IDENTITIES, *(f"u{number}" for number in range(100, 100 + more_users))]
    some_users = st.lists(st.sampled_from(users), unique=True, min_size=more_users // 2, max_size=6 + more_users // 2)
    before = {user: draw(some_details) for user in draw(some_users)}
    now = {user: details for user, details in before.items() if draw(st.integers(0, 4))}
    now.update({user: draw(some_details) for user in draw(some_users)[: 3 + more_users // 4]})
    outbox = draw(outbox_rows(draw(some_users)))
    departed = draw(outbox_rows(draw(some_users)[:3]))
    shards, verdicts = draw(answers(len(outbox)))
    return State(
        before=before if draw(st.integers(0, 9)) else None,
        now=now,
        outbox=outbox,
        departed=departed,
        held=draw(st.sampled_from([(), (), ("exited",), ("entered", "updated")])),
        shards=shards,
        verdicts=verdicts,
        limits=draw(all_limits),
        suppressed=draw(st.sampled_from([Suppressed(), SUPPRESSES_U1])),
        others=draw(st.dictionaries(st.sampled_from(USERS), st.tuples(ANONYMOUS, PROFILES))),
        base=draw(some_aliases),
        recent=draw(some_aliases),
        merges_seen=draw(st.integers(0, 2)),
        joins=draw(st.booleans()),
    )


def outbox_as_set(location: str) -> set[tuple[object, ...]]:
    """The rows of an outbox, whatever their order; every row has a number of its own, from 0, and every `false` a lower one."""
    with duckdb.connect() as connection:
        rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM read_parquet({quoted(location)})").fetchall()
    assert sorted(row[0] for row in rows) == list(range(len(rows)))
    falses = sorted(row[0] for row in rows if row[list(COLUMNS).index("change")] in FALSE_FIRST)
    assert falses == list(range(len(falses)))
    found = {row[1:] for row in rows}
    assert len(found) == len(rows)
    return found
