"""An unformatted Engage download sealed, beside what the same engine needs for the bare work on the same file."""

from pathlib import Path
from typing import Any

import duckdb

from benchmarks.frame import Goal, Row, Work, compare
from windsor_sync.snapshots.seal import seal
from windsor_sync.sources import open_source
from windsor_sync.storage.duckdb_engine import open_duckdb

BARE = "CSV scan, JSON extraction and Parquet write alone"


def run(folder: Path, rows: int) -> list[Row]:
    """Measure."""
    path = str(folder / "download.csv")
    write_download(path, 0, rows)
    ours = Work("seal", "benchmarks.seal:ours", (path,))
    bare = Work(BARE, "benchmarks.seal:bare", (path,))
    ratio, mine, its = compare(ours, bare, repeats=2)
    detail = (
        f"{mine.processor_s:.1f} and {its.processor_s:.1f} s of processor, {mine.seconds:.1f} and {its.seconds:.1f} s"
    )
    return [
        Row("seal", "unformatted download sealed", BARE, ratio, goal=Goal(at_most=1.75), detail=detail),
        Row("seal", "unformatted download sealed", "memory", mine.peak_mb, "MB", Goal(at_most=2_000)),
    ]


def write_download(path: str, first: int, rows: int) -> None:
    """What Engage makes: `key`, the ids as JSON, the traits as JSON."""
    ids = """'{"user_id":["' || md5(number::VARCHAR) || '"],"email":["user' || number || '@example.com"]}'"""
    select = f"""
        SELECT 'use_' || md5('k' || number) AS key, {ids} AS external_ids, '{{"vip":true}}' AS audience_traits
        FROM (SELECT {first} + i AS number FROM range({rows}) t(i))"""
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({select}) TO '{path}' (FORMAT csv, HEADER)")


def ours(path: str) -> dict[str, Any]:
    """Read, checked, counted, written, known by a checksum."""
    sealed = seal(open_source(path), Path(path).with_suffix(".sealed.parquet"))
    return {"members": sealed.members}


def bare(path: str) -> None:
    """Nothing is checked, nothing is counted, one is believed."""
    with open_duckdb(str(Path(path).parent)) as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(f"""
            COPY (
                SELECT json_extract_string(external_ids, '$.user_id[0]') AS user_id,
                    json_extract_string(external_ids, '$.email[0]') AS email, key AS profile_id
                FROM read_csv('{path}', all_varchar = true)
            ) TO '{path}.bare.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)""")
