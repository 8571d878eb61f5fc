"""Two snapshots that differ by 1 %: the diff beside a bare scan, DuckDB's plain full join, Polars and pandas."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.frame import Goal, Measured, Row, Work, compare
from windsor_sync.diff import duckdb as engine
from windsor_sync.diff import statement
from windsor_sync.diff.task import DiffTask, MergeFiles
from windsor_sync.state.ledger import Head
from windsor_sync.storage.duckdb_engine import open_duckdb, reach_folder

NO_MERGES = MergeFiles()

STRIDE = 7_919
"""Neighbours of a snapshot are no neighbours of each other."""


def run(folder: Path, rows: int) -> list[Row]:
    """Measure."""
    place = str(folder)
    write_snapshots(place, rows)
    ours = Work("diff", "benchmarks.diff:ours", (place,))
    initial = Work("diff of an initial sync", "benchmarks.diff:first", (place,))
    scan = Work("scan and hash of both sides", "benchmarks.diff:scan", (place,))
    copy = Work("copy of the snapshot", "benchmarks.diff:copy", (place,))
    ratio, mine, its = compare(ours, scan)
    found = [
        Row("diff", "1 % changed", scan.name, ratio, goal=Goal(at_most=3), detail=_seconds(mine, its)),
        Row("diff", "1 % changed", "memory", mine.peak_mb, "MB", Goal(at_most=700)),
    ]
    ratio, mine, its = compare(initial, copy, repeats=1)
    found += [
        Row("diff", "initial sync", copy.name, ratio, detail=_seconds(mine, its)),
        Row("diff", "initial sync", "memory", mine.peak_mb, "MB", Goal(at_most=700)),
    ]
    ratio, mine, its = compare(Work("diff with known merges", "benchmarks.diff:with_merges", (place,)), ours)
    found += [
        Row("diff", f"{rows // 2:,} merges known", "the diff without merges", ratio, goal=Goal(at_most=1.5),
            detail=_seconds(mine, its)),
        Row("diff", f"{rows // 2:,} merges known", "memory", mine.peak_mb, "MB", Goal(at_most=1_000)),
    ]  # fmt: skip
    return found + _beside_peers(place)


def _beside_peers(folder: str) -> list[Row]:
    found = []
    for name, function, goal, repeats in (
        ("DuckDB's plain full join", "full_join", None, 3),
        ("Polars anti-joins", "polars_anti_joins", None, 3),
        (
            "pandas merge(indicator=True)",
            "pandas_merge",
            Goal(at_least=25),
            1,
        ),  # it takes a minute and a half, and 6.5 GB
    ):
        other = Work(name, f"benchmarks.diff:{function}", (folder,))
        ratio, mine, its = compare(Work("diff", "benchmarks.diff:ours", (folder,)), other, repeats)
        detail = f"{_seconds(mine, its)}, {mine.peak_mb:,.0f} and {its.peak_mb:,.0f} MB"
        found.append(Row("diff", "1 % changed, times faster", name, 1 / ratio, goal=goal, detail=detail))
    return found


def _seconds(mine: Measured, its: Measured) -> str:
    return (
        f"{mine.processor_s:.2f} and {its.processor_s:.2f} s of processor, {mine.seconds:.2f} and {its.seconds:.2f} s"
    )


def write_snapshots(folder: str, rows: int) -> None:
    """`before` and `now` as sealed snapshots are: 1 % left, 1 % came, 0.1 % have a new e-mail."""
    for name, first, host in (
        ("before", 0, "'@example.com'"),
        ("now", rows // 100, "CASE WHEN number % 1000 = 7 THEN '@new.example.com' ELSE '@example.com' END"),
    ):
        select = f"""
            SELECT md5(number::VARCHAR) AS user_id, NULL::VARCHAR AS anonymous_id, 'user' || number || {host} AS email,
                NULL::VARCHAR AS profile_id, NULL::VARCHAR AS value
            FROM (SELECT {first} + (i * {STRIDE} + {first}) % {rows} AS number FROM range({rows}) t(i))"""
        with duckdb.connect() as connection:
            connection.execute("SET preserve_insertion_order = false")
            connection.execute(
                f"COPY ({select}) TO '{folder}/{name}.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
            )
    _write_merges(folder, rows // 2)


def _write_merges(folder: str, merges: int) -> None:
    """Half of the users have had another id, which the last run knew; the file has a row of each id."""
    select = f"""
        SELECT md5(kind || number) AS id, md5(number::VARCHAR) AS survivor, 1 AS number, TIMESTAMP '2026-01-01' AS since
        FROM (SELECT i * 2 AS number FROM range({merges}) t(i)), (VALUES ('old '), ('')) k(kind)"""
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY ({select}) TO '{folder}/merges.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
        )


def with_merges(folder: str) -> dict[str, Any]:
    """The same as `ours` where half of the users were merged before."""
    moment = datetime.now(UTC)
    head = Head("r1", 1, 1, f"{folder}/before.parquet", "", moment, 1, None, (), True, merges=1)
    return _diff(folder, head, moment, MergeFiles(f"{folder}/merges.parquet"))


def ours(folder: str) -> dict[str, Any]:
    """An incremental sync's diff, outbox written."""
    moment = datetime.now(UTC)
    head = Head("r1", 1, 1, f"{folder}/before.parquet", "", moment, 1, None, (), True)
    return _diff(folder, head, moment)


