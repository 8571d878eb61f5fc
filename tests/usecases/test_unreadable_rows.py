"""A row that cannot be read may be the row of a member: nobody is told false because of it."""

import csv
import io
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.world import FIRST_DAY, KEY, TRAIT_KEY, World
from windsor_sync.domain.guard import Ceiling
from windsor_sync.domain.run import RunState
from windsor_sync.snapshots.seal import MAX_PROTECTED, seal
from windsor_sync.sources import open_source
from windsor_sync.state import approvals
from windsor_sync.usecases.check import Level, examine

MEMBERS = [f"user-{number}" for number in range(40)]
WITHHELD = ("exited",)


@pytest.fixture
def tolerant(world: World) -> World:
    """A world that takes snapshots with many unreadable rows."""
    for entry in (*world.document["audiences"], *world.document["computed_traits"]):
        entry["snapshot"]["max_malformed_percent"] = 50
    return world


def newer(world: World, text: str, name: str, folder: str = "audience") -> Path:
    """A file that is newer than every other of the world."""
    path = world.folder / "snapshots" / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    moment = FIRST_DAY.timestamp() + 86_400 * (1 + len(list(path.parent.iterdir())))
    os.utime(path, (moment, moment))
    return path


def lines(*rows: str) -> str:
    return "".join(f"{row}\n" for row in rows)


def test_a_row_that_names_nobody_withholds_every_exit_and_the_run_says_where_it_is(tolerant: World) -> None:
    tolerant.snapshot(MEMBERS)
    tolerant.sync()
    rows = [f"{user},{user}@example.com" for user in MEMBERS]
    path = newer(tolerant, lines("user_id,email", *rows[:5], "user-5,a@example.com,one too many", *rows[6:-1]), "b.csv")
    run = tolerant.sync()
    assert (run.state, run.held, run.books.withheld) == (RunState.WITHHELD, WITHHELD, 2)
    assert run.sentence is not None
    assert run.sentence.startswith(f"{path} (Engage CSV): 1 of 39 rows cannot be read (3 instead of 2 cells; line 7)")
    assert tolerant.members_shown() == set(MEMBERS)


def test_entries_go_out_while_the_exits_wait(tolerant: World) -> None:
    tolerant.snapshot(["ana", "ben"])
    tolerant.sync()
    newer(
        tolerant, lines("user_id,email", "ana,ana@example.com,3", "cy,cy@example.com", "dee,dee@example.com"), "b.csv"
    )
    run = tolerant.sync()
    assert (run.state, run.books.delivered) == (RunState.WITHHELD, 2)
    assert tolerant.members_shown() == {"ana", "ben", "cy", "dee"}


def test_a_person_may_approve_the_exits_and_a_whole_snapshot_needs_nobody(tolerant: World) -> None:
    tolerant.snapshot(["ana", "ben", "cy"])
    tolerant.sync()
    newer(
        tolerant, lines("user_id,email", "ana,ana@example.com", "cy,cy@example.com,3", "ana,ana@example.com"), "b.csv"
    )
    run = tolerant.sync()
    approvals.approve(tolerant.workspace.database, run, Ceiling(max_exited=1), who="eve", why=None)
    assert tolerant.sync().state is RunState.WITHHELD  # two seem to have exited
    approvals.approve(tolerant.workspace.database, tolerant.sync(), Ceiling(max_exited=2), who="eve", why=None)
    assert tolerant.sync().state is RunState.DONE
    assert tolerant.members_shown() == {"ana"}
    newer(tolerant, lines("user_id,email", "ana,ana@example.com", "cy,cy@example.com"), "c.csv")
    assert tolerant.sync().state is RunState.DONE
    assert tolerant.members_shown() == {"ana", "cy"}


