"""A CSV file that several threads read: rows stay whole, in order, and are found where they are."""

import pytest
from sealing import Bench

from windsor_sync.errors import SnapshotError
from windsor_sync.snapshots.seal import Sealed
from windsor_sync.sources import EngageCsvSource, newest
from windsor_sync.storage.duckdb_engine import open_duckdb

MEGABYTE = 1 << 20


def sealed_and_rows(bench: Bench, content: bytes) -> tuple[Sealed, int]:
    """Seal it; also how many rows are where they should be: user u<n> in row n."""
    assert len(content) > 40 * MEGABYTE
    path = bench.write(content)
    with open_duckdb() as connection:
        EngageCsvSource(newest(str(path))).load(connection)
        [(in_place,)] = connection.execute("SELECT count(*) FROM rows WHERE user_id = 'u' || line").fetchall()
    return bench.seal(path), in_place


def test_rows_without_line_breaks_stay_whole(bench: Bench) -> None:
    count = 500_000
    rows = "".join(f"u{number},{'x' * 80}@y\n" for number in range(1, count + 1))
    sealed, in_place = sealed_and_rows(bench, f"user_id,email\n{rows}".encode())
    assert (sealed.members, in_place) == (count, count)


def test_text_in_quotation_marks_that_looks_like_rows_is_not_taken_for_rows(bench: Bench) -> None:
    count = 400
    decoy = "d1,d2,d3\n" * 12_000
    rows = "".join(f'u{number},e@x,"{decoy}"\n' for number in range(1, count + 1))
    sealed, in_place = sealed_and_rows(bench, f"user_id,email,note\n{rows}".encode())
    assert (sealed.rows_read, sealed.members, in_place) == (count, count, count)


def test_broken_rows_deep_in_a_file_are_named_by_their_physical_lines(bench: Bench) -> None:
    count = 300_000
    rows = [f'u{number},"first\nsecond","{"x" * 130}"\n' for number in range(1, count + 1)]
    rows[200_000 - 1], rows[299_000 - 1] = "broken\n", "u299000,a,b,c\n"
    sealed, in_place = sealed_and_rows(bench, ("user_id,note,more\n" + "".join(rows)).encode())
    assert (sealed.members, in_place, sealed.left_out["malformed"]) == (count - 2, count - 2, 2)
    assert sealed.malformed_lines == (1 + 199_999 * 2 + 1, 1 + 298_998 * 2 + 1 + 1)


def test_a_stray_quotation_mark_does_not_make_members_vanish_unnoticed(bench: Bench) -> None:
    rows = [f"u{number},{'x' * 80}@y\n" for number in range(100_000)]
    rows[1000] = rows[80_000] = 'u,"x\n'
    with pytest.raises(SnapshotError, match=r"79001 of 100000 rows cannot be read .*line 1002"):
        bench.seal(bench.write("user_id,email\n" + "".join(rows)))
