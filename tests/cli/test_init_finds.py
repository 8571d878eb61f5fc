"""`init` finds what lies beside windsor.yaml; what it writes is valid, and nothing is overwritten."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cli.test_command_line import Ran, run
from tests.support.world import World
from windsor_sync.settings import Settings, load
from windsor_sync.settings.template import TEMPLATE
from windsor_sync.usecases.init import discover as discovering
from windsor_sync.usecases.init.discover import Discovery, discover
from windsor_sync.usecases.init.render import left_notices, windsor_yaml
from windsor_sync.usecases.init.snapshots import FoundSnapshot, find_snapshots

MEMBERS = "user_id,email\nana,ana@example.com\nben,\n"
DAY = 1_700_006_400_000


def put(folder: Path, *names: str, text: str = MEMBERS) -> None:
    for age, name in enumerate(reversed(names)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        os.utime(path, (1_790_000_000 - age * 900,) * 2)  # too far apart for parts that do not count


@dataclass(frozen=True)
class Seen:
    """What `init` sees of a folder."""

    discovery: Discovery
    snapshots: list[FoundSnapshot]
    problems: list[str]


def look(folder: Path) -> Seen:
    discovery = discover(folder)
    return Seen(discovery, *find_snapshots(folder, discovery.files))


def written(folder: Path) -> Settings:
    """The settings of the file that `init` would write."""
    seen = look(folder)
    path = folder / "windsor.yaml"
    path.write_text(windsor_yaml(seen.discovery, seen.snapshots), encoding="utf-8")
    return load(path, env={})


def audiences(folder: Path) -> dict[str, str | None]:
    """Trait key → path, below the folder, of the audiences in what `init` would write."""
    found = {str(one.key): one.snapshot.path or "" for one in written(folder).audiences}
    return {key: path.removeprefix(f"{folder}/./") for key, path in found.items()}


def left(seen: Seen, subject: str) -> list[str]:
    notices = left_notices(seen.discovery, seen.snapshots, seen.problems)
    return [one.text for one in notices if one.subject == subject]


def test_in_an_empty_folder_the_template_is_written_and_what_is_left_is_said(tmp_path: Path) -> None:
    ran = run("init", cwd=tmp_path)
    assert (ran.status, (tmp_path / "windsor.yaml").read_text("utf-8")) == (0, TEMPLATE)
    assert "to do   audiences: no snapshot was found here" in ran.out
    assert "its key in WINDSOR_API_KEY" in ran.out
    assert "docs/sources/files.md" in ran.out
    assert "Put your audiences into it, then run: windsor-sync check" in ran.out


@pytest.mark.parametrize(
    ("names", "key", "path"),
    [
        (["snapshots/vip_customer/monday.csv", "snapshots/vip_customer/tuesday.csv"], "vip_customer", "{}/{}/*.csv"),
        (["Big Spender-2026-11-19.csv", "Big Spender-2026-11-20.csv"], "big_spender", "Big Spender*.csv"),
        (["20261119-vip.csv", "20261120-vip.csv"], "vip", "*vip.csv"),
        (["vip.csv", "vip (1).csv"], "vip", "vip*.csv"),
        (["exports/vip/part-0.csv", "exports/vip/part-1.csv"], "vip", "exports/vip/*.csv"),
        (["exports/vip-1-of-2.csv", "exports/vip-2-of-2.csv"], "vip", "exports/vip*.csv"),
        (["Order Completed Last 30days.csv"], "order_completed_last_30days", "Order Completed Last 30days.csv"),
    ],
)
def test_downloads_become_an_audience_under_the_key_their_name_makes(
    tmp_path: Path, names: list[str], key: str, path: str
) -> None:
    put(tmp_path, *names)
    assert audiences(tmp_path) == {key: path.format("snapshots", key)}


def test_a_date_in_every_name_says_when_a_snapshot_was_taken_whatever_a_copy_did_to_the_times(tmp_path: Path) -> None:
    put(tmp_path, "vip/2026-11-20.csv", "vip/2026-11-19.csv", "gold-20261120.csv", "gold-20261119.csv")
    put(tmp_path, "twice-20261119T0100.csv", "twice-20261119T0500.csv", "plain.csv")
    found = {str(one.key): one.snapshot.taken_at for one in written(tmp_path).audiences}
    assert found == {"vip": "%Y-%m-%d", "gold": "%Y%m%d", "plain": None, "twice": None}
    newest = {str(one.key): one.taken_at.day for one in look(tmp_path).snapshots}
    assert (newest["vip"], newest["gold"]) == (20, 20)


def test_a_pattern_never_takes_in_the_files_of_another_audience(tmp_path: Path) -> None:
    put(tmp_path, "vip-2026-11-19.csv", "vip-2026-11-20.csv", "vip_gold-2026-11-20.csv")
    assert audiences(tmp_path) == {"vip": "vip?[0-9]*.csv", "vip_gold": "vip_gold*.csv"}
    put(tmp_path, "vip-2026-gold.csv")
    assert audiences(tmp_path)["vip"] == "vip-2026-11-20.csv"
    put(tmp_path, "gold/2026-11-19.csv", "gold/2026-11-20.csv", "gold/silver.csv")
    assert audiences(tmp_path)["gold"] == "gold/[0-9]*.csv"


def test_parquet_json_lines_and_packed_files_are_told_apart(tmp_path: Path) -> None:
    import gzip

    import duckdb

    duckdb.execute("COPY (SELECT 'ana' AS user_id) TO $1 (FORMAT parquet)", [str(tmp_path / "churned.parquet")])
    put(tmp_path, "dormant.jsonl", text='{"user_id": "ana"}\n')
    (tmp_path / "vip.csv.gz").write_bytes(gzip.compress(MEMBERS.encode()))
    found = {str(one.key): str(one.snapshot.format) for one in written(tmp_path).audiences}
    assert found == {"churned": "parquet", "dormant": "jsonl", "vip": "engage_csv"}


def test_values_make_a_computed_trait_and_true_or_false_an_audience(tmp_path: Path) -> None:
    put(tmp_path, "total_revenue.csv", text="user_id,value\nana,12.5\n")
    put(tmp_path, "plan.csv", text="user_id,plan\nana,gold\n")
    put(tmp_path, "vip.csv", text="user_id,vip\nana,true\n")
    put(tmp_path, "dormant.csv", text="user_id,dormant\nana,true\nben,false\n")
    found = written(tmp_path)
    assert [str(one.key) for one in found.computed_traits] == ["plan", "total_revenue"]
    assert [str(one.key) for one in found.audiences] == ["dormant", "vip"]


def test_a_flag_that_may_mean_anything_is_named_as_a_sync_would_name_it(tmp_path: Path) -> None:
    put(tmp_path, "dormant.csv", text="user_id,consent\nana,true\nben,false\n")
    assert any("the column consent says true or false" in text for text in left(look(tmp_path), "not used"))


def test_a_file_without_user_ids_is_identified_by_anonymous_id(tmp_path: Path) -> None:
    put(tmp_path, "visitors.csv", text="anonymous_id,email\nanon-1,\n")
    (audience,) = written(tmp_path).audiences
    assert audience.identify_by.value == "anonymous_id"


def test_only_the_beginning_of_a_large_file_is_read_and_a_cell_of_several_lines_is_not_torn(tmp_path: Path) -> None:
    row = 'ana{},"a note\nof several\nlines"\n'
    put(tmp_path, "vip.csv", text="user_id,note\n" + "".join(row.format(number) for number in range(60_000)))
    assert audiences(tmp_path) == {"vip": "vip.csv"}


def test_what_is_no_snapshot_is_named_with_the_reason_and_left_out(tmp_path: Path) -> None:
    put(tmp_path, "products.csv", text="sku,price\n1,2\n")
    put(tmp_path, "orders.csv", text="user_id,total\n" + "ana,1\n" * 50)
    put(tmp_path, "email.csv")  # a reserved key
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\x00\x00")
    (tmp_path / "gone.csv").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.csv")
    seen = look(tmp_path)
    assert seen.snapshots == []
    assert sorted(text.partition(".csv")[0] for text in left(seen, "not used")) == [
        "email",
        "orders",
        "picture",
        "products",
    ]
    assert str(tmp_path) not in json.dumps(left(seen, "not used"))


def test_two_groups_of_files_under_one_trait_key_leave_one(tmp_path: Path) -> None:
    put(tmp_path, "Big Spender.csv", "exports/big_spender.csv")
    assert audiences(tmp_path) == {"big_spender": "Big Spender.csv"}
    assert left(look(tmp_path), "not used") == ["exports/big_spender.csv: is called as Big Spender.csv is: rename one"]


def test_files_that_say_of_no_audience_are_named_and_a_folder_of_one_day_is_not_looked_into(tmp_path: Path) -> None:
    put(tmp_path, "snapshots/monday.csv", "exports/dt=2026-11-19/vip.csv")
    seen = look(tmp_path)
    assert seen.snapshots == []
    assert left(seen, "not used") == ["snapshots/*.csv: neither the file nor its folder is named after an audience"]
    assert [text.partition(",")[0] for text in left(seen, "not looked at")] == ["1 folder"]


def test_hostile_names_reach_neither_the_file_nor_the_terminal(tmp_path: Path) -> None:
    for name in ("a\nb.csv", "\x1b[31mred.csv", "x[1].csv", "star*.csv", "s3:::x::y.csv", os.fsdecode(b"\xff\xfe.csv")):
        (tmp_path / name).write_text(MEMBERS)
    put(tmp_path, "- name: 'x' #.csv", "{a}: &b !!c.csv", "NO.csv", "null.csv")
    ran = run("init", cwd=tmp_path)
    assert ran.status == 0
    assert "\x1b" not in ran.out
    found = load(tmp_path / "windsor.yaml", env={}).audiences
    assert sorted(one.name for one in found) == ["NO", "name: 'x' #", "null", "{a}: &b !!c"]


@given(name=st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_is_called_the_written_file_is_valid(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "any"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        (folder / f"{name}.csv").write_text(MEMBERS)
    except OSError:
        return  # no name on this file system
    found = written(folder)
    assert len(found.audiences) == 1
    assert found.audiences[0].name.isprintable()


def test_thousands_of_files_are_looked_at_in_bounds(tmp_path: Path) -> None:
    for number in range(2_000):
        (tmp_path / f"audience {chr(97 + number % 26)}{number}x.csv").touch()
    seen = look(tmp_path)
    *unread, others = left(seen, "not used")
    assert (len(seen.snapshots), len(unread)) == (0, 50)
    assert others == "files with 1,950 more names: only 50 are opened"


def test_a_folder_is_listed_once_however_many_kinds_of_files_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, *(f"audience {chr(97 + number)}x.csv" for number in range(20)))
    listed: list[str] = []
    ls = LocalFileSystem.ls
    monkeypatch.setattr(LocalFileSystem, "ls", lambda fs, path, **how: listed.append(str(path)) or ls(fs, path, **how))
    assert len(look(tmp_path).snapshots) == 20
    assert listed.count(str(tmp_path)) == 1


def test_more_folders_than_a_person_would_wait_for_are_said_not_to_be_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovering, "MAX_FOLDERS", 3)
    put(tmp_path, "vip.csv", *(f"below/{number}/of/gold.csv" for number in range(10)))
    seen = look(tmp_path)
    assert [str(one.key) for one in seen.snapshots] == ["vip"]
    assert [text.partition(",")[0] for text in left(seen, "not looked at")] == ["10 folders"]


def test_a_folder_below_the_levels_that_are_looked_at_is_said(tmp_path: Path) -> None:
    put(tmp_path, "a/b/c/d/vip.csv", "a/b/c/d/e/gold.csv")
    seen = look(tmp_path)
    assert [one.pattern for one in seen.snapshots] == ["a/b/c/d/vip.csv"]
    assert [text.partition(",")[0] for text in left(seen, "not looked at")] == ["1 folder"]


def test_what_windsor_sync_itself_stores_is_never_taken_for_a_source(world: World) -> None:
    world.document["files"] = "files"
    world.snapshot(["ana"])
    world.sync()
    assert {path.name for path in (world.folder / "files").iterdir()} >= {"snapshots", "outboxes"}
    assert [one.pattern for one in look(world.folder).snapshots] == []  # a folder called audience says nothing either
    put(world.folder, "exports/vip/1f0c2f354ec40a90184d02092c1a3de1.csv")
    assert [one.pattern for one in look(world.folder).snapshots] == ["exports/vip/*.csv"]


def test_hidden_folders_environments_and_links_to_folders_are_not_looked_into(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "vip.csv")
    folder = tmp_path / "here"
    put(folder, ".windsor/files/vip.csv", "env/pyvenv.cfg", "env/lib/vip.csv")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    assert look(folder).snapshots == []


def test_the_archive_of_events_is_found_and_its_files_are_no_snapshots(tmp_path: Path) -> None:
    put(tmp_path, f"acme/segment-logs/source-1/{DAY}/1.gz", f"acme/segment-logs/source-1/{DAY}/2.jsonl")
    found = written(tmp_path)
    assert found.events is not None
    assert found.events.archive.rstrip("/") == str(tmp_path / "acme/segment-logs")
    assert look(tmp_path).problems == []
    assert len(left(look(tmp_path), "events.since")) == 1


def test_a_second_run_changes_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    put(tmp_path, "vip.csv")
    run("init", cwd=tmp_path)
    before = (tmp_path / "windsor.yaml").read_bytes()
    put(tmp_path, "dormant.csv")
    again = run("init", cwd=tmp_path)
    assert (again.status, (tmp_path / "windsor.yaml").read_bytes()) == (2, before)
    assert "windsor-sync check" in again.err
    assert "--config new.yaml init" in again.err


def test_what_is_written_passes_check_as_far_as_the_folder_goes_and_keeps_every_comment(tmp_path: Path) -> None:
    put(tmp_path, "vip/monday.csv")
    put(tmp_path, "revenue.csv", text="user_id,value\nana,1\n")
    for name in ("vip/monday.csv", "revenue.csv"):
        os.utime(tmp_path / name)  # of today, so that none is stale
    shown: Any = run("init", "--json", cwd=tmp_path).json
    assert {one["subject"] for one in shown["found"]} >= {"computed trait revenue", "audience vip"}
    text = (tmp_path / "windsor.yaml").read_text("utf-8")
    comments = [line.partition("# ")[2] for line in TEMPLATE.splitlines() if "#" in line]
    assert [
        one for one in comments if one not in text and "order_completed" not in one and "computed_traits" not in one
    ] == []
    findings = {one["subject"]: one["level"] for one in checked(tmp_path).json}
    assert {findings[subject] for subject in ("configuration", "state", "files", "vip", "revenue")} == {"ok"}


def checked(folder: Path) -> Ran:
    return run("check", "--json", cwd=folder, HOME=str(folder), WINDSOR_API_KEY="sandbox")
