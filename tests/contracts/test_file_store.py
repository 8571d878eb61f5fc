"""The file store: a file is there whole or not at all, in a folder and in an object store."""

import errno
import hashlib
import os
import threading
import uuid
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from windsor_sync.errors import ConfigError, StateUnavailable
from windsor_sync.storage.file_store import PARTS, FileStore

PATH = "snapshots/vip/ab12.parquet"


class TearingFileSystem(MemoryFileSystem):
    """An object store's stand-in whose uploads break off half-way, when told to."""

    protocol = "tearing"
    tears = False

    def put_file(self, lpath: str, rpath: str, *args: Any, **kwargs: Any) -> None:
        """Upload, or half of it."""
        if not TearingFileSystem.tears:
            super().put_file(lpath, rpath, *args, **kwargs)
            return
        content = Path(lpath).read_bytes()
        self.pipe_file(rpath, content[: len(content) // 2])
        raise ConnectionResetError


fsspec.register_implementation("tearing", TearingFileSystem, clobber=True)


@pytest.fixture(params=["folder", "memory", "tearing", "s3"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    """An empty store of each kind; the one of S3 is a real server."""
    if request.param == "folder":
        return FileStore(str(tmp_path / "files"))
    if request.param == "s3":
        request.getfixturevalue("s3")
        return FileStore("s3://acme/files")
    return FileStore(f"{request.param}://{uuid.uuid4().hex}")


def put(files: FileStore, content: bytes, path: str = PATH) -> None:
    """Write and keep a file."""
    with files.draft() as draft:
        draft.write_bytes(content)
        files.keep(draft, path)


def content(files: FileStore, path: str = PATH) -> bytes:
    """What a reader finds."""
    found: bytes = fsspec.open(files.location(path)).open().read()
    return found


def everything(files: FileStore) -> list[str]:
    """All files below the root, finished or not."""
    return [str(path) for path in files._fs.find(files._root)]


def test_a_kept_file_is_found_where_its_location_says(files: FileStore) -> None:
    assert not files.exists(PATH)
    put(files, b"members")
    assert files.exists(PATH)
    assert files.size_bytes(PATH) == 7
    assert content(files) == b"members"
    assert len(everything(files)) == 1


def test_a_draft_is_seen_by_nobody_until_it_is_kept(files: FileStore) -> None:
    with files.draft() as draft:
        draft.write_bytes(b"half")
        assert not files.exists(PATH)
    assert not draft.exists()
    assert everything(files) == []


def test_a_draft_is_gone_after_an_error(files: FileStore) -> None:
    drafts = []

    def write_half() -> None:
        with files.draft() as draft:
            drafts.append(draft)
            draft.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert not drafts[0].exists()
    assert everything(files) == []


def test_a_draft_that_was_never_written_is_no_error(files: FileStore) -> None:
    with files.draft():
        pass
    assert everything(files) == []


def test_two_drafts_at_once_do_not_meet(files: FileStore) -> None:
    with files.draft() as one, files.draft() as two:
        one.write_bytes(b"one")
        two.write_bytes(b"two")
        files.keep(one, "one.parquet")
        files.keep(two, "two.parquet")
    assert (content(files, "one.parquet"), content(files, "two.parquet")) == (b"one", b"two")


@pytest.mark.parametrize("root", ["memory://killed", "s3://acme/killed"])
def test_an_upload_that_was_killed_half_way_is_swept_away_after_a_day(
    s3: Any, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    store = FileStore(root)
    arriving = f"{store._root}/drafts/half.parquet"
    store._fs.pipe_file(arriving, b"users")
    put(store, b"members")
    assert store._fs.exists(arriving)  # it may be under way
    monkeypatch.setattr("windsor_sync.storage.file_store.ABANDONED_S", -60.0)  # a day has passed
    put(FileStore(root), b"more", "snapshots/vip/cd34.parquet")
    assert not store._fs.exists(arriving)
    assert content(store) == b"members"


def test_who_may_not_look_for_killed_uploads_keeps_files_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError

    store = FileStore(f"memory://{uuid.uuid4().hex}")
    monkeypatch.setattr(store._fs, "find", refuse)
    put(store, b"members")
    assert content(store) == b"members"


def test_a_file_that_stands_is_never_replaced(files: FileStore) -> None:
    put(files, b"old")
    with pytest.raises(StateUnavailable, match="File exists"):
        put(files, b"newer")
    assert content(files) == b"old"
    assert everything(files) == [f"{files._root}/{PATH}"]


def test_of_two_writers_of_one_name_one_is_refused(files: FileStore) -> None:
    """Whatever the moment: between looking whether a file stands there and putting one, the other may be first.

    A remote file system that knows no conditional put can only look first: there the names, which are never used twice, hold.
    """
    if files._url.startswith(("memory", "tearing")):
        pytest.skip("looks, then moves")
    barrier = threading.Barrier(4)
    outcomes: list[bytes | None] = []

    def write(text: bytes) -> None:
        barrier.wait()
        try:
            put(files, text)
            outcomes.append(text)
        except StateUnavailable:
            outcomes.append(None)

    writers = [threading.Thread(target=write, args=(bytes([65 + number]) * 50_000,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [content(files)] == [text for text in outcomes if text]


def test_where_files_have_one_name_only_none_is_replaced_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    files = FileStore(str(tmp_path))
    put(files, b"old")
    with pytest.raises(StateUnavailable, match="File exists"):
        put(files, b"newer")
    assert content(files) == b"old"


def test_a_checksum_is_of_the_bytes(files: FileStore) -> None:
    put(files, b"members")
    assert files.checksum(PATH) == hashlib.sha256(b"members").hexdigest()
    with pytest.raises(FileNotFoundError):
        files.checksum("snapshots/vip/none.parquet")


def test_an_upload_that_breaks_off_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    files = FileStore(f"tearing://{uuid.uuid4().hex}")
    put(files, b"old")
    monkeypatch.setattr(TearingFileSystem, "tears", True)
    with pytest.raises(StateUnavailable, match="ConnectionResetError"):
        put(files, b"a new file", "snapshots/vip/new.parquet")
    assert content(files) == b"old"
    assert len(everything(files)) == 1


def test_a_draft_that_cannot_be_kept_changes_nothing(files: FileStore) -> None:
    put(files, b"old")
    with pytest.raises(FileNotFoundError), files.draft() as draft:
        files.keep(draft, PATH)
    assert content(files) == b"old"


def test_a_deleted_file_is_gone_and_deleting_it_again_is_fine(files: FileStore) -> None:
    put(files, b"members")
    files.delete(PATH)
    files.delete(PATH)
    assert not files.exists(PATH)
    with pytest.raises(FileNotFoundError):
        files.size_bytes(PATH)


def test_another_process_finds_what_this_one_kept(tmp_path: Path) -> None:
    put(FileStore(str(tmp_path / "files")), b"members")
    again = FileStore((tmp_path / "files").as_uri())
    assert content(again) == b"members"
    assert again.location(PATH) == str(tmp_path / "files" / PATH)


def test_a_draft_for_an_object_store_is_readable_by_this_user_only() -> None:
    with FileStore(f"memory://{uuid.uuid4().hex}").draft() as draft:
        assert draft.parent.stat().st_mode & 0o077 == 0


def test_a_store_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root, reason in ((f"{tmp_path}/file/files", "Not a directory"), ("nowhere://bucket", "Protocol not known")):
        with pytest.raises(ConfigError, match=rf"`files` in windsor.yaml cannot be used: {reason}"):
            FileStore(root)


def test_parts_in_a_folder_of_their_own_are_one_thing_that_is_found_and_removed_whole(files: FileStore) -> None:
    path = f"outboxes/events/1-1{PARTS}"
    assert files.parts(path) == []
    with files.draft_folder() as folder:
        for number in range(3):
            (folder / f"{number}.parquet").write_bytes(b"rows")
        for draft in list(folder.iterdir())[:2]:
            files.keep(draft, f"{path.removesuffix(PARTS)}/{draft.name}")
    assert not folder.exists()
    assert len(files.parts(path)) == len(everything(files)) == 2
    put(files, b"rows", PATH)
    assert files.parts(PATH) == [PATH]
    files.delete(path)
    files.delete(path)
    assert files.parts(path) == []
    assert files.exists(PATH)


def test_parts_are_located_one_by_one_and_never_by_a_pattern(tmp_path: Path) -> None:
    root = tmp_path / "files [1] *"
    files = FileStore(str(root))
    path = f"outboxes/events/1-1{PARTS}"
    part = path.replace("*", "000000")
    put(files, b"rows", part)
    assert files.location(path) == f"{root}/{path.removesuffix(PARTS)}"
    assert files.parts(path) == [part]
    assert files.parts(f"outboxes/events/1-2{PARTS}") == []


def test_an_abandoned_folder_of_drafts_is_removed_when_the_store_is_opened(tmp_path: Path) -> None:
    FileStore(str(tmp_path))
    abandoned = tmp_path / "drafts" / "windsor_sync-abandoned"
    abandoned.mkdir()
    (abandoned / "000000.parquet").write_bytes(b"users")
    os.utime(abandoned, (0, 0))
    FileStore(str(tmp_path))
    assert not abandoned.exists()


def test_a_folder_that_cannot_be_listed_is_out_of_reach_and_not_empty(tmp_path: Path) -> None:
    files = FileStore(str(tmp_path))
    put(files, b"{}", "marks/one/1-1.json")
    (tmp_path / "seen").symlink_to("seen")  # root cannot list it either
    for folder in ("seen", "marks/one/1-1.json"):
        with pytest.raises(StateUnavailable, match="cannot be read"):
            list(files.stored(folder))
    assert list(files.stored("outboxes")) == []