def first(folder: str) -> dict[str, Any]:
    """An initial sync's diff."""
    return _diff(folder, None, datetime.now(UTC))


def _diff(folder: str, head: Head | None, moment: datetime, merges: MergeFiles = NO_MERGES) -> dict[str, Any]:
    task = DiffTask(
        head=head,
        snapshot=f"{folder}/now.parquet",
        number=2,
        taken_at=moment,
        moment=moment,
        merges=merges,
        merges_seen=head.merges if head else 0,
    )
    reach_folder(folder)
    tally = engine.duckdb_diff(task, Path(folder) / "draft.parquet")
    return {"entered": tally.entered, "exited": tally.exited, "updated": tally.updated}


def scan(folder: str) -> None:
    """Read what a diff reads of both sides, and hash it as the diff does."""
    with open_duckdb(folder) as connection:
        for name in ("before", "now"):
            rows = statement.snapshot_view(f"read_parquet('{folder}/{name}.parquet')")
            key = engine.KEY_HASH.format("coalesce(user_id, anonymous_id)")
            content = "hash(email, value, coalesce(user_id, anonymous_id), user_id IS NULL)"
            connection.execute(f"SELECT bit_xor({key}), bit_xor({content}) FROM ({rows})").fetchall()


def copy(folder: str) -> None:
    """Write the snapshot's members once more, in the shape of an outbox's texts."""
    with open_duckdb(folder) as connection:
        connection.execute("SET preserve_insertion_order = false")
        rows = statement.snapshot_view(f"read_parquet('{folder}/now.parquet')")
        connection.execute(f"COPY ({rows}) TO '{folder}/copy.parquet' ({engine.WRITTEN_AS})")


def full_join(folder: str) -> dict[str, Any]:
    """What one would write first."""
    with open_duckdb(folder) as connection:
        connection.execute(f"""
            COPY (
                SELECT coalesce(n.user_id, b.user_id) AS user_id, coalesce(n.email, b.email) AS email,
                    n.user_id IS NOT NULL AS is_member
                FROM '{folder}/before.parquet' b FULL JOIN '{folder}/now.parquet' n ON b.user_id = n.user_id
                WHERE b.user_id IS NULL OR n.user_id IS NULL OR b.email IS DISTINCT FROM n.email
            ) TO '{folder}/plain.parquet' (FORMAT parquet)""")
        [(rows,)] = connection.execute(f"SELECT count(*) FROM '{folder}/now.parquet'").fetchall()
    return {"rows": rows}


def polars_anti_joins(folder: str) -> dict[str, Any]:
    """Entered, exited and updated with Polars, whole in memory."""
    import polars

    before = polars.read_parquet(f"{folder}/before.parquet", columns=["user_id", "email"])
    now = polars.read_parquet(f"{folder}/now.parquet", columns=["user_id", "email"])
    parts = [now.join(before, on="user_id", how="anti"), before.join(now, on="user_id", how="anti")]
    both = now.join(before, on="user_id", how="inner", suffix="_before")
    parts.append(both.filter(polars.col("email") != polars.col("email_before")).select("user_id", "email"))
    polars.concat(parts).write_parquet(f"{folder}/polars.parquet")
    return {"rows": now.height}


def pandas_merge(folder: str) -> dict[str, Any]:
    """The classic; the files are read with DuckDB, so that only the merge is pandas' own."""
    with duckdb.connect() as connection:
        before, now = (
            connection.execute(f"SELECT user_id, email FROM '{folder}/{name}.parquet'").df()
            for name in ("before", "now")
        )
    merged = before.merge(now, on="user_id", how="outer", indicator=True, suffixes=("_before", ""))
    changed = merged[(merged["_merge"] != "both") | (merged["email_before"] != merged["email"])]
    changed.to_csv(f"{folder}/pandas.csv", index=False)
    return {"rows": len(now)}
