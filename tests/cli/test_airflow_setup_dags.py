"""`airflow-setup --dags` puts the DAG files where Airflow looks for them."""

import re
import resource
import signal
from hashlib import sha256
from pathlib import Path

import pytest

from tests.cli.test_command_line import run
from windsor_sync.airflow import dag_files
from windsor_sync.airflow.dag_files import MARK, write_dags
from windsor_sync.errors import ConfigError

SHIPPED = {path.name: path.read_bytes() for path in (Path(__file__).parents[2] / "dags").glob("*.py")}
SYNC = "engage_audience_sync.py"


def shown(target: Path) -> dict[str, bytes]:
    """What Airflow reads there, without the line that says whose it is."""
    return {path.name: path.read_bytes().partition(MARK)[0] for path in target.glob("*.py")}


def write(target: Path) -> list[str]:
    return [one.what.split(",")[0] for one in write_dags(target)]


def test_the_command_writes_the_dag_files_and_says_what_differs_from_one_that_a_person_changed(tmp_path: Path) -> None:
    target = tmp_path / "dags"
    first = run("airflow-setup", "--dags", str(target), cwd=tmp_path)
    assert (first.status, first.out.count(": written")) == (0, len(SHIPPED))
    theirs = (target / SYNC).read_text().replace("catchup=False", "catchup=True")
    (target / SYNC).write_text(theirs)
    again = run("airflow-setup", "--dags", str(target), cwd=tmp_path)
    assert (again.status, again.out.count(": unchanged")) == (0, len(SHIPPED) - 1)
    assert f"{SYNC}: changed by somebody, so it stays" in again.out
    assert re.search(r"  - +catchup=True,", again.out)
    assert re.search(r"  \+ +catchup=False,", again.out)
    assert (target / SYNC).read_text() == theirs
    assert (target / f"{SYNC}.new").read_bytes().startswith(SHIPPED[SYNC])


def test_files_that_nobody_changed_are_replaced_by_a_later_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = tmp_path / "later"
    later.mkdir()
    for name, content in SHIPPED.items():
        (later / name).write_bytes(content + b"# a later version\n")
    target = tmp_path / "dags"
    assert set(write(target)) == {"written"}
    (target / "theirs.py").write_text("# a DAG of their own\n")
    windows = (target / SYNC).read_bytes().replace(b"\n", b"\r\n")
    (target / SYNC).write_bytes(windows)
    assert set(write(target)) == {"unchanged"}
    monkeypatch.setattr(dag_files, "dags_folder", lambda: later)
    assert set(write(target)) == {"replaced"}
    assert shown(target) == {path.name: path.read_bytes() for path in later.glob("*.py")} | {
        "theirs.py": b"# a DAG of their own\n"
    }
    assert list(target.glob("*.new")) == []


def test_a_file_of_before_there_was_such_a_line_is_known_by_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = b"# of an earlier version\n"
    (tmp_path / SYNC).write_bytes(old)
    assert "changed by somebody" in write(tmp_path)
    monkeypatch.setattr(dag_files, "OF_BEFORE", frozenset({sha256(old).hexdigest()}))
    assert "replaced" in write(tmp_path)


def test_what_a_person_adds_below_or_above_the_line_is_a_change(tmp_path: Path) -> None:
    write(tmp_path)
    content = (tmp_path / SYNC).read_bytes()
    for changed in (content + b"print('mine')\n", b"# mine\n" + content):
        (tmp_path / SYNC).write_bytes(changed)
        assert "changed by somebody" in write(tmp_path)
        assert (tmp_path / SYNC).read_bytes() == changed


def test_a_write_that_fails_leaves_the_file_of_before_and_a_link_stays_a_link(tmp_path: Path) -> None:
    target, shared = tmp_path / "dags", tmp_path / "shared.py"
    write(target)
    old = b"# of an earlier version\n"
    shared.write_bytes(old + MARK + sha256(old).hexdigest().encode() + b"\n")
    shared.chmod(0o664)
    (target / SYNC).unlink()
    (target / SYNC).symlink_to(shared)
    before = shared.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # as a full disk
        with pytest.raises(ConfigError, match="cannot be written"):
            write(target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert shared.read_bytes() == before
    assert "replaced" in write(target)
    assert ((target / SYNC).is_symlink(), shared.stat().st_mode & 0o777) == (True, 0o664)
    assert shared.read_bytes().startswith(SHIPPED[SYNC])
    assert {path.suffix for path in (*target.iterdir(), *tmp_path.glob("*.*"))} == {".py"}


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = run("airflow-setup", "--dags", str(tmp_path / "file" / "dags"), cwd=tmp_path)
    assert (ran.status, "Name a folder in which this user may write" in ran.err) == (2, True)
