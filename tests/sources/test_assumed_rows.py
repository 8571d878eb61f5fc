"""A download whose lines seem to be its rows is sealed in one reading, and comes to the same as one whose rows were counted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing import Bench, read

from windsor_sync.errors import SnapshotError
from windsor_sync.snapshots.seal import COLUMNS, Sealed
from windsor_sync.sources import EngageCsvSource, open_source
from windsor_sync.sources.csv_scan import Scan

HEADER = b"key,external_ids,traits\n"
USUAL = b'k%d,"{""user_id"":[""u%d""],""email"":[""a@x""]}",x\n'
ODD = [
    b'k,"{""user_id"":[""v1"",""v2""],""email"":[]}",x\n',
    b'k,"{""user_id"":[""v1""],""email"":[""a@x,b@y""]}",x\n',
    b'k,"{""user_id"":[""""],""email"":[""a@x""]}",x\n',
    b'k,"{""user_id"":[7],""email"":[""a@x""]}",x\n',
    b'k,"{""user_id"":[""v1""],""email"":[""a@x""]",x\n',
    b"key,external_ids,traits\n",
    b"k,,x\n",
    b"\n",
    b"k,x\n",
    b"k,x,y,z\n",
    b'k,"x"y,z\n',
    b'k,"x\ny",z\n',
    b'k,"x,y\n',
    b"\rk,x,y\n",
    b"k,x\r,y\r\n",
    b'k,"\xff",x\n',
]
TIMED = ("taken_at", "fingerprint", "path", "size_bytes")
"""What depends on the moment: a file of the last two seconds has no trusted fingerprint."""
rows = st.lists(st.sampled_from([None, None, None, *ODD]), min_size=1, max_size=40)


def content(drawn: list[bytes | None], end: int) -> bytes:
    lines = (USUAL % (number, number) if line is None else line for number, line in enumerate(drawn))
    whole = HEADER + b"".join(lines)
    return whole[: len(whole) - end]


def outcome(bench: Bench, path: Path, *, counted: bool) -> Any:
    """What is sealed, or why nothing is."""
    with pytest.MonkeyPatch.context() as patch:
        if counted:
            patch.setattr(EngageCsvSource, "assume", lambda *_: False)
        try:
            sealed = bench.seal(path, max_malformed_percent=50)
        except SnapshotError as error:
            return str(error)
    facts = [getattr(sealed, name) for name in Sealed.__slots__ if name not in TIMED]
    return facts, read(sealed, COLUMNS)


@settings(max_examples=12, deadline=None)
@given(drawn=rows, end=st.sampled_from([0, 0, 0, 1, 5]))
def test_a_file_sealed_in_one_reading_comes_to_what_counting_its_rows_comes_to(
    shared_bench: Bench, drawn: list[bytes | None], end: int
) -> None:
    path = shared_bench.write(content(drawn, end))
    assert outcome(shared_bench, path, counted=False) == outcome(shared_bench, path, counted=True)


@pytest.mark.parametrize(("line", "counts"), [(None, 0), (ODD[0], 1), (ODD[8], 1), (b"\n", 2)])
def test_rows_are_counted_by_themselves_only_where_a_line_may_not_be_one_row(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, line: bytes | None, counts: int
) -> None:
    counted: list[None] = []
    count: Callable[..., Any] = Scan.count
    monkeypatch.setattr(Scan, "count", lambda *arguments: (counted.append(None), count(*arguments))[1])
    bench.seal(bench.write(content([None] * 30 + [line] + [None] * 30, 0)), max_malformed_percent=50)
    assert len(counted) == counts


def test_a_row_that_the_engine_leaves_out_is_missed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bench.write(content([None] * 50, 0))
    with duckdb.connect() as connection:
        source = open_source(str(path))
        assert isinstance(source, EngageCsvSource)
        assert source.assume(connection)
        connection.execute("SELECT count(user_id) FROM rows").fetchall()
        assert source.confirm(connection, 50)
        assert not source.confirm(connection, 49)
