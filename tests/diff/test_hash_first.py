"""Joining hashes first finds the changes that joining the texts finds, whatever the hashes are worth."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from states import MEMBER, NOW, State, outbox_as_set, states, write_rows

from windsor_sync.diff import statement
from windsor_sync.diff.duckdb import KEY_HASH, define_views, duckdb_diff, narrow, tally, write
from windsor_sync.diff.task import DiffTask, Tally
from windsor_sync.domain.change import Limits
from windsor_sync.state.ledger import Head
from windsor_sync.storage.duckdb_engine import open_duckdb

HASHES = [KEY_HASH, "hash({}) % 4", "0::UBIGINT"]


def plain(task: DiffTask, draft: Path) -> Tally:
    """The diff by the full join of both snapshots."""
    with open_duckdb() as connection:
        define_views(connection, task)
        write(connection, statement.sendable(task.limits, statement.changes_sql()), draft)
        return tally(connection, str(draft))


def by_hash(task: DiffTask, draft: Path, key_hash: str) -> Tally:
    """The diff as it is made, with another hash of identities."""
    with open_duckdb() as connection:
        define_views(connection, task)
        narrow(connection, task, key_hash)
        write(connection, statement.sendable(task.limits, statement.changes_sql()), draft)
        return tally(connection, str(draft))


@settings(max_examples=10, deadline=None)
@given(state=states(), key_hash=st.sampled_from(HASHES))
def test_no_change_is_lost_or_invented_however_hashes_collide(state: State, key_hash: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = state.task(folder)
        expected = plain(task, folder / "plain.parquet")
        assert by_hash(task, folder / "hashed.parquet", key_hash) == expected
        assert outbox_as_set(str(folder / "hashed.parquet")) == outbox_as_set(str(folder / "plain.parquet"))


def two_snapshots(folder: Path, before: str, now: str) -> DiffTask:
    """An ordinary task between two snapshots given as SQL of (user_id, anonymous_id, email, value)."""
    for name, select in (("before", before), ("now", now)):
        with open_duckdb() as connection:
            connection.execute(
                f"COPY (SELECT *, NULL::VARCHAR AS profile_id FROM ({select})) TO '{folder / name}.parquet' (FORMAT parquet)"
            )
    head = Head("r1", 1, 1, str(folder / "before.parquet"), "", NOW, 1, None, (), True)
    return DiffTask(head=head, snapshot=str(folder / "now.parquet"), number=2, taken_at=NOW, moment=NOW)


MEMBERS = """
    SELECT i::VARCHAR AS user_id, NULL::VARCHAR AS anonymous_id, {} AS email, NULL::VARCHAR AS value FROM range({}, {}) t(i)
"""


@pytest.mark.parametrize("key_hash", HASHES[:2])
def test_a_large_audience_with_every_kind_of_change(tmp_path: Path, key_hash: str) -> None:
    rows = 3_000 if key_hash != KEY_HASH else 300_000
    task = two_snapshots(
        tmp_path,
        MEMBERS.format("'a@b'", 0, rows),
        MEMBERS.format("CASE WHEN i % 100 = 7 THEN 'new@b' ELSE 'a@b' END", rows // 100, rows + rows // 100),
    )
    found = by_hash(task, tmp_path / "draft.parquet", key_hash)
    updated = sum(number % 100 == 7 for number in range(rows // 100, rows))
    assert (found.entered, found.exited, found.updated) == (rows // 100, rows // 100, updated)


def test_users_and_anonymous_users_of_the_same_text_are_different_people(tmp_path: Path) -> None:
    member = "SELECT {} AS user_id, {} AS anonymous_id, NULL::VARCHAR AS email, NULL::VARCHAR AS value"
    task = two_snapshots(tmp_path, member.format("'1'", "NULL::VARCHAR"), member.format("NULL::VARCHAR", "'1'"))
    for key_hash in HASHES:
        assert by_hash(task, tmp_path / "draft.parquet", key_hash).changes == 2


def test_nothing_and_an_empty_text_are_different_e_mails(tmp_path: Path) -> None:
    task = two_snapshots(tmp_path, MEMBERS.format("NULL::VARCHAR", 0, 5), MEMBERS.format("''", 0, 5))
    assert duckdb_diff(task, tmp_path / "draft.parquet").updated == 5


def test_a_limit_lets_the_same_changes_through_each_time(tmp_path: Path) -> None:
    now = write_rows(
        tmp_path / "now.parquet",
        MEMBER,
        [(str(number), None, None, None, None) for number in range(2_000)],
    )
    task = DiffTask(head=None, snapshot=now, number=1, taken_at=NOW, moment=NOW, limits=Limits(count=700))
    found = [duckdb_diff(task, tmp_path / f"{number}.parquet") for number in range(3)]
    assert [(each.rows, each.later) for each in found] == [(2_000, 1_300)] * 3
    outboxes = [outbox_as_set(str(tmp_path / f"{number}.parquet")) for number in range(3)]
    assert outboxes[0] == outboxes[1] == outboxes[2]
