"""Reads the footer of a Parquet file: its rows, and a note that the writer put there."""

import duckdb

from windsor_sync.storage.duckdb_engine import one_file, open_duckdb, quoted


def footer_of(location: str, key: str) -> tuple[int, str | None]:
    """Return the rows of a Parquet file and its note under a key; −1 rows when it cannot be read."""
    file = one_file(location)
    try:
        with open_duckdb() as connection:
            [(rows, note)] = connection.execute(f"""
                SELECT num_rows, (SELECT decode(value) FROM parquet_kv_metadata({file}) WHERE decode(key) = {quoted(key)} LIMIT 1)
                FROM parquet_file_metadata({file})
            """).fetchall()
    except duckdb.Error:
        return -1, None
    return int(rows), None if note is None else str(note)


def note_option(key: str, text: str) -> str:
    """Return the option of COPY that puts a note into a Parquet file."""
    return f"KV_METADATA {{{key}: {quoted(text)}}}"
