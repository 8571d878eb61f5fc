"""Runs benchmarks and prints their table: `python -m benchmarks [NAMES…] [--rows N] [--json FILE]`."""

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.frame import Row, regressions, table

NAMES = ("diff", "seal", "noop", "intake", "delivery", "initial_sync", "rate")

RATIOS = Path(__file__).with_name("ratios.json")
"""The ratios of earlier runs, by the size of the audience."""


def main() -> int:
    """Run them one after the other; the exit status says whether every goal was met and no ratio became worse."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(NAMES)}; all by default")
    parser.add_argument("--rows", type=int, default=10_000_000, help="members of the audience (default 10,000,000)")
    parser.add_argument(
        "--store", action="store_true", help="keep the ratios: later runs of this size are compared with them"
    )
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}")
    rows: list[Row] = []
    for name in arguments.names or NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        with tempfile.TemporaryDirectory(prefix="windsor-sync-bench-") as folder:
            rows.extend(module.run(Path(folder), arguments.rows))
    print(f"{_machine()}, {arguments.rows:,} members\n\n{table(rows)}")
    if arguments.json:
        found = {"machine": _machine(), "members": arguments.rows, "rows": [row.as_json() for row in rows]}
        arguments.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    size = f"{arguments.rows:,} members"
    stored = json.loads(RATIOS.read_text(encoding="utf-8"))
    worse = regressions(rows, stored.get(size, {}))
    if arguments.store:
        stored[size] = stored.get(size, {}) | {row.name: round(row.figure, 3) for row in rows if row.is_ratio}
        RATIOS.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for each in worse:
        print(f"WORSE {each}")
    return int(bool(worse) or any(row.goal and not row.goal.is_met(row.figure) for row in rows))


def _machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{len(os.sched_getaffinity(0))} × {model}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}"


if __name__ == "__main__":
    sys.exit(main())
