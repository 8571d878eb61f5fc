"""The file store: immutable Parquet files below one folder or object-store URL (fsspec).

A file appears whole or not at all, and never in the place of another one: it is written beside its place and linked
there. What goes wrong with the store is StateUnavailable, from every method.
"""

import errno
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tarfile import TarError
from typing import Any
from zipfile import BadZipFile

from fsspec.implementations.local import LocalFileSystem

from windsor_sync.errors import ConfigError, StateUnavailable
from windsor_sync.private import Access, make_folder, open_new, sync_to_disk, tighten_below
from windsor_sync.settings.patterns import has_magic
from windsor_sync.storage.duckdb_engine import reach, reach_folder
from windsor_sync.storage.errors import file_system, in_reach, store_unavailable, trouble, words_of_failure
from windsor_sync.storage.scratch import ABANDONED_S, PREFIX, Scratch, scratch_folder, scratch_in, sweep, works_on

DRAFTS = "drafts"
"""Below the root, so that a draft is on the same disk as its final place."""

PARTS = "/*.parquet"
"""At the end of a path: the files of that folder together are one table. The folder's name is never used again."""


NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
"""What a file system says that knows no second name for a file."""

PASSING = frozenset(
    {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOSPC, errno.EDQUOT, errno.EHOSTDOWN, errno.EHOSTUNREACH}
)
"""Errors of a disk that may work again, or have room again, without a change of settings."""

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "az", "memory"})
"""Where fsspec puts a file only if there is none (a conditional put)."""

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the store."""

    path: str
    modified_at: datetime


class FileStore:
    """Files by their path below the store's root, such as `snapshots/vip/7/ab12.parquet`."""

    def __init__(self, root: str, access: Access = Access.OWNER) -> None:
        """Open the store at a path or URL, with new files of a folder for `access`.

        Raises ConfigError when it cannot be used, StateUnavailable when it may be later.
        """
        self._access = access
        try:
            # Other processes write here too: what was listed a moment ago may not be all.
            self._fs, self._root = file_system(root, use_listings_cache=False)
            self.is_local = isinstance(self._fs, LocalFileSystem)
            self._is_swept = self.is_local
            self._url = str(self._fs.unstrip_protocol(self._root))
            works_on(self._url)
            if self.is_local:
                reach_folder(self._root)
            if self._drafts:
                make_folder(self._drafts, access)
                _sweep(self._drafts)
            else:
                sweep()
                reach(self._fs)
        except trouble(ImportError, ValueError, BadZipFile, TarError) as error:
            if isinstance(error, OSError) and error.errno in PASSING:
                raise store_unavailable(words_of_failure(error)) from None
            raise ConfigError(
                f"`files` in windsor.yaml cannot be used: {_reason(error)}. Nothing was done. Name a folder in which this "
                "user may write, or the URL of an object store whose fsspec package is installed."
            ) from None

    def location(self, path: str) -> str:
        """Return where a reader such as DuckDB finds the file: a local path or a URL, never a pattern; of parts, their folder."""
        full = self._full(path.removesuffix(PARTS))
        return full if self.is_local else str(self._fs.unstrip_protocol(full))

    @property
    def drafts_url(self) -> str:
        """URL of the folder for uncommitted files in an object store; empty for a store on a disk."""
        return "" if self.is_local else f"{self._url}/{DRAFTS}"

    def parts(self, path: str) -> list[str]:
        """The stored files that a path means: those of its folder when it ends in PARTS, else itself; none if gone."""
        if path.endswith(PARTS):
            return sorted(stored.path for stored in self.stored(path.removesuffix(PARTS)))
        return [path] if self.exists(path) else []

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """A local path to write to, which nobody else sees; gone when the block ends, unless it was kept."""
        with self.draft_folder(suffix=".parquet") as folder:
            yield folder / _fresh_name()

    @contextmanager
    def draft_folder(self, suffix: str = "") -> Iterator[Path]:
        """A local folder for drafts; gone when the block ends, with what was not kept."""
        with ExitStack() as opened:
            with in_reach():
                folder = opened.enter_context(scratch_folder(self._drafts, suffix))
            with _drafts_in_reach(folder.parent):  # a reading of events makes further folders in it
                yield folder

    def scratch(self) -> list[Scratch]:
        """The scratch folders of processes that use this store, or no store yet, here and in the store's own folder."""
        roots = [self._drafts] if self._drafts else []
        found = [one for one in scratch_in(*roots) if one.is_used]
        return [one for one in found if not one.stores or self._url in one.stores]

    def readers(self) -> list[Scratch]:
        """Return the scratch folders of other processes that use this store now; folders of dead processes are removed."""
        found = [one for one in self.scratch() if one.stores and not one.is_ours]
        for one in found:
            if one.is_left:
                one.remove()
        return [one for one in found if one.is_there]

    def keep(self, draft: Path, path: str) -> None:
        """Give a finished draft its place in the store, whole or not at all.

        Raises StateUnavailable where a file stands already: none is ever replaced.
        """
        draft.stat()  # that it was never written would be our own mistake, not the store's
        with in_reach():
            if self.is_local:
                self._link(draft, Path(self._full(path)))
            else:
                self._upload(draft, self._full(path))

    def exists(self, path: str) -> bool:
        """Whether the file is there; never guessed while the store does not say."""
        return self._info(path) is not None

    def size_bytes(self, path: str) -> int:
        """Its size; raises FileNotFoundError."""
        found = self._info(path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return int(found["size"])

    def read(self, path: str) -> bytes:
        """A small file, whole; raises FileNotFoundError."""
        if not self.exists(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        with in_reach():
            content: bytes = self._fs.cat_file(self._full(path))
        return content

    def fetch(self, paths: Sequence[str], folder: Path) -> dict[str, Path]:
        """Copy files into a local folder, with one request each, many at once; leave out a file that cannot be read."""
        copies: dict[str, Path] = {}
        with in_reach():
            contents = self._fs.cat_ranges(list(map(self._full, paths)), 0, None, on_error="return")
            for path, content in zip(paths, contents, strict=True):
                if isinstance(content, bytes):
                    copies[path] = folder / _fresh_name()
                    copies[path].write_bytes(content)
        return copies

    def checksum(self, path: str) -> str:
        """Hex SHA-256 of its bytes; raises FileNotFoundError."""
        digest = hashlib.sha256()
        missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        with in_reach():
            try:
                with self._fs.open(self._full(path), "rb") as file:
                    while block := file.read(BLOCK_BYTES):
                        digest.update(block)
                return digest.hexdigest()
            except FileNotFoundError:
                pass
        raise missing

    def stored(self, folder: str) -> Iterator[StoredFile]:
        """Yield the files below a folder of the store, without drafts."""
        for name in self._find(self._full(folder)):
            moment = self._modified(name)
            if moment is not None:
                full = name if self.is_local else str(self._fs._strip_protocol(name))
                yield StoredFile(full.removeprefix(f"{self._root}/"), _aware(moment))

    def is_older(self, path: str, before: datetime) -> bool:
        """Whether the file is there, and was written before a moment."""
        moment = self._modified(self._full(path))
        return moment is not None and _aware(moment) < before

    def delete(self, path: str) -> None:
        """Remove the file, or the parts with their folder; already gone is fine."""
        for part in self.parts(path):
            with in_reach(), suppress(FileNotFoundError):
                self._fs.rm_file(self._full(part))
        if path.endswith(PARTS) and self.is_local:
            with suppress(OSError):
                Path(self._full(path)).parent.rmdir()

    def tighten(self, folders: Iterable[str]) -> None:
        """Take these folders from other users where an older version left them open; an object store has rights of its own."""
        if self.is_local:
            for folder in folders:
                tighten_below(Path(self._full(folder)), self._access)

    @property
    def _drafts(self) -> Path | None:
        """Return where drafts are made; None for the temporary folder."""
        return Path(self._root, DRAFTS) if self.is_local else None

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _info(self, path: str) -> dict[str, Any] | None:
        """Return the store's facts about a file; None when it does not exist."""
        found: dict[str, Any] | None = None
        with in_reach(), suppress(FileNotFoundError, NotADirectoryError):
            found = self._fs.info(self._full(path))
        return found

    def _find(self, root: str) -> list[str]:
        found: list[str] = []
        with in_reach(), suppress(FileNotFoundError):
            found = _files_below(root) if self.is_local else list(self._fs.find(root))
        return found

    def _modified(self, name: str) -> datetime | None:
        """Return when a file was written; None when it is gone meanwhile."""
        moment: datetime | None = None
        with in_reach(), suppress(FileNotFoundError):
            # for tens of thousands of files fsspec takes ten times as long to ask the disk
            moment = datetime.fromtimestamp(os.lstat(name).st_mtime, UTC) if self.is_local else self._fs.modified(name)
        return moment

    def _link(self, draft: Path, final: Path) -> None:
        make_folder(final.parent, self._access)
        draft.chmod(self._access.file_mode)  # a library made it, as the umask says
        sync_to_disk(draft)
        try:
            os.link(draft, final)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            _copy_to_new(draft, final, self._access)
        draft.unlink()
        for folder in final.parents:  # each may be new, and is known to the disk through its parent
            sync_to_disk(folder)
            if folder == Path(self._root):
                return

    def _upload(self, draft: Path, final: str) -> None:
        """Object stores take a whole file, and only where none is; other remote file systems show one that is arriving."""
        if OBJECT_STORES.intersection(_protocols(self._fs)):
            self._fs.put_file(str(draft), final, mode="create")
        elif self._fs.exists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        else:
            self._upload_and_move(draft, final)
        with suppress(StateUnavailable), in_reach():  # the file is in its place; who may not list or remove keeps it so
            self._sweep_uploads()

    def _upload_and_move(self, draft: Path, final: str) -> None:
        arriving = self._full(f"{DRAFTS}/{_fresh_name()}")
        try:
            self._fs.put_file(str(draft), arriving)
            self._fs.makedirs(self._fs._parent(final), exist_ok=True)
            if has_magic(final):  # to `mv` it would be a pattern
                self._fs.cp_file(arriving, final)
                self._fs.rm_file(arriving)
            else:
                self._fs.mv(arriving, final)
        except BaseException:
            with suppress(Exception):
                self._fs.rm_file(arriving)
            raise

    def _sweep_uploads(self) -> None:
        """Remove what a killed process had on its way; looked for once, and not while the store may be out of reach."""
        if self._is_swept:
            return
        self._is_swept = True
        for name in self._find(self._full(DRAFTS)):
            moment = self._modified(name)
            if moment is not None and (datetime.now(UTC) - _aware(moment)).total_seconds() > ABANDONED_S:
                with suppress(FileNotFoundError):  # somebody else who sweeps was faster
                    self._fs.rm_file(name)


@contextmanager
def _drafts_in_reach(folder: Path) -> Iterator[None]:
    """Turn a disk's error about a draft into StateUnavailable; a missing draft is a fault of the caller and stays as it is."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if not str(error.filename).startswith(f"{folder}/"):
            raise
        raise store_unavailable(words_of_failure(error)) from None


def _sweep(drafts: Path) -> None:
    sweep(drafts)
    for draft in drafts.iterdir():
        if draft.name.startswith(PREFIX):
            continue
        with suppress(FileNotFoundError):  # its owner, or somebody else who sweeps, was faster
            if time.time() - draft.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(draft) if draft.is_dir() else draft.unlink()


def _files_below(root: str) -> list[str]:
    """List every file below a local folder; raises OSError where a folder cannot be listed, instead of taking it for empty."""

    def unless_gone(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    found = os.walk(root, onerror=unless_gone, followlinks=True)
    return sorted(os.path.join(folder, name) for folder, _, names in found for name in names)  # noqa: PTH118


def _aware(moment: datetime) -> datetime:
    """A moment in UTC, also of a store that leaves out the zone."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _copy_to_new(draft: Path, final: Path, access: Access) -> None:
    """Write the bytes to a name that nobody has; until the state names it, nobody reads it."""
    with draft.open("rb") as source, open_new(final, access) as target:
        shutil.copyfileobj(source, target, BLOCK_BYTES)
        target.flush()
        os.fsync(target.fileno())


def _fresh_name() -> str:
    return f"{uuid.uuid4().hex}.parquet"


def _reason(error: Exception) -> str:
    """Return the system's words for an error, or the package's name, without a path's user name or a URL's secrets."""
    return str(error) if isinstance(error, ImportError | ValueError) else words_of_failure(error)
