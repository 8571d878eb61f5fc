"""The embedded engine: DuckDB with bounded memory, spilling into a temporary folder."""

import errno
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from windsor_sync.errors import ConfigError
from windsor_sync.settings.patterns import has_magic, is_url, literal
from windsor_sync.storage import kept_engines
from windsor_sync.storage.errors import store_damaged, store_unavailable, words_of_name
from windsor_sync.storage.limits import require_address_space
from windsor_sync.storage.scratch import inside, new_scratch_path, scratch_folder, scratch_of_this_process

MEMORY_LIMIT_MB = 500
"""What DuckDB may hold before it spills to disk; the process adds about 150 MB of its own."""

LOCKED: dict[str, Any] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_unsigned_extensions": False,
    "allow_persistent_secrets": False,
    "extension_directory": "nowhere://extensions",
}
"""An engine takes nothing from the network: no extension is installed or loaded, none can be."""

MISSING = "a stored file is missing"
DAMAGED = "a stored file is damaged"

_NO_ROOM = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS))
_DAMAGED_ROWS = (
    ".parquet'",
    '.parquet"',
    "Parquet",
    "Invalid unicode",
    "Invalid string encoding",
    "Unimplemented TIMESTAMP",
    "stats size",
)
_DAMAGED_BYTES = (
    "TProtocolException", "Out of buffer", "don't know what type", "bigger than allowed", "likely corrupted",
    "Prefetch registered", "Could not read enough bytes", "converted type can only be set", "FIXED_LEN_BYTE_ARRAY",
    "GZIP stream", "invalid TType", "Failed to read Parquet file",
)  # fmt: skip
"""What DuckDB 1.x says of a Parquet file in which bits were changed."""

_RAISED = re.compile(r"^(\w+): ", re.MULTILINE)

_stores: dict[str, Any] = {}
_folders: set[str] = set()


def reach(store: Any) -> None:
    """Let every engine that is opened from now on read this fsspec file system by its URLs.

    DuckDB reads object stores through extensions, which it downloads when they are needed; this needs no download.
    """
    _stores[str(store.protocol)] = store


def reach_folder(folder: str) -> None:
    """Let every engine on stored files that is opened from now on read and write below this folder."""
    if not any(_holds(each, folder) for each in _folders):  # an engine that reaches the same places can be used again
        _folders.add(folder)


def _holds(folder: str, other: str) -> bool:
    """Whether everything in the other folder is in the folder, by its name and without links."""
    return all(Path(spell(other)).is_relative_to(spell(folder)) for spell in (os.path.abspath, os.path.realpath))