@pytest.mark.parametrize("level", ["audience", "defaults"])
def test_the_setting_tell_lets_the_exits_go_out_and_the_run_still_says_what_it_could_not_read(
    tolerant: World, level: str
) -> None:
    where = tolerant.document["audiences"][0] if level == "audience" else tolerant.document.setdefault("defaults", {})
    where["unreadable_rows"] = "tell"
    tolerant.snapshot(["ana", "ben"])
    tolerant.sync()
    newer(tolerant, lines("user_id,email", "ben,ben@example.com,3", "ana,ana@example.com"), "b.csv")
    run = tolerant.sync()
    assert (run.state, tolerant.members_shown()) == (RunState.DONE, {"ana"})
    assert run.sentence is not None
    assert "1 of 2 rows cannot be read (3 instead of 2 cells; line 2). Windsor was told 1 change." in run.sentence


def test_where_nobody_exits_nothing_is_withheld_and_the_run_says_what_it_could_not_read(tolerant: World) -> None:
    tolerant.snapshot(["ana", "ben"])
    tolerant.sync()
    newer(
        tolerant, lines("user_id,email", "cy,cy@example.com,3", "ana,ana@example.com", "ben,ben@example.com"), "b.csv"
    )
    run = tolerant.sync()
    assert (run.state, run.books.left_out["malformed"]) == (RunState.DONE, 1)
    assert run.sentence is not None
    assert "rows cannot be read" in run.sentence


def test_a_row_whose_id_is_readable_protects_that_user_alone(tolerant: World) -> None:
    tolerant.snapshot(dict.fromkeys(["ana", "ben", "cy"]))
    tolerant.sync()
    header, broken = "user_id,external_ids", '"{""email"": [""a@exa'
    newer(tolerant, lines(header, f'ana,{broken}"', "cy,{}"), "b.csv")
    run = tolerant.sync()
    assert (run.state, run.held) == (RunState.DONE, ())
    assert tolerant.members_shown() == {"ana", "cy"}
    assert (run.books.exited, run.books.delivered, run.books.withheld) == (2, 1, 1)
    assert run.sentence is not None
    assert "1 of 2 rows cannot be read (unreadable external_ids; line 2). 1 member with such a row" in run.sentence
    newer(tolerant, lines(header, "cy,{}"), "c.csv")  # now ana is known to have left
    assert tolerant.sync().books.delivered == 1
    assert tolerant.members_shown() == {"cy"}


def test_a_protected_user_who_comes_back_was_never_told_anything(tolerant: World) -> None:
    tolerant.snapshot({"ana": "ana@example.com", "ben": "ben@example.com"})
    tolerant.sync()
    newer(tolerant, lines("user_id,external_ids", 'ana,"{""email"": ["', "ben,{}"), "b.csv")
    tolerant.sync()
    sent = tolerant.sent
    newer(tolerant, lines("user_id,email", "ana,ana@example.com", "ben,ben@example.com"), "c.csv")
    tolerant.sync()
    assert "ana" not in [message.user_id for message in tolerant.windsor.store.accepted[sent:]]


def test_a_value_that_cannot_be_read_is_no_value_that_is_missing(tolerant: World) -> None:
    tolerant.document["computed_traits"][0] |= {"on_missing": None}
    tolerant.document["computed_traits"][0]["snapshot"] |= {"path": "snapshots/trait/*.jsonl"}
    newer(tolerant, lines('{"user_id":"ana","value":1}', '{"user_id":"ben","value":2}'), "a.jsonl", "trait")
    tolerant.sync(TRAIT_KEY)
    newer(tolerant, lines('{"user_id":"ana","value":1e999}', '{"user_id":"cy","value":3}'), "b.jsonl", "trait")
    run = tolerant.sync(TRAIT_KEY)
    assert run.state is RunState.DONE
    assert tolerant.shown(TRAIT_KEY) == {"ana": 1, "ben": None, "cy": 3}


