"""Sealing without memory or disk says which of them, and leaves nothing behind."""

from pathlib import Path

import duckdb
import pytest
from sealing import Bench

from windsor_sync.errors import SnapshotError
from windsor_sync.storage import duckdb_engine as embedded


def test_a_snapshot_that_does_not_fit_into_memory_says_where_to_make_room_and_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with duckdb.connect() as connection:
        rows = "SELECT 'user-' || (i % 150000) AS user_id, md5(i::VARCHAR) AS email FROM range(300000) t(i)"
        connection.execute(f"COPY ({rows}) TO '{bench.folder}/members.parquet' (FORMAT parquet)")
    monkeypatch.setattr(embedded, "MEMORY_LIMIT_MB", 2)
    with pytest.raises(SnapshotError) as refused:
        bench.seal(bench.folder / "members.parquet")
    assert "Memory, or disk space for spilled data, ran out" in str(refused.value)
    assert "Free space in the folder for temporary files, then run again." in str(refused.value)
    assert "user-" not in str(refused.value)
    assert list(Path(bench.folder, "sealed").iterdir()) == []
    monkeypatch.undo()
    assert bench.seal(bench.folder / "members.parquet").members == 150_000