@contextmanager
def open_duckdb(*reads: str, store: Any = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an engine for this block alone; its tables and spilled files are gone when the block ends.

    It reads these local files and folders; without any it reads the file stores that this process has opened, and within
    `kept_engines.engines_kept` it may have been used before. Beside them it reads and writes in the scratch folders that this
    process has now. `store` is the fsspec file system of URLs among `reads`.
    """
    require_address_space()
    stores = [store] if store is not None else [] if reads else list(_stores.values())
    reaches = kept_engines.Reaches(tempfile.gettempdir(), tuple(map(id, stores)), _allowed(reads))
    engine = (None if reads else kept_engines.take(reaches)) or _started(reaches, stores)
    is_clean = False
    with scratch_folder(at=engine.scratch):
        try:
            with engine.connection() as connection:
                yield connection
            is_clean = not reads and engine.holds_nothing()
        finally:
            if not is_clean:
                engine.database.close()
    if is_clean:
        kept_engines.give_back(engine)


def _started(reaches: kept_engines.Reaches, stores: Sequence[Any]) -> kept_engines.KeptEngine:
    scratch = new_scratch_path()
    database = duckdb.connect(config=LOCKED)
    database.execute(f"SET memory_limit = '{MEMORY_LIMIT_MB}MB'")
    database.execute(f"SET temp_directory = {quoted(str(inside(scratch)))}")
    for store in stores:
        database.register_filesystem(store)
    lock(database, *reaches.paths, str(inside(scratch)))
    [(threads,)] = database.execute("SELECT current_setting('threads')").fetchall()
    return kept_engines.KeptEngine(database, scratch, reaches, threads)


def _allowed(reads: Sequence[str]) -> tuple[str, ...]:
    """Return what an engine may read: a scratch folder within it needs no mention."""
    given = tuple(reads or (*sorted(_folders), *_protocols()))
    roots = [Path(each) for each in given if not is_url(each)]
    own = (each for each in scratch_of_this_process() if not any(map(each.is_relative_to, roots)))
    return given + tuple(map(str, own))


def lock(connection: duckdb.DuckDBPyConnection, *reads: str) -> None:
    """Let an engine reach these files, folders and stores, no network and no extension, and keep it so."""
    spelled = {spelling for path in reads for spelling in _spellings(path)}
    allowed = f"[{', '.join(map(quoted, sorted(spelled)))}]"
    connection.execute(f"SET allowed_directories = {allowed}")
    connection.execute(f"SET allowed_paths = {allowed}")
    connection.execute(f"SET allowed_configs = {list(kept_engines.CHANGEABLE)}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _spellings(path: str) -> set[str]:
    """Return a path as it is, without links, and as a pattern that means no other: the engine compares letters."""
    plain = {path} if is_url(path) else {os.path.abspath(path), os.path.realpath(path)}  # noqa: PTH100
    return plain | set(map(literal, plain))


def _protocols() -> Iterator[str]:
    """Return the URL schemes of the registered stores."""
    for store in _stores.values():
        yield from (f"{each}://" for each in ([store.protocol] if isinstance(store.protocol, str) else store.protocol))


@contextmanager
def open_stored() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an engine on files of the file store; raises StoredFileError for one that is gone or damaged, StateUnavailable
    when one cannot be read or written."""
    with stored_files(), open_duckdb() as connection:
        yield connection


@contextmanager
def stored_files() -> Iterator[None]:
    """Translate what an engine says of stored files: StoredFileError or StateUnavailable; other errors are defects of ours."""
    try:
        yield
    except duckdb.Error as error:
        words = _words_about_files(error)
        if words is None:
            raise
        raise (store_damaged if words in (MISSING, DAMAGED) else store_unavailable)(words) from None


def no_room(error: duckdb.Error) -> str | None:
    """The system's words for a disk that takes nothing more, if that is what the engine met."""
    return next((words for words in _NO_ROOM if words in str(error)), None)


def _words_about_files(error: duckdb.Error) -> str | None:
    """Return the defect of a file without its name; None for an error that is not about files."""
    text = str(error)
    if _is_of_damaged_parquet(error, text):
        return DAMAGED
    if type(error) is duckdb.Error:  # so it hands on the exception of a file system that it was made to use
        raised = (_RAISED.findall(text) or ["Error"])[-1]
        return MISSING if raised == "FileNotFoundError" else words_of_name(raised)
    if not isinstance(error, duckdb.IOException):
        return None
    return no_room(error) or (MISSING if "No files found" in text else "IOException")


def _is_of_damaged_parquet(error: duckdb.Error, text: str) -> bool:
    if isinstance(error, duckdb.InvalidInputException | duckdb.NotImplementedException):
        return any(words in text for words in _DAMAGED_ROWS)
    is_read = isinstance(error, duckdb.IOException) or type(error) is duckdb.Error
    return is_read and any(words in text for words in _DAMAGED_BYTES)


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def one_file(path: str) -> str:
    """Return a path or URL as the SQL string that every reader of the engine takes for this one file.

    Raises ConfigError for a path that the engine could only take for another one.
    """
    if has_magic(path) and "\\" in path:
        raise ConfigError(
            f"{path} has a backslash in it, and one of * ? [ as well: DuckDB would look for another path. Nothing was done. "
            "Rename the folder or the file, then run again."
        )
    return quoted(literal(path))


def parquet(location: str, options: str = "") -> str:
    """Return one Parquet file as a table in SQL: its own columns, whatever its folders are called."""
    return _read_parquet(one_file(location), options)


def parquet_files(locations: Sequence[str], options: str = "") -> str:
    """Return several Parquet files of the same columns, at least one, as one table in SQL."""
    return _read_parquet(f"[{', '.join(map(one_file, locations))}]", options)


def columns_of(connection: duckdb.DuckDBPyConnection, location: str) -> set[str]:
    """Return the names of a Parquet file's columns."""
    return {str(name) for name, *_ in connection.execute(f"DESCRIBE SELECT * FROM {parquet(location)}").fetchall()}


def csv(location: str, options: str) -> str:
    """Return one text file as a table in SQL, split as the options say and no other way."""
    return f"read_csv({one_file(location)}, auto_detect = false, compression = 'none', hive_partitioning = false, {options})"


def _read_parquet(files: str, options: str) -> str:
    return f"read_parquet({files}, hive_partitioning = false{', ' if options else ''}{options})"