def test_the_header_in_the_middle_of_a_file_is_nobody_s_row(tolerant: World) -> None:
    tolerant.snapshot(["ana", "ben"])
    tolerant.sync()
    newer(tolerant, lines("user_id,email", "ana,ana@example.com", "user_id,email", "cy,cy@example.com"), "b.csv")
    assert tolerant.sync().state is RunState.DONE
    assert tolerant.members_shown() == {"ana", "cy"}


def test_of_a_warehouse_s_row_the_id_is_known_though_its_value_is_not(
    tolerant: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tolerant.folder / "warehouse.db"
    monkeypatch.setenv("WINDSOR_CONNECTION_WAREHOUSE", f"sqlite:///{path}")
    tolerant.document["computed_traits"][0] |= {
        "on_missing": None,
        "snapshot": {"connection": "warehouse", "query": "SELECT * FROM revenue", "max_malformed_percent": 50},
    }

    def table(rows: list[tuple[str, Any]]) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DROP TABLE IF EXISTS revenue")
            connection.execute("CREATE TABLE revenue (user_id TEXT, value)")
            connection.executemany("INSERT INTO revenue VALUES (?, ?)", rows)

    table([("ana", 1), ("ben", 2)])
    tolerant.sync(TRAIT_KEY)
    table([("ana", b"\x00"), ("cy", 3)])
    run = tolerant.sync(TRAIT_KEY)
    assert run.books.left_out["malformed"] == 1
    assert tolerant.shown(TRAIT_KEY) == {"ana": 1, "ben": None, "cy": 3}


def test_more_users_than_can_be_kept_one_by_one_protect_everybody(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    broken = [{"user_id": f"user-{number}", "value": "{}"} for number in range(MAX_PROTECTED + 1)]
    text = lines(*(json.dumps(row).replace('"{}"', "1e999") for row in broken), '{"user_id":"ana","value":1}')
    path.write_text(text, encoding="utf-8")
    sealed = seal(open_source(str(path), value_of="value"), tmp_path / "s", wants_value=True, max_malformed_percent=100)
    assert sealed.unreadable is not None
    assert (sealed.unreadable.nameless, sealed.unreadable.protected) == (MAX_PROTECTED + 1, ())


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["whole", "torn", "wide", "gone"]), min_size=4, max_size=12))
def test_whatever_rows_are_torn_no_member_of_the_file_is_told_false(tolerant: World, fates: list[str]) -> None:
    members = [f"m{number}" for number in range(len(fates))]
    everyone = pd.DataFrame({"user_id": [*members, "last"], "email": "a@b"}).to_csv(index=False)
    newer(tolerant, everyone, f"{os.urandom(4).hex()}.csv")
    tolerant.sync()
    assert tolerant.members_shown() >= {*members, "last"}
    text = io.StringIO()
    rows = {"whole": ["a@b"], "torn": [], "wide": ["a@b", "c"]}
    csv.writer(text).writerows(
        [["user_id", "email"]]
        + [[user, *rows[fate]] for user, fate in zip(members, fates, strict=True) if fate in rows]
        + [["last", "a@b"]] * len(members)
    )
    newer(tolerant, text.getvalue(), f"{os.urandom(4).hex()}.csv")
    tolerant.sync()
    in_file = {user for user, fate in zip(members, fates, strict=True) if fate in rows}
    assert in_file <= tolerant.members_shown()
    if not {"torn", "wide"} & set(fates):
        assert tolerant.members_shown() & set(members) == in_file


def test_check_names_a_key_that_was_told_and_is_no_longer_configured(world: World) -> None:
    world.snapshot(["ana"])
    world.sync()
    assert not any(finding.level is Level.WARNING and KEY in finding.text for finding in examine(world.workspace))
    world.document["audiences"][0] |= {"name": "Buyers", "id": "aud_other"}
    world.reopen()
    [found] = [
        finding for finding in examine(world.workspace) if finding.level is Level.WARNING and KEY in finding.text
    ]
    assert f"trait: {KEY}" in found.text
    assert f"windsor-sync retire {KEY}" in found.text
