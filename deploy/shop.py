"""`python -m deploy.shop DAY`: the demo's two snapshots of a day, put into the object store as Engage would."""

import sys
import tempfile
from datetime import date
from pathlib import Path

import fsspec

from deploy.prepare import BUCKET
from windsor_sync.demo import shop


def upload(day: date) -> None:
    """Write both; a snapshot of the same day is replaced."""
    with tempfile.TemporaryDirectory() as folder:
        shop.write_snapshots(shop.purchases(), day, Path(folder))
        store = fsspec.filesystem("s3")
        for path in sorted(Path(folder).rglob("*.csv")):
            target = f"{BUCKET}/snapshots/{path.relative_to(folder)}"
            store.put_file(str(path), target)
            print(f"s3://{target}")


if __name__ == "__main__":
    upload(date.fromisoformat(sys.argv[1]))
