"""Stored files: each has a name of its own, says whose it is, and is checked against the state before it is believed.

A file is put in place first, and the row that names it is committed second, under the fence of the caller's lease. So a
writer that lost its lease leaves a file that nobody names, and nothing else.
"""

import hashlib
import json
import shlex
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from windsor_sync.errors import StoredFileError
from windsor_sync.state.audiences import EVENTS
from windsor_sync.state.database import Database
from windsor_sync.state.tables import audiences, merges, progress, runs, snapshots, stored_files
from windsor_sync.storage.file_store import PARTS, FileStore
from windsor_sync.storage.parquet_footer import footer_of, note_option

STAMP_KEY = "windsor_sync"
"""In Parquet's key-value metadata."""

STAMP_VERSION = 1

MERGES = ("merges", "merges_recent")
"""Folders of the files of merged ids; see merges.py."""

FOLDERS_OF_PEOPLE = ("snapshots", "outboxes", *MERGES)
"""Below the file store; the other folders hold no ids of people."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """The owner of a stored file, as its own metadata names it."""

    installation: str
    destination: str
    audience_id: int
    audience: str
    """trait key"""
    computation_class: str
    name: str
    segment_id: str | None
    number: int | None
    """of the run; None for a snapshot, which several runs may use"""
    path: str
    version: int = STAMP_VERSION

    def options(self) -> str:
        """The stamp as an option of DuckDB's COPY."""
        return note_option(STAMP_KEY, json.dumps(asdict(self)))

    def part(self, name: str) -> "Stamp":
        """The stamp of one of several files in a folder of their own."""
        return replace(self, path=f"{self.path.removesuffix('.parquet')}/{name}")

    @property
    def parts(self) -> str:
        """The path that names those files together."""
        return self.part("").path.rstrip("/") + PARTS

    def beside(self, folder: str) -> "Stamp":
        """The stamp of another file of the same run."""
        return replace(self, path=f"{folder}/{self.path.partition('/')[2]}")


@dataclass(frozen=True, slots=True)
class Placed:
    """A file that stands in the store, and is not named by the state yet."""

    path: str
    whole: str
    """the path that names it and its other parts; of a single file its own"""
    rows: int
    size_bytes: int
    checksum: str
    """hex SHA-256 of its bytes"""


@dataclass(frozen=True, slots=True)
class Named:
    """A file with rows of people that the state names: a sealed snapshot, an outbox or a part of one, or known merges."""

    path: str
    whole: str
    audience_id: int
    is_snapshot: bool
    number: int | None
    """of the outbox's run, or of the newest merge"""

    @property
    def is_of_merges(self) -> bool:
        """Whether it holds merged ids."""
        return is_of_merges(self.path)


