"""What is sealed: one row a user, the books in balance, known by its content, written whole or not at all."""

import hashlib
import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing import Bench, read

from windsor_sync.domain.suppression import Suppressed, SuppressionHash
from windsor_sync.snapshots import seal as snapshot
from windsor_sync.snapshots.seal import COLUMNS, LeftOut
from windsor_sync.sources import DataFrameSource

SALT = "installation"
texts = st.sampled_from(["u1", "u2", "u3", "NA", "", " u1", "00"])
mails = st.lists(st.sampled_from(["a@x", "b@x", "c@x", "", " a@x "]), max_size=3)
rows = st.lists(st.tuples(st.none() | texts, st.none() | texts, mails, st.none() | st.integers(0, 3)), max_size=25)
choices = st.fixed_dictionaries(
    {
        "identify_by": st.sampled_from(["user_id", "anonymous_id"]),
        "emails": st.sampled_from(["first", "last", "all"]),
        "wants_value": st.booleans(),
        "suppressed": st.lists(st.sampled_from(["u1", "NA"]), unique=True),
    }
)
Row = tuple[str | None, str | None, list[str], int | None]


def suppressed_as(*user_ids: str) -> Suppressed:
    hashing = SuppressionHash(SALT, b"a key of the installation's own, 42")
    return Suppressed(frozenset(map(hashing.of, user_ids)), hashing)


def frame(rows: list[Row]) -> DataFrameSource:
    columns = zip(*rows, strict=True) if rows else ([], [], [], [])
    names = ("user_id", "anonymous_id", "email", "value")
    series = {name: pd.Series(list(column), dtype=object) for name, column in zip(names, columns, strict=True)}
    return DataFrameSource(pd.DataFrame(series), value_of="value")


def expected(
    rows: list[Row], identify_by: str, emails: str, wants_value: bool, suppressed: list[str]
) -> tuple[list[tuple[Any, ...]], dict[str, int]]:
    """What sealing should make of the rows, told slowly."""
    left_out = dict.fromkeys(map(str, LeftOut), 0)
    users: dict[tuple[str | None, str | None], tuple[list[str], int | None]] = {}
    visitors: defaultdict[tuple[str | None, str | None], set[str]] = defaultdict(set)
    for user_id, anonymous_id, row_emails, value in rows:
        identity = (user_id or None, None if user_id or identify_by == "user_id" else anonymous_id or None)
        if identity == (None, None):
            left_out["missing_user_id"] += 1
        elif (identity[0] or identity[1]) in suppressed:
            left_out["suppressed"] += 1
        elif wants_value and value is None:
            left_out["missing_value"] += 1
        else:
            left_out["duplicate"] += identity in users
            seen = users.get(identity, ([], None))[0]
            new = dict.fromkeys(email.strip() for email in row_emails if email.strip())
            users[identity] = ([*dict.fromkeys([*seen, *new])], value)
            if anonymous_id and identify_by == "anonymous_id" and anonymous_id not in suppressed:
                visitors[identity].add(anonymous_id)
    members = []
    for identity, (found, value) in users.items():
        email = {"first": found[:1], "last": found[-1:], "all": found}[emails]
        anonymous_ids = "\n".join(sorted(visitors[identity])) or None
        members.append(
            (identity[0], anonymous_ids, "\n".join(email) or None, json.dumps(value) if wants_value else None)
        )
    return sorted(members, key=repr), left_out


@settings(max_examples=25, deadline=None)
@given(rows=rows, choices=choices)
def test_sealing_agrees_with_a_slow_account_of_its_rules_and_its_books_balance(
    shared_bench: Bench, rows: list[Row], choices: dict[str, Any]
) -> None:
    suppressed = suppressed_as(*choices["suppressed"])
    sealed = shared_bench.seal(frame(rows), **choices | {"suppressed": suppressed, "salt": SALT})
    members, left_out = expected(rows, **choices)
    assert read(sealed) == members
    assert dict(sealed.left_out) == left_out
    assert sealed.rows_read == len(rows) == sealed.members + sum(sealed.left_out.values())


