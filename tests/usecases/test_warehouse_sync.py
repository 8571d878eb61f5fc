"""An audience in a warehouse is synced as one in files is: an unchanged one sends nothing, and a merge is no exit."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from tests.support.world import AUDIENCE, KEY, World
from windsor_sync.domain.change import Limits, Retry
from windsor_sync.errors import SnapshotError
from windsor_sync.sandbox import Faults
from windsor_sync.usecases.check import Level, examine
from windsor_sync.usecases.request import Request

TABLES = f"""
    CREATE TABLE profile_traits (canonical_segment_id TEXT, {KEY} BOOLEAN, merged_to TEXT);
    CREATE TABLE user_identifiers (canonical_segment_id TEXT, type TEXT, value TEXT, seq INTEGER);
    CREATE TABLE profile_merges (segment_id TEXT, canonical_segment_id TEXT);
    INSERT INTO profile_traits VALUES ('p1', 1, NULL), ('p2', 1, NULL), ('p3', 1, NULL);
    INSERT INTO user_identifiers VALUES ('p1', 'user_id', 'ana', 1), ('p1', 'email', 'ana@x', 2);
    INSERT INTO user_identifiers VALUES ('p2', 'user_id', 'ben', 3), ('p3', 'user_id', 'cy', 4);
"""


class Warehouse:
    """Tables of Profiles Sync in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run(TABLES)

    def run(self, script: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(script)


@pytest.fixture
def warehouse(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    found = Warehouse(world.folder / "warehouse.db")
    monkeypatch.setenv("WINDSOR_CONNECTION_WAREHOUSE", f"sqlite:///{found.path}")
    snapshot = {"connection": "warehouse", "profiles_sync": "main"}
    world.document["audiences"] = [{"name": AUDIENCE, "snapshot": snapshot}]
    return found


def test_members_become_true_and_those_who_left_false(world: World, warehouse: Warehouse) -> None:
    world.sync()
    assert world.shown() == {"ana": True, "ben": True, "cy": True}
    warehouse.run(f"UPDATE profile_traits SET {KEY} = 0 WHERE canonical_segment_id = 'p2'")
    world.sync()
    assert world.shown() == {"ana": True, "ben": False, "cy": True}
    assert world.sent == 4


def test_an_unchanged_audience_sends_nothing(world: World, warehouse: Warehouse) -> None:
    world.sync()
    warehouse.run("CREATE TABLE other AS SELECT * FROM profile_traits ORDER BY canonical_segment_id DESC;"
                  "DELETE FROM profile_traits; INSERT INTO profile_traits SELECT * FROM other")  # fmt: skip
    run = world.sync()
    assert (run.books.changes, world.sent) == (0, 3)


def test_a_merge_is_no_exit_in_any_of_its_states(world: World, warehouse: Warehouse) -> None:
    world.sync()
    for step in (
        "UPDATE user_identifiers SET canonical_segment_id = 'p2' WHERE canonical_segment_id = 'p1'",
        "UPDATE profile_traits SET merged_to = '' WHERE canonical_segment_id = 'p2'",
        "UPDATE profile_traits SET merged_to = 'p2' WHERE canonical_segment_id = 'p1'",
        "DELETE FROM profile_traits WHERE canonical_segment_id = 'p1'",
    ):
        warehouse.run("DELETE FROM profile_merges; INSERT INTO profile_merges VALUES ('p1', 'p2')")
        warehouse.run(step)
        world.sync()
        assert world.members_shown() == {"ana", "ben", "cy"}, step
        assert world.sent == 4, step  # the fourth: ben is of ana's profile now and has its e-mail


def test_a_warehouse_in_trouble_changes_nothing(world: World, warehouse: Warehouse) -> None:
    world.sync()
    warehouse.run(f"ALTER TABLE profile_traits DROP COLUMN {KEY}")
    with pytest.raises(SnapshotError, match=r"no column .* Nothing was sent; the last good snapshot stands"):
        world.sync()
    assert (world.members_shown(), world.sent) == ({"ana", "ben", "cy"}, 3)


def test_a_file_named_by_hand_stands_in_for_the_warehouse(world: World, warehouse: Warehouse) -> None:
    from windsor_sync.usecases.request import Request

    path = world.snapshot(["ana"])
    assert yaml.safe_load(world.config.read_text())["audiences"][0]["snapshot"]["connection"] == "warehouse"
    world.sync(request=Request(snapshot_path=str(path)))
    assert world.members_shown() == {"ana"}


def test_the_check_names_the_warehouse(world: World, warehouse: Warehouse) -> None:
    (finding,) = [finding for finding in examine(world.workspace) if finding.subject == AUDIENCE]
    assert finding.level is Level.OK
    assert "from main (Profiles Sync) at connection warehouse" in finding.text


@pytest.mark.parametrize("found", ["ana", "ben"])
@pytest.mark.parametrize("has_windsor_merged", [False, True])
def test_the_other_id_of_a_merged_profile_is_told_false_before_the_one_that_is_found(
    world: World, warehouse: Warehouse, found: str, has_windsor_merged: bool
) -> None:
    world.sync()
    gone = {"ana": "ben", "ben": "ana"}[found]
    if has_windsor_merged:  # by a message that is not ours
        alias = {"type": "alias", "previousId": gone, "userId": found, "messageId": "not-ours"}
        world.windsor.store.apply(alias, 0)
    warehouse.run(f"""
        INSERT INTO profile_merges VALUES ('p1', 'p2'), ('p2', 'p2'), ('p3', 'p3');
        UPDATE user_identifiers SET canonical_segment_id = 'p2' WHERE canonical_segment_id = 'p1';
        DELETE FROM user_identifiers WHERE value = '{gone}';
        UPDATE profile_traits SET merged_to = 'p2' WHERE canonical_segment_id = 'p1'
    """)
    sent = world.sent
    run = world.sync()
    assert (run.books.moved, run.books.moved_from, run.books.exited) == (1, 1, 0)
    assert [message.user_id for message in world.windsor.store.accepted[sent:]] == [gone, found]
    assert (world.shown()[found], world.shown().get(gone)) == (True, None if has_windsor_merged else False)
    assert world.sync().books.changes == 0


def test_a_merged_profile_s_other_id_is_known_again_when_its_false_was_refused(
    world: World, warehouse: Warehouse
) -> None:
    world.sync()
    world.windsor.store.apply({"type": "alias", "previousId": "ana", "userId": "ben", "messageId": "not-ours"}, 0)
    warehouse.run("""
        INSERT INTO profile_merges VALUES ('p1', 'p2'), ('p2', 'p2'), ('p3', 'p3');
        UPDATE user_identifiers SET canonical_segment_id = 'p2' WHERE canonical_segment_id = 'p1';
        DELETE FROM user_identifiers WHERE value = 'ana';
        UPDATE profile_traits SET merged_to = 'p2' WHERE canonical_segment_id = 'p1'
    """)
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ana"})))
    assert world.sync().books.rejected == 1
    world.windsor.set_faults(Faults())
    run = world.sync(request=Request(limits=Limits(retry=Retry())))
    assert (run.books.moved, run.books.moved_from, run.books.exited) == (1, 1, 0)
    assert world.shown()["ben"] is True
    assert world.sync().books.changes == 0
