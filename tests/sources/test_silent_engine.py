"""The embedded engine says nothing on standard output: that is where results go."""

import subprocess
import sys

SLOW = """
from windsor_sync.storage import duckdb_engine

duckdb_engine.lock = lambda *_, **__: None  # so that the bar can be told to come at once
with duckdb_engine.open_duckdb() as connection:
    connection.execute("SET progress_bar_time = 0")
    connection.execute("SELECT sum(hash(i)) FROM range(20_000_000) t(i)").fetchall()
"""


def test_a_slow_query_draws_no_bar_where_results_are_printed() -> None:
    # DuckDB takes a Python without a file for a notebook, where it draws one.
    done = subprocess.run([sys.executable, "-c", SLOW], check=True, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("", "")
