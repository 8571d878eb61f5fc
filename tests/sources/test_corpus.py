"""Whatever a customer's file is like, exactly the right members come of it, or a refusal that says why; nothing hangs."""

import json
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from corpus import BIG, CASES, Case, cases, named
from fsspec.implementations.local import LocalFileSystem
from sealing import Bench, highest_mb, read

from windsor_sync.errors import SnapshotError
from windsor_sync.sources import engage_csv, open_source

MOST_MEGABYTES = 1000


def check(case: Case, folder: Path) -> None:
    """Make the file and seal it."""
    (folder / "files").mkdir()
    path = case.make(folder / "files")
    options = dict(case.options)
    opening = {name: options.pop(name) for name in ("format", "columns", "value_of") if name in options}
    bench = Bench(folder)
    if case.says:
        with pytest.raises(SnapshotError) as caught:
            bench.seal(open_source(path, **opening), **options)
        check_refusal(case, str(caught.value))
        assert "another exception" not in "".join(traceback.format_exception(caught.value))  # engines quote the data
        return
    sealed = bench.seal(open_source(path, **opening), **options)
    left_out = {reason: count for reason, count in sealed.left_out.items() if count}
    assert (sealed.members, left_out) == (case.members, dict(case.left_out))
    assert sealed.rows_read == sealed.members + sum(left_out.values())
    if case.users is not None:
        assert sorted(row[0] or row[1] for row in read(sealed)) == sorted(case.users)
    for *_, value in read(sealed):
        assert value is None or json.dumps(json.loads(value), allow_nan=False)  # as it will be sent


def check_refusal(case: Case, message: str) -> None:
    for part in (*case.says, "Nothing was sent; the last good snapshot stands."):
        assert part in message
    remedy = message.partition("stands. ")[2]
    assert remedy.endswith(".")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_nasty_file_is_read_right_or_refused_with_the_reason(tmp_path: Path, case: Case) -> None:
    check(case, tmp_path)


@pytest.mark.forms(3)
@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", BIG, ids=str)
def test_no_big_file_takes_more_than_a_gigabyte_of_memory(tmp_path: Path, case: Case) -> None:
    alone = subprocess.run(
        [sys.executable, __file__, case.name, str(tmp_path)], check=False, capture_output=True, text=True, timeout=55
    )
    assert alone.returncode == 0, alone.stderr
    assert int(alone.stdout.split()[-1]) < MOST_MEGABYTES


def test_a_file_that_grows_between_two_looks_at_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "snapshot.csv"
    path.write_text("user_id,email\n" + "u,a@x\n" * 1000)
    split = engage_csv.split

    def grown(*arguments: Any) -> Any:
        with path.open("a") as file:
            file.write("late,b@x\n" * 1000)
        return split(*arguments)

    monkeypatch.setattr(engage_csv, "split", grown)
    with pytest.raises(SnapshotError, match=r"changed or removed while|cannot be split into rows"):
        Bench(tmp_path).seal(path)
    assert list((tmp_path / "sealed").iterdir()) == []


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "snapshot.csv"
    path.write_text("user_id\nu1\n")
    source = open_source(str(path))

    def forbidden(*_: Any, **__: Any) -> None:  # root, which tests may run as, may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LocalFileSystem, "_open", forbidden)
    with pytest.raises(SnapshotError, match=r"snapshot\.csv cannot be read \(Permission denied\)"):
        Bench(tmp_path).seal(source)


def test_the_corpus_is_large_and_every_case_has_a_name_of_its_own() -> None:
    names = [case.name for case in cases()]
    assert len(names) == len(set(names)) >= 60


if __name__ == "__main__":
    check(named(sys.argv[1]), Path(sys.argv[2]))
    print(highest_mb())