@settings(max_examples=6, deadline=None)
@given(
    ids=st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=20, unique=True), seed=st.integers(0, 99)
)
def test_the_same_members_in_another_order_are_the_same_snapshot(
    shared_bench: Bench, ids: list[str], seed: int
) -> None:
    rows: list[Row] = [(user_id, None, [f"{user_id}@x"], 1) for user_id in ids]
    first = shared_bench.seal(frame(rows), wants_value=True).checksum
    random.Random(seed).shuffle(rows)
    assert shared_bench.seal(frame(rows), wants_value=True).checksum == first


def test_any_difference_makes_another_checksum(bench: Bench) -> None:
    variants: list[list[Row]] = [
        [],
        [("u1", None, ["a@x"], 1)],
        [("u2", None, ["a@x"], 1)],
        [("u1", None, ["b@x"], 1)],
        [("u1", None, [], 1)],
        [("u1", None, ["a@x"], 2)],
        [("u1", None, ["a@x"], 1), ("u2", None, ["a@x"], 1)],
        [("u1:", None, ["4:a@x"], 1)],
        [(None, "u1", ["a@x"], 1)],
    ]
    checksums = [bench.seal(frame(rows), identify_by="anonymous_id", wants_value=True).checksum for rows in variants]
    assert len(set(checksums)) == len(variants)


def test_the_checksum_is_the_same_in_every_process_and_version(bench: Bench) -> None:
    sealed = bench.seal(bench.write("user_id,email,key\nu1,a@x,k1\nü2,,\n"))
    digest = 0
    for row in read(sealed, COLUMNS):
        lengths = "".join(":" if cell is None else f":{len(cell.encode())}" for cell in row)
        text = "".join(cell or "" for cell in row) + lengths
        digest ^= int.from_bytes(hashlib.md5(text.encode()).digest(), "little")
    assert sealed.checksum == hashlib.sha256(f"2:{digest:032x}".encode()).hexdigest()
    assert sealed.checksum == "ecfa9c5c4d3b318e5b514ec794535d077ca5fd323edabd1e3a48152c52f522e7"


def test_many_duplicates_are_merged_in_slices(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "SLICE_ROWS", 100)
    lines = [f"u{number % 700},e{number}@x\n" for number in range(2100)]
    path = bench.write("user_id,email\n" + "".join(lines) + "alone,a@x\n")
    members = bench.members(path, emails="all")
    assert len(members) == 701
    assert ("u5", None, "e5@x\ne705@x\ne1405@x", None) in members


def test_the_last_value_in_the_file_wins(bench: Bench) -> None:
    path = bench.write("user_id,value\nu1,1\nu2,7\nu1,3\nu1,2\n")
    options = {"value_of": "x", "wants_value": True}
    assert [row[3] for row in bench.members(path, **options)] == ["2", "7"]


def test_a_crash_while_writing_leaves_the_old_file_and_nothing_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bench.write("user_id\nu1\n")
    before = bench.seal(path)
    content = before.path.read_bytes()
    bench.write("user_id\nu1\nu2\n")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(snapshot, "_read_back", crash)  # after the file was written, before it got its name
    with pytest.raises(KeyboardInterrupt):
        bench.seal(path)
    assert before.path.read_bytes() == content
    assert list(before.path.parent.iterdir()) == [before.path]


def test_a_sealed_file_holds_the_five_columns_as_text(bench: Bench) -> None:
    sealed = bench.seal(bench.write("user_id,email\n1,a@x\n"))
    with duckdb.connect() as connection:
        described = connection.execute(f"DESCRIBE SELECT * FROM '{sealed.path}'").fetchall()
    assert [(name, kind) for name, kind, *_ in described] == [(name, "VARCHAR") for name in COLUMNS]


def test_an_empty_snapshot_and_one_of_suppressed_users_differ_in_their_books_only(bench: Bench) -> None:
    empty = bench.seal(bench.write("user_id\n"))
    suppressed = bench.seal(bench.write("user_id\nu1\n"), suppressed=suppressed_as("u1"))
    assert empty.checksum == suppressed.checksum
    assert suppressed.left_out["suppressed"] == suppressed.rows_read == 1


def test_the_file_says_when_it_was_taken_and_how_to_know_it_again(bench: Bench, tmp_path: Path) -> None:
    sealed = bench.seal(bench.write("user_id\nu1\n"))
    assert sealed.taken_at.timestamp() == pytest.approx((tmp_path / "snapshot.csv").stat().st_mtime)
    assert sealed.fingerprint is None  # just written: it might be written again within the same tick of the clock
    assert sealed.size_bytes == sealed.path.stat().st_size
