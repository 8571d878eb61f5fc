"""A file store that is out of reach, lets nobody in or has no room says so in our words, and nothing half-written stays."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import nobody_at
from windsor_sync.errors import ConfigError, StateUnavailable
from windsor_sync.storage.file_store import PARTS, FileStore

PATH = "snapshots/vip/ab12.parquet"

USES: dict[str, Callable[[FileStore, Path], object]] = {
    "keep": lambda store, draft: store.keep(draft, PATH),
    "exists": lambda store, _: store.exists(PATH),
    "size_bytes": lambda store, _: store.size_bytes(PATH),
    "parts": lambda store, _: store.parts(f"snapshots/vip{PARTS}"),
    "stored": lambda store, _: list(store.stored("snapshots")),
    "delete": lambda store, _: store.delete(PATH),
}


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    """A finished file."""
    path = tmp_path / "draft.parquet"
    path.write_bytes(b"members")
    return path


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with nobody_at() as port:
        yield f"http://127.0.0.1:{port}"


def assert_said(refused: pytest.ExceptionInfo[StateUnavailable], words: str) -> None:
    """In four parts, and without a key."""
    said = str(refused.value)
    assert said.startswith(f"The file store (`files` in windsor.yaml) cannot be read or written: {words}. ")
    assert "nothing half-written stays" in said
    assert "Run it again" in said
    assert "AKIA" not in said
    assert refused.value.exit_status == 6


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_an_object_store_out_of_reach_is_never_taken_for_an_empty_one(
    s3: Any, monkeypatch: pytest.MonkeyPatch, draft: Path, nobody: str, use: Callable[[FileStore, Path], object]
) -> None:
    FileStore("s3://acme/windsor").keep(draft, PATH)
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    type(s3).clear_instance_cache()
    with pytest.raises(StateUnavailable) as refused:
        use(FileStore("s3://acme/windsor"), draft)
    assert_said(refused, "EndpointConnectionError")
    assert s3.find("acme/windsor") == [f"acme/windsor/{PATH}"]


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_credentials_that_an_object_store_refuses_are_said_and_change_nothing(
    s3: Any, monkeypatch: pytest.MonkeyPatch, draft: Path, use: Callable[[FileStore, Path], object]
) -> None:
    store = FileStore("s3://acme/windsor")
    store.keep(draft, PATH)
    with monkeypatch.context() as refusing:
        refusing.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
        with pytest.raises(StateUnavailable) as refused:
            use(store, draft)
    assert_said(refused, "Permission denied")
    assert s3.find("acme/windsor") == [f"acme/windsor/{PATH}"]


def test_a_bucket_that_is_not_there_is_said_when_something_is_to_be_kept(s3: Any, draft: Path) -> None:
    store = FileStore("s3://no-such-bucket/windsor")
    assert not store.exists(PATH)
    with pytest.raises(StateUnavailable) as refused:
        store.keep(draft, PATH)
    assert_said(refused, os.strerror(2))


def test_a_file_where_a_folder_should_be_is_said_and_nothing_half_written_stays(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "files"))
    (tmp_path / "files" / "snapshots").write_text("no folder")
    with store.draft() as draft:
        draft.write_bytes(b"members")
        with pytest.raises(StateUnavailable) as refused:
            store.keep(draft, PATH)
    assert_said(refused, "Not a directory")
    assert [path.name for path in (tmp_path / "files").rglob("*") if path.is_file()] == ["snapshots"]
    assert not store.exists(PATH)


def test_without_a_folder_for_drafts_a_store_says_so(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "files"))
    (tmp_path / "files" / "drafts").rmdir()
    with pytest.raises(StateUnavailable) as refused, store.draft_folder():
        pass
    assert_said(refused, os.strerror(2))


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOSPC])
def test_a_disk_that_does_not_answer_when_a_store_is_opened_is_out_of_reach_and_no_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(StateUnavailable) as refused:
        FileStore(str(tmp_path / "files"))
    assert_said(refused, os.strerror(code))


def test_a_disk_that_fails_under_a_draft_is_out_of_reach_and_another_file_s_trouble_is_not_ours(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "files"))
    for beside in ("draft.parquet", "../windsor-sync-scratch-beside00/files"):
        with pytest.raises(StateUnavailable) as refused, store.draft_folder() as folder:
            raise OSError(errno.EIO, os.strerror(errno.EIO), os.path.normpath(folder / beside))
        assert_said(refused, os.strerror(errno.EIO))
    with pytest.raises(PermissionError), store.draft():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / "snapshots"))
    assert list((tmp_path / "files" / "drafts").iterdir()) == []


def test_a_file_that_goes_while_the_store_is_listed_is_left_out(
    tmp_path: Path, draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(str(tmp_path / "files"))
    store.keep(draft, PATH)
    listed = store._find

    def then_gone(root: str) -> list[str]:
        found = listed(root)
        store.delete(PATH)
        return found

    monkeypatch.setattr(store, "_find", then_gone)
    assert list(store.stored("snapshots")) == []


def test_a_store_whose_driver_finds_no_account_is_refused_when_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec
    from botocore.exceptions import NoCredentialsError  # type: ignore[import-untyped]

    def refuse(*_: Any, **__: Any) -> None:
        raise NoCredentialsError

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(ConfigError, match=r"`files` in windsor\.yaml cannot be used: NoCredentialsError\. Nothing"):
        FileStore("s3://acme/windsor")
