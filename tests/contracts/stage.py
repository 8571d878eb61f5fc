"""An audience with a snapshot, and runs of it: the rows a state needs before a promise about it can be tested."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from windsor_sync.domain.progress import ShardProgress
from windsor_sync.domain.run import Books, RunState
from windsor_sync.segment.identify import ComputationClass
from windsor_sync.segment.trait_keys import TraitKey, trait_key
from windsor_sync.state.audiences import Registry
from windsor_sync.state.database import Database
from windsor_sync.state.leases import Lease, held
from windsor_sync.state.ledger import Ledger, RowVerdict, Verdict
from windsor_sync.state.runs import finish, run_of
from windsor_sync.state.tables import snapshots
from windsor_sync.storage.file_store import FileStore

DESTINATION = "windsor"
MOMENT = datetime(2026, 1, 1, 3, 0, 0, 123456, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An audience or computed trait as windsor.yaml would name it."""

    name: str = "VIP"
    id: str | None = None
    trait: str | None = None
    reuse_key: bool = False
    computation_class: ComputationClass = ComputationClass.AUDIENCE

    @property
    def key(self) -> TraitKey:
        """The key it would be pinned to."""
        return TraitKey(self.trait) if self.trait else trait_key(self.name)


class Stage:
    """A ledger with audiences, snapshots and runs as a test wants them."""

    def __init__(self, database: Database, files: FileStore) -> None:
        self.database = database
        self.ledger = Ledger(database, files)
        self.registry = Registry(database, DESTINATION)

    def audience(self, name: str = "VIP") -> int:
        """A registered audience."""
        audience_id = self.registry.register(Wanted(name)).audience_id
        assert audience_id is not None
        return audience_id

    def snapshot(self, audience_id: int, **values: Any) -> int:
        """A recorded snapshot of three members."""
        row = {
            "audience_id": audience_id,
            "path": f"snapshots/{audience_id}.parquet",
            "checksum": "c" * 64,
            "recipe": "r" * 64,
            "taken_at": MOMENT,
            "sealed_at": MOMENT,
            "size_bytes": 2**33,
            "rows_read": 5,
            "members": 3,
            "left_out": {"missing_user_id": 2},
            **values,
        }
        with self.database.write() as connection:
            created = connection.execute(insert(snapshots).values(**row)).inserted_primary_key
        assert created is not None
        return int(created[0])

    @contextmanager
    def lease(self, audience_id: int) -> Iterator[Lease]:
        """The audience's lease."""
        with held(self.database, f"audience {audience_id}", "a test") as lease:
            yield lease

    def open(self, audience_id: int, *, rows: int = 10, number: int = 1, shards: int = 1, **values: Any) -> str:
        """A run with `rows` changes, all owed, in `shards` stretches of equal length; returns its id."""
        run_id = f"run-{audience_id}-{number}"
        row = self.row(audience_id, run_id, number=number, entered=rows)
        with self.lease(audience_id) as lease:
            self.ledger.open_run(lease, {**row, **values}, stretches(rows, shards))
        return run_id

    def finish(self, run_id: str, state: RunState, books: Books, moment: datetime, sentence: str) -> None:
        """Close a run under its audience's lease."""
        run = run_of(self.database, run_id)
        assert run is not None
        with self.lease(run.audience_id) as lease:
            finish(self.database, lease, run_id, state, books, moment, sentence)

    def row(self, audience_id: int, run_id: str, *, number: int, **values: Any) -> dict[str, Any]:
        """A run as a row of the runs table."""
        return {
            "id": run_id,
            "audience_id": audience_id,
            "number": number,
            "kind": "sync",
            "trigger": "a test",
            "state": "open",
            "snapshot_id": self.snapshot(audience_id),
            "outbox": f"outboxes/{run_id}.parquet",
            "held": [],
            "options": {},
            "started_at": MOMENT + timedelta(hours=number),
            **values,
        }


def stretches(rows: int, shards: int) -> list[ShardProgress]:
    """[0, rows) in equal parts, nothing sent yet."""
    length = rows // shards
    return [ShardProgress(n, n * length, (n + 1) * length, n * length, n * length) for n in range(shards)]


def verdict(
    seq: int,
    kind: Verdict = Verdict.REJECTED,
    code: int | None = 400,
    message: str = "no",
    *,
    in_doubt: bool = False,
) -> RowVerdict:
    """A verdict on one row."""
    return RowVerdict(seq, kind, in_doubt=in_doubt, answered_at=MOMENT, code=code, message=message)


def seqs(verdicts: Sequence[RowVerdict]) -> list[int]:
    """The rows they are about."""
    return [one.seq for one in verdicts]