class StoredFiles:
    """The stored files of one installation: their names, their stamps, and what the state knows of them."""

    def __init__(self, database: Database, files: FileStore) -> None:
        self._database = database
        self._files = files

    def stamp(self, audience_id: int, folder: str, number: int | None = None) -> Stamp:
        """A stamp with a path below `folder` that no other file has or will have."""
        with self._database.read() as connection:
            row = connection.execute(select(audiences).where(audiences.c.id == audience_id)).one()
        installation = self._database.installation()
        return Stamp(
            installation=installation,
            destination=row.destination,
            audience_id=audience_id,
            audience=row.trait_key,
            computation_class=row.computation_class,
            name=row.name,
            segment_id=row.segment_id,
            number=number,
            path=f"{folder}/{storage_name(row.trait_key)}/{own_name(installation, audience_id, number)}.parquet",
        )

    def again(self, file: Named) -> Stamp:
        """A stamp for what takes the place of a file: all as before, but for the name."""
        number = None if file.is_snapshot else file.number
        fresh = self.stamp(file.audience_id, file.path.partition("/")[0], number)
        if file.path == file.whole:
            return fresh
        folder, _, name = file.path.rpartition("/")
        part = name.partition(".")[0].partition("-")[0]  # without what an earlier call has put behind it
        return replace(fresh, path=f"{folder}/{part}-{uuid.uuid4().hex[:12]}.parquet")

    def parts(self, whole: str) -> list[str]:
        """The files of a whole: those that the state names, or of an older version those that stand there."""
        with self._database.read() as connection:
            return parts_of(connection, self._files, whole)

    def named(self) -> list[Named]:
        """Every file with rows of people that the state names, whatever destination it is for."""
        of_snapshots = select(snapshots.c.path, snapshots.c.audience_id).distinct()
        of_runs = select(runs.c.outbox, runs.c.audience_id, runs.c.number).where(runs.c.outbox.is_not(None))
        of_merges = select(stored_files.c.path, stored_files.c.audience_id).join(
            merges, (merges.c.base == stored_files.c.path) | (merges.c.recent == stored_files.c.path)
        )
        with self._database.read() as connection:
            found: list[tuple[str, int, bool, int | None]] = [
                (path, owner, True, None) for path, owner in connection.execute(of_snapshots)
            ]
            found += [(path, owner, False, number) for path, owner, number in connection.execute(of_runs)]
            found += [(path, owner, False, self._number(path)) for path, owner in connection.execute(of_merges)]
            return [
                Named(path, whole, owner, is_snapshot, number)
                for whole, owner, is_snapshot, number in found
                for path in parts_of(connection, self._files, whole)
                if self._files.exists(path)
            ]

    def _number(self, path: str) -> int | None:
        stamp = stamp_of(self._files.location(path))
        return stamp.number if stamp else None

    def unnamed(self, named: Collection[str], folders: Sequence[str] = FOLDERS_OF_PEOPLE) -> list[str]:
        """The files with rows of people that are this installation's by their names, and that `named` does not have."""
        mark = installation_mark(self._database.installation())
        return [
            stored.path
            for folder in folders
            for stored in list(self._files.stored(folder))
            if stored.path not in named and f"/{mark}-" in stored.path
        ]

    def put(self, draft: Path, path: str, whole: str | None = None, *, rows: int | None = None) -> Placed:
        """Give a finished draft its place; `enter` makes the state name it. `rows`: how many it has, where they were counted."""
        if rows is None:
            rows, _ = _footer(str(draft))
        placed = Placed(path, whole or path, rows, draft.stat().st_size, _checksum(draft))
        self._files.keep(draft, path)
        return placed

    def neighbours(self, file: Named) -> list[Placed]:
        """The other parts of an outbox that an older version stored, of which the state names none; else nothing."""
        with self._database.read() as connection:
            known = select(stored_files.c.path).where(stored_files.c.whole == file.whole).limit(1)
            if file.path == file.whole or connection.execute(known).first():
                return []
        others = [path for path in self._files.parts(file.whole) if path != file.path]
        return [self.as_it_stands(path, file.whole) for path in others]

    def as_it_stands(self, path: str, whole: str) -> Placed:
        """Return the facts of a file that the state does not name yet. Raises StoredFileError when it cannot be read."""
        rows, _ = _footer(self._files.location(path))
        if rows < 0:
            raise damaged(EVENTS, path, "cannot be read")
        return Placed(path, whole, rows, self._files.size_bytes(path), self._files.checksum(path))

    def confirm(self, whole: str, *, thoroughly: bool = False) -> None:
        """Raise StoredFileError unless the file (or each of its parts) is what was put in place.

        Compared are size, rows and stamp; with `thoroughly` the checksum, which takes as long as reading the file.
        """
        with self._database.read() as connection:
            known = connection.execute(select(stored_files).where(stored_files.c.whole == whole)).all()
            if not known:
                self._confirm_older(connection, whole)
                return
            audience = _audience(connection, known[0].audience_id)
        for row in known:
            if finding := self._finding(row, thoroughly=thoroughly):
                raise damaged(audience, row.path, finding)

    def confirm_part(self, path: str) -> None:
        """Raise StoredFileError unless one file is what was put in place, by its checksum; an older version kept none."""
        with self._database.read() as connection:
            row = connection.execute(select(stored_files).where(stored_files.c.path == path)).one_or_none()
            if row is None:
                return
            audience = _audience(connection, row.audience_id)
        if finding := self._finding(row, thoroughly=True):
            raise damaged(audience, path, finding)

    def is_whole(self, whole: str, *, thoroughly: bool = True) -> bool:
        """Whether `confirm` finds nothing wrong."""
        try:
            self.confirm(whole, thoroughly=thoroughly)
        except StoredFileError:
            return False
        return True

    def _finding(self, row: Row[Any], *, thoroughly: bool) -> str | None:
        """Return the defect of one file; None when it is as it was put in place."""
        try:
            size = self._files.size_bytes(row.path)
        except FileNotFoundError:
            return "is missing"
        if size != row.size_bytes:
            return f"has {size:,} bytes instead of {row.size_bytes:,}"
        if thoroughly:
            return None if self._files.checksum(row.path) == row.checksum else "was changed since it was written"
        rows, stamp = _footer(self._files.location(row.path))
        if rows != row.rows:
            return f"cannot be read, or does not have its {row.rows:,} rows"
        # An older version has put no stamp into its files.
        return None if stamp is None or stamp.path == row.path else "is another file than the one that was written"

    def _confirm_older(self, connection: Connection, whole: str) -> None:
        """Check a file that an older version stored: whether it has the rows that the state has of it."""
        of_snapshot = select(snapshots.c.audience_id, snapshots.c.members).where(snapshots.c.path == whole)
        of_outbox = (
            select(runs.c.audience_id, func.max(progress.c.last))
            .join(progress, progress.c.run_id == runs.c.id)
            .where(runs.c.outbox == whole)
            .group_by(runs.c.audience_id)
        )
        row = connection.execute(of_snapshot.limit(1)).one_or_none() or connection.execute(of_outbox).one_or_none()
        audience = _audience(connection, row[0]) if row else None
        found = self._files.parts(whole)
        if not found:
            raise damaged(audience, whole, "is missing")
        if row and sum(_footer(self._files.location(part))[0] for part in found) != row[1]:
            raise damaged(audience, whole, f"cannot be read, or does not have its {row[1]:,} rows")


