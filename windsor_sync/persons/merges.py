"""Keeps the known merges of one destination in sealed files: which ids Windsor has made one person.

There are two files: `base` has most merges, `recent` has those that came later. Where both have an id, `recent` counts. A
change writes `recent` anew. When `recent` has grown to a share of `base`, both are written as one new `base`, so that fifty
million merges are not written again for ten new ones. A row has `id`, its `survivor`, the `number` of the change that merged
it, and `since`, the time of that change. A survivor has a row too, with the number of the last change that merged an id into
it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb

from windsor_sync.diff.duckdb import WRITTEN_AS, define_merges
from windsor_sync.diff.statement import sql
from windsor_sync.diff.task import MergeFiles
from windsor_sync.domain.identity import Alias, survivors
from windsor_sync.errors import StateUnavailable
from windsor_sync.state.audiences import Registry
from windsor_sync.state.database import Database
from windsor_sync.state.merges import KnownMerges, merges_of, named_merge_files, rebuild_merges, swap_merges
from windsor_sync.state.stored_files import MERGES, Placed, Stamp, StoredFiles, stamp_of
from windsor_sync.storage.duckdb_engine import open_stored, parquet, quoted
from windsor_sync.storage.file_store import FileStore

BASE, RECENT = MERGES

LEAST_RECENT = 100_000
SHARE_RECENT = 4
"""`recent` and `base` become one when `recent` has more than LEAST_RECENT rows, and more than 1/SHARE_RECENT of `base`."""

SUPERSEDED_FOR = timedelta(hours=1)
"""How long a file is kept after another one has replaced it: a diff may be reading it."""

TRIES = 5
"""How often a change is tried while other processes are faster."""


@dataclass(frozen=True, slots=True)
class Kin:
    """One of the ids of a person."""

    id: str
    survivor: str
    since: datetime
    """when this survivor was recorded"""


class Merges:
    """Reads and extends the known merges of one destination."""

    def __init__(self, database: Database, files: FileStore, stored: StoredFiles, registry: Registry) -> None:
        self._database = database
        self._files = files
        self._stored = stored
        self._registry = registry

    def known(self) -> KnownMerges:
        """Return the merges that are known now."""
        return merges_of(self._database, self._registry.destination) or KnownMerges()

    def is_begun(self) -> bool:
        """Whether merges were ever recorded here: an older version recorded none."""
        return merges_of(self._database, self._registry.destination) is not None

    def locations(self, known: KnownMerges) -> MergeFiles:
        """Return where a reader finds the files. Raises StoredFileError when one is not what was stored."""
        for path in known.paths:
            self._stored.confirm(path, thoroughly=True)
        base, recent = (path and self._files.location(path) for path in (known.base, known.recent))
        return MergeFiles(base, recent)

    def kin(self, ids: Iterable[str]) -> list[Kin]:
        """Return every id of the persons that `ids` name, by survivor and time; an id that was never merged has no entry."""
        known = self.known()
        wanted = list(ids)
        if not known.paths or not wanted:
            return []
        with open_stored() as connection:
            define_merges(connection, self.locations(known))
            rows = connection.execute(
                """
                SELECT id, survivor, since FROM merges
                WHERE survivor IN (SELECT survivor FROM merges WHERE id IN (SELECT unnest(?::VARCHAR[])))
                ORDER BY survivor, since, id
                """,
                [wanted],
            ).fetchall()
        return [Kin(name, survivor, since.replace(tzinfo=UTC)) for name, survivor, since in rows]

    def merged_away(self, outbox: str, number: int) -> frozenset[str]:
        """Return the outbox's ids that were merged into another one by a change after `number`."""
        known = self.known()
        if known.number == number:
            return frozenset()
        with open_stored() as connection:
            define_merges(connection, self.locations(known))
            rows = connection.execute(
                f"""
                SELECT DISTINCT m.id FROM {parquet(outbox)} o JOIN merges m ON m.id = coalesce(o.user_id, o.anonymous_id)
                WHERE m.id <> m.survivor AND m.number > ?
                """,
                [number],
            ).fetchall()
        return frozenset(name for (name,) in rows)

    def record(self, aliases: Iterable[Sequence[Alias]]) -> int:
        """Take in aliases that Windsor acknowledged, in their order; returns how many ids have another survivor now.

        Safe to repeat. Raises StateUnavailable when other processes were faster again and again.
        """
        batches = [batch for batch in aliases if batch]
        owner = self._owner() if batches else None
        for _ in range(TRIES):
            before = self.known()
            changed, placed = self._extended(before, batches, owner)
            if placed is None and self.is_begun():  # nothing is new, as at the end of most runs
                return 0
            if self._commit(before, placed, owner):
                if placed:
                    self._remove_superseded()
                return changed
            if placed:
                self._files.delete(placed.path)
        raise StateUnavailable(
            "Other runs recorded merges at the same moment, again and again. Run the same command again."
        )

    def rebuild(self, aliases: Iterable[Sequence[Alias]]) -> int:
        """Make the merges again from the readable files and from `aliases`, those of kept outboxes; returns as `record` does.

        For lost or damaged files, and for a restored or lost state. The aliases it adds count as new, so that the persons are
        told again.
        """
        base, recent = (self._newest_whole(folder) for folder in MERGES)
        if base and recent and _number(recent) < _number(base):
            recent = None
        known, owner = self.known(), self._owner()
        number = max(known.number, *(_number(stamp) for stamp in (base, recent) if stamp), 0)
        found = [self._stored.as_it_stands(stamp.path, stamp.path) for stamp in (base, recent) if stamp]
        rows = found[0].rows if base else 0
        kept = KnownMerges(number + 1, base.path if base else None, recent.path if recent else None, rows)
        rebuild_merges(self._database, self._registry.destination, known, kept, owner, found)
        return self.record(aliases)

    def _newest_whole(self, folder: str) -> Stamp | None:
        """Return the stamp of the newest undamaged file of this destination and installation in a folder."""
        known = self.known().paths
        found = [
            stamp
            for path in (*known, *self._stored.unnamed(known, [folder]))
            if path.startswith(f"{folder}/") and self._stored.is_whole(path)
            if (stamp := stamp_of(self._files.location(path))) and stamp.path == path
        ]
        ours = [stamp for stamp in found if stamp.destination == self._registry.destination]
        return max(ours, key=_number, default=None)

    def _extended(
        self, before: KnownMerges, batches: Sequence[Sequence[Alias]], owner: int | None
    ) -> tuple[int, Placed | None]:
        """Store a file with the batches added; returns how many ids changed, and the file."""
        if not batches or owner is None:
            return 0, None
        with open_stored() as connection, self._files.draft() as draft:
            define_merges(connection, self.locations(before))
            _open_recent(connection)
            changed = sum(_take_in(connection, batch, before.number + 1) for batch in batches)
            if not changed:
                return 0, None
            [(rows,)] = connection.execute("SELECT count(*) FROM recent").fetchall()
            is_one = rows > max(LEAST_RECENT, before.base_rows // SHARE_RECENT)
            stamp = self._stored.stamp(owner, BASE if is_one else RECENT, before.number + 1)
            rows_of = "merges" if is_one else "recent"
            copy = f"COPY (FROM {rows_of}) TO {quoted(str(draft))} ({WRITTEN_AS}, {stamp.options()})"
            [(written,)] = connection.execute(copy).fetchall()
            return changed, self._stored.put(draft, stamp.path, rows=written)

    def _commit(self, before: KnownMerges, placed: Placed | None, owner: int | None) -> bool:
        """Make the state name the new file, unless another process changed it meanwhile; returns whether it does."""
        after, files = _after(before, placed), [placed] if placed else []
        return swap_merges(self._database, self._registry.destination, before, after, owner, files)

    def _owner(self) -> int:
        """Return the id of the destination's forwarded events, to which the files belong."""
        events = self._registry.events()
        assert events.audience_id is not None
        return events.audience_id

    def _remove_superseded(self) -> None:
        """Remove files that were replaced long enough ago, and that no destination of this state stands on."""
        before = datetime.now(UTC) - SUPERSEDED_FOR
        named = named_merge_files(self._database)
        for path in self._stored.unnamed(named, MERGES):
            if self._files.is_older(path, before):
                self._files.delete(path)


def _after(before: KnownMerges, placed: Placed | None) -> KnownMerges:
    if placed is None:
        return before
    if placed.path.startswith(f"{BASE}/"):
        return KnownMerges(before.number + 1, placed.path, None, placed.rows)
    return KnownMerges(before.number + 1, before.base, placed.path, before.base_rows)


def _open_recent(connection: duckdb.DuckDBPyConnection) -> None:
    """Make `recent` a table that grows, and let `merges` read it."""
    connection.execute("CREATE TEMP TABLE recent AS FROM merges_recent")
    connection.execute("CREATE OR REPLACE TEMP VIEW merges_recent AS FROM recent")
    connection.execute(f"CREATE OR REPLACE TEMP VIEW merges AS {sql('merges')}")


def _take_in(connection: duckdb.DuckDBPyConnection, batch: Sequence[Alias], number: int) -> int:
    """Extend `recent` by a batch; returns how many rows are new or changed."""
    ids = list({name for alias in batch for name in alias.ids})
    query = "SELECT id, survivor FROM merges WHERE id IN (SELECT unnest(?::VARCHAR[]))"
    changed = survivors(batch, dict(connection.execute(query, [ids]).fetchall()))
    if not changed:
        return 0
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE fresh AS
        SELECT unnest(?::VARCHAR[]) AS id, unnest(?::VARCHAR[]) AS survivor, ?::INTEGER AS number, ?::TIMESTAMP AS since
        """,
        [list(changed), list(changed.values()), number, datetime.now(UTC).replace(tzinfo=None)],
    )
    connection.execute("""
        CREATE TEMP TABLE extended AS
        FROM fresh
        UNION ALL
        SELECT r.id, coalesce(f.survivor, r.survivor) AS survivor, r.number, r.since
        FROM recent r LEFT JOIN fresh f ON f.id = r.survivor
        WHERE NOT EXISTS (SELECT 1 FROM fresh own WHERE own.id = r.id)
    """)
    connection.execute("DROP TABLE recent")
    connection.execute("ALTER TABLE extended RENAME TO recent")
    return len(changed)


def _number(stamp: Stamp) -> int:
    return stamp.number or 0
