"""The places for the delivery log: a Parquet file, a folder of them, or a table of somebody's warehouse."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import copyfile, copyfileobj
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Integer,
    MetaData,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy.exc import SQLAlchemyError

from windsor_sync.domain.run import Run
from windsor_sync.errors import ConfigError
from windsor_sync.private import make_folder, open_new
from windsor_sync.state.stored_files import storage_name
from windsor_sync.storage.errors import file_system, missing_package, trouble, words_of_failure
from windsor_sync.storage.file_store import OBJECT_STORES
from windsor_sync.storage.scratch import scratch_folder
from windsor_sync.usecases.export_log import COLUMNS, LogTarget, merged, rows_in

CHUNK_ROWS = 5_000

STALE_S = 600.0
"""A draft that grew no more for so long was left by an export that was killed."""

KINDS: dict[str, Any] = {
    "VARCHAR": Text(),
    "BIGINT": BigInteger(),
    "INTEGER": Integer(),
    "TIMESTAMP WITH TIME ZONE": DateTime(timezone=True),
}


class FolderTarget:
    """A folder with one file for each run: `audience=KEY/RUN.parquet`. A run that ended does not change any more."""

    def __init__(self, to: str) -> None:
        self._store = _Store(to)

    def has(self, run: Run) -> bool:
        """Tell whether the run's file is there."""
        return self._store.exists(_path(run))

    def take(self, run: Run, rows: Path) -> None:
        """Put the run's file."""
        self._store.put(rows, _path(run))

    def finish(self) -> None:
        """Nothing is left to do."""


class FileTarget:
    """One file, which takes the place of an older one when all runs are in it."""

    def __init__(self, to: str, folder: Path) -> None:
        self._store, self._folder = _Store(to), folder
        self._parts: list[Path] = []

    def has(self, run: Run) -> bool:  # noqa: ARG002
        """Say no: the file is made anew."""
        return False

    def take(self, run: Run, rows: Path) -> None:  # noqa: ARG002
        """Keep the rows until all are there."""
        part = self._folder / f"{len(self._parts):08}.parquet"
        copyfile(rows, part)
        self._parts.append(part)

    def finish(self) -> None:
        """Make the file."""
        whole = self._folder / "whole.parquet"
        merged(self._parts, whole)
        self._store.put(whole, "")


class TableTarget:
    """A table, made where there is none; each run's rows come in one transaction."""

    def __init__(self, engine: Any, name: str, place: str) -> None:
        self._engine, self._place = engine, place
        schema, _, table = name.rpartition(".")
        columns = [Column(column, KINDS[kind]) for column, (kind, _) in COLUMNS.items()]
        self._table = Table(table, MetaData(schema=schema or None), *columns)
        self._rows: dict[tuple[str, str], int] = {}
        key = (self._table.c.destination, self._table.c.run_id)
        with self._understood(), engine.begin() as connection:
            self._wait_for_turn(connection)
            self._table.create(connection, checkfirst=True)
            counted = connection.execute(select(*key, func.count()).group_by(*key))
            self._rows = {(destination, run_id): rows for destination, run_id, rows in counted}

    def has(self, run: Run) -> bool:
        """Tell whether as many rows of the run are there as it has changes."""
        return any(run_id == run.run_id and rows == run.books.changes for (_, run_id), rows in self._rows.items())

    def take(self, run: Run, rows: Path) -> None:
        """Put the run's rows in the place of what an export of before may have left."""
        with self._understood(), self._engine.begin() as connection:
            self._wait_for_turn(connection)
            connection.execute(delete(self._table).where(self._table.c.run_id == run.run_id))
            for chunk in rows_in(rows, CHUNK_ROWS):
                connection.execute(insert(self._table), [dict(zip(COLUMNS, row, strict=True)) for row in chunk])

    def finish(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    def _wait_for_turn(self, connection: Connection) -> None:
        """Let one export at a time write: in PostgreSQL neither of two would delete what the other one is about to commit."""
        if self._engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(self._table.fullname))))

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:  # its words hold rows
            raise ConfigError(
                f"The table {self._table.fullname} at {self._place} cannot be written ({type(error).__name__}). The runs before "
                "are there, of this one nothing. Let the connection's user create and write that table, or name another one."
            ) from None


@contextmanager
def file_or_folder(to: str) -> Iterator[LogTarget]:
    """The target for a path or URL: one file where it ends in .parquet, else a folder."""
    if not to.endswith(".parquet"):
        yield FolderTarget(to)
        return
    with scratch_folder(suffix=".parquet") as folder:
        yield FileTarget(to, folder)


def _path(run: Run) -> str:
    return f"audience={storage_name(run.audience)}/{run.run_id}.parquet"


class _Store:
    """A folder or an object store; a file appears there whole or not at all."""

    def __init__(self, to: str) -> None:
        self._to = to
        with self._reached():
            self._fs, self._root = file_system(to)
        if "memory" in self._protocols:
            raise ConfigError("A log in memory:// is gone with this command. Nothing was written. Name a folder.")
        self._is_local = "file" in self._protocols

    @property
    def _protocols(self) -> tuple[str, ...]:
        found = self._fs.protocol
        return found if isinstance(found, tuple) else (found,)

    def exists(self, path: str) -> bool:
        with self._reached():
            return bool(self._fs.exists(self._full(path)))

    def put(self, file: Path, path: str) -> None:
        with self._reached():
            if not self._is_local:
                self._upload(file, self._full(path))
                return
            final = Path(self._full(path))
            make_folder(final.parent)
            _remove_stale(final)
            draft = final.with_name(f".{final.name}.{secrets.token_hex(4)}")
            with ExitStack() as undone:
                undone.callback(_remove, draft)
                with file.open("rb") as source, open_new(draft) as target:
                    copyfileobj(source, target)
                os.replace(draft, final)  # noqa: PTH105

    def _upload(self, file: Path, final: str) -> None:
        """Object stores take a whole file; other remote file systems show one that is arriving."""
        if OBJECT_STORES.intersection(self._protocols):
            self._fs.put_file(str(file), final)
            return
        folder, slash, name = final.rpartition("/")
        arriving = f"{folder}{slash}.{name}.{secrets.token_hex(4)}"
        if folder:
            self._fs.makedirs(folder, exist_ok=True)
        try:
            self._fs.put_file(str(file), arriving)
            if self._fs.exists(final):
                self._fs.rm_file(final)
            self._fs.mv(arriving, final)
        except BaseException:
            with suppress(Exception):
                self._fs.rm_file(arriving)
            raise

    def _full(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}" if path else self._root

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except ImportError as error:
            problem = f"its package is not installed ({missing_package(error)})"
        except trouble(ValueError) as error:
            problem = words_of_failure(error)
        else:
            return
        raise ConfigError(
            f"The log cannot be written to {self._to}: {problem}. What was written before is whole. Name a folder or a "
            ".parquet file in which this user may write, or the URL of an object store whose fsspec package is installed."
        )


def _remove_stale(final: Path) -> None:
    """Remove the drafts of a file that killed exports left beside it: they name users."""
    beginning = f".{final.name}."
    for draft in final.parent.iterdir():
        is_draft = draft.name.startswith(beginning) and len(draft.name) == len(beginning) + 8
        with suppress(OSError):
            if is_draft and time.time() - draft.stat().st_mtime > STALE_S:
                draft.unlink()


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