def enter(connection: Connection, audience_id: int, placed: Sequence[Placed]) -> None:
    """Make the state name files that stand in the store."""
    moment = datetime.now(UTC)
    if placed:
        rows = [{**asdict(file), "audience_id": audience_id, "stored_at": moment} for file in placed]
        connection.execute(insert(stored_files), rows)


def strike(connection: Connection, whole: str) -> None:
    """Make the state name a file, or its parts, no more."""
    connection.execute(delete(stored_files).where(stored_files.c.whole == whole))


def take_place_of(connection: Connection, file: Named, placed: Placed, neighbours: Sequence[Placed] = ()) -> None:
    """Make the state name `placed` wherever it named `file`, or this part of it; and parts that it did not name yet."""
    connection.execute(delete(stored_files).where(stored_files.c.path == file.path))
    enter(connection, file.audience_id, [placed, *neighbours])
    if file.path == file.whole:
        connection.execute(update(snapshots).where(snapshots.c.path == file.path).values(path=placed.path))
        connection.execute(update(runs).where(runs.c.outbox == file.path).values(outbox=placed.path))
        connection.execute(update(merges).where(merges.c.recent == file.path).values(recent=placed.path))
        now_base = {"base": placed.path, "base_rows": placed.rows}
        connection.execute(update(merges).where(merges.c.base == file.path).values(**now_base))


def parts_of(connection: Connection, files: FileStore, whole: str) -> list[str]:
    """The files of a whole: those that the state names, or of an older version those that stand there."""
    query = select(stored_files.c.path).where(stored_files.c.whole == whole).order_by(stored_files.c.path)
    return list(connection.execute(query).scalars()) or files.parts(whole)


def owned_paths(database: Database) -> Iterator[str]:
    """Yield every path that the state names, whatever destination it belongs to."""
    with database.read() as connection:
        yield from connection.execute(select(stored_files.c.path)).scalars()
        yield from connection.execute(select(snapshots.c.path)).scalars()
        for row in connection.execute(select(merges.c.base, merges.c.recent)):
            yield from filter(None, row)
        for outbox, options in connection.execute(select(runs.c.outbox, runs.c.options).join(audiences)):
            yield from (path for path in (outbox, options.get("seen"), options.get("aside")) if path)


def own_name(installation: str, audience_id: int, number: int | None = None) -> str:
    """A file name that no other run, audience, destination or installation can have."""
    run = "" if number is None else f"-{number}"
    return f"{installation_mark(installation)}-{audience_id}{run}-{uuid.uuid4().hex[:12]}"


def is_of_merges(path: str) -> bool:
    """Whether a path below the file store is that of a file of merged ids."""
    return path.startswith(tuple(f"{folder}/" for folder in MERGES))


def installation_mark(installation: str) -> str:
    """Return the beginning of the names of an installation's files; the whole id is in their stamps."""
    return installation.replace("-", "")[:8]


def storage_name(key: str) -> str:
    """A folder name for a trait key, which may hold any character."""
    if key == EVENTS:
        return "events"
    if key.replace("_", "").isalnum() and key.isascii() and len(key) < 100:
        return key
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def stamp_of(location: str) -> Stamp | None:
    """Return the stamp in a file's metadata; None when there is none that this version understands, or it cannot be read."""
    return _footer(location)[1]


def damaged(audience: str | None, path: str, finding: str) -> StoredFileError:
    """The error for a stored file that is not what was put in place."""
    if audience is None:
        remedy = "Run `windsor-sync audit`: it names what stands on the file, and the command that heals it."
    elif is_of_merges(path):
        remedy = (
            "Run `windsor-sync recover --events`: it finds the merged ids again in the files and outboxes that are left. The "
            "next sync of each audience tells Windsor again about these persons."
        )
    elif audience == EVENTS:
        remedy = "Run `windsor-sync recover --events`: it reads the archive files of that run again and sends their messages."
    else:
        remedy = (
            f"Run `windsor-sync recover {shlex.quote(audience)}`: it tells every member true, and everyone else who was ever "
            "told true false."
        )
    whose = "" if audience is None or audience == EVENTS else f" of {audience}"
    found = f"The stored file {path}{whose} {finding}."
    return StoredFileError(f"{found} Nothing more was sent. {remedy}", found, remedy)


def _audience(connection: Connection, audience_id: int) -> str:
    return str(connection.execute(select(audiences.c.trait_key).where(audiences.c.id == audience_id)).scalar_one())


def _footer(location: str) -> tuple[int, Stamp | None]:
    """Rows and stamp of a Parquet file; −1 rows when it cannot be read."""
    rows, text = footer_of(location, STAMP_KEY)
    return rows, _stamp(text) if text is not None else None


def _stamp(text: str) -> Stamp | None:
    try:
        return Stamp(**json.loads(text))
    except (ValueError, TypeError):
        return None


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
