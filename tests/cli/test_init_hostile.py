"""`init` in folders that are closed, huge, circular or named by somebody who means harm: nothing is lost, nothing leaks."""

import codecs
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.cli.test_command_line import run
from tests.cli.test_init_finds import DAY, MEMBERS, audiences, left, look, put, written
from windsor_sync.cli import main
from windsor_sync.settings import load
from windsor_sync.usecases.init import discover as discovering


@contextmanager
def somebody_else() -> Iterator[None]:
    """Act without root's power to look anywhere; anybody else has none of it to lose."""
    codecs.lookup("utf-8-sig")  # what Python loads when it is first needed, nobody else may be let read
    before = os.geteuid()
    if before == 0:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_closed_folder_hides_none_of_its_neighbours() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        put(folder, "vip.csv", "private/secret.csv", "closed.csv", "dormant.csv", "later/gold.csv")
        for closed in ("private", "closed.csv"):
            (folder / closed).chmod(0)
        (folder / "link.csv").symlink_to(folder / "private" / "secret.csv")
        with somebody_else():
            seen = look(folder)
        (folder / "private").chmod(0o755)
    assert {one.key for one in seen.snapshots} == {"vip", "dormant", "gold"}
    assert [text.partition(",")[0] for text in left(seen, "not looked at")] == ["1 folder"]
    assert left(seen, "not used") == ["closed.csv: the newest file cannot be read (PermissionError)"]


def test_a_link_that_leads_round_in_a_circle_hides_none_of_its_neighbours(tmp_path: Path) -> None:
    for name in ("0.csv", "round.csv", "z.csv"):
        (tmp_path / name).symlink_to(name)
    put(tmp_path, "vip.csv", "dormant.csv", "below/gold.csv")
    assert set(audiences(tmp_path)) == {"vip", "dormant", "gold"}


@pytest.mark.parametrize("command", ["init", "check"])
def test_a_user_without_a_home_can_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(_number: int) -> pwd.struct_passwd:
        raise KeyError

    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name == "HOME" or name.startswith(("AIRFLOW", "WINDSOR"))]:
        monkeypatch.delenv(name)  # tests before this one may have set an Airflow up in this process
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    if command == "check":
        put(tmp_path, "windsor.yaml", text="destination: {url: 'http://127.0.0.1:9/'}\n")
    with pytest.raises(SystemExit) as end:
        main([command])
    assert end.value.code == {"init": 0, "check": 2}[command]
    assert ("Wrote windsor.yaml" if command == "init" else "Airflow: none") in capsys.readouterr().out


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\x1b[31mb", b"a::b", b"ana@example.com"])
def test_an_archive_that_cannot_be_named_is_said_and_left_out(tmp_path: Path, name: bytes) -> None:
    put(tmp_path, f"{os.fsdecode(name)}/segment-logs/source-1/{DAY}/1.gz", "vip.csv")
    ran = run("init", cwd=tmp_path)
    assert (ran.status, "\x1b" in ran.out, "ana@" in ran.out) == (0, False, False)
    assert "1 name with one of @ * ? [ ] :: or an invisible sign: rename" in ran.out
    found = load(tmp_path / "windsor.yaml", env={})
    assert ([str(one.key) for one in found.audiences], found.events) == (["vip"], None)


def test_an_address_in_a_name_reaches_neither_the_file_nor_the_terminal(tmp_path: Path) -> None:
    put(
        tmp_path,
        "ana@example.com.csv",
        "exports/ben@example.org-2026-11-20.csv",
        "cy@example.net/data.csv",
        "vip.csv",
    )
    put(tmp_path, "vip/1/x[dee@example.com].csv")
    ran = run("init", cwd=tmp_path)
    assert ran.status == 0
    assert "4 names with one of @" in ran.out
    both = ran.out + (tmp_path / "windsor.yaml").read_text("utf-8")
    assert not any(address in both for address in ("ana@", "ben@", "cy@", "dee@"))
    assert [one.name for one in load(tmp_path / "windsor.yaml", env={}).audiences] == ["vip"]


def test_a_column_that_is_named_to_harm_a_terminal_does_not(tmp_path: Path) -> None:
    put(tmp_path, "products.csv", text="email,\x1b[31mred\nana@example.com,2\n")
    (refusal,) = left(look(tmp_path), "not used")
    assert "the columns email and 1 that do not look like names" in refusal
    assert "\x1b" not in refusal


def test_a_folder_that_is_too_large_is_said_and_hides_none_of_its_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovering, "MAX_IN_FOLDER", 20)
    put(tmp_path, *(f"exports/a{number}.csv" for number in range(50)), "snapshots/vip/1.csv", "archive/gold.csv")
    seen = look(tmp_path)
    assert {one.key for one in seen.snapshots} == {"vip", "gold"}
    assert [text.partition(",")[0] for text in left(seen, "not looked at")] == ["1 folder"]


def test_a_pattern_takes_in_no_file_that_only_windsor_yaml_cannot_name(tmp_path: Path) -> None:
    put(tmp_path, "vip-2026-11-19.csv", "vip-2026-11-20.csv", "vip [gold].csv")
    assert audiences(tmp_path) == {"vip": "vip?[0-9]*.csv"}


def test_rows_without_anybody_are_no_snapshot(tmp_path: Path) -> None:
    put(tmp_path, "vip.csv", text="user_id,email\n,\n,\n")
    assert left(look(tmp_path), "not used") == ["vip.csv: 2 rows name 0 users, so it is no snapshot"]


def test_a_long_file_in_utf_16_is_read_like_any_other(tmp_path: Path) -> None:
    rows = "".join(f"ana{number},Ċ Ġ {number}\n" for number in range(60_000))
    for encoding in ("utf-16-le", "utf-16-be"):
        (tmp_path / f"{encoding}.csv").write_bytes(f"\ufeffuser_id,note\n{rows}".encode(encoding))
    assert set(audiences(tmp_path)) == {"utf_16_le", "utf_16_be"}


def test_names_that_differ_in_capitals_alone_leave_one(tmp_path: Path) -> None:
    put(tmp_path, "Straße.csv", "STRASSE.csv", "VipGold.csv", "vipgold.csv")
    assert [one.name for one in written(tmp_path).audiences] == ["STRASSE", "VipGold"]


def test_on_a_full_disk_no_half_file_is_left(tmp_path: Path) -> None:
    shell = 'ulimit -f 1; exec "$0" -m windsor_sync.cli init'
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WINDSOR", "AIRFLOW"))}
    command = ["sh", "-c", shell, sys.executable]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=kept)
    assert done.returncode == 2
    assert "windsor.yaml cannot be written" in done.stderr
    assert not (tmp_path / "windsor.yaml").exists()


def test_the_next_step_can_be_copied_whatever_the_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "our settings"
    put(folder, "vip.csv", text=MEMBERS)
    assert f"windsor-sync --config '{folder}/w.yaml' check" in run("--config", f"{folder}/w.yaml", "init").out
