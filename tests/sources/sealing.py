"""What the tests here share: seal a source, read what was sealed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from windsor_sync.snapshots.seal import Sealed, seal
from windsor_sync.sources import Source, open_source


@dataclass(frozen=True, slots=True)
class Bench:
    """A folder to write sources to and seal them."""

    folder: Path

    def write(self, content: bytes | str, name: str = "snapshot.csv") -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def seal(self, source: Source | Path, **options: Any) -> Sealed:
        """Seal a source, or the file at a path; `format`, `columns` and `value_of` go to the file's source."""
        opening = {name: options.pop(name) for name in ("format", "columns", "value_of") if name in options}
        opened = open_source(str(source), **opening) if isinstance(source, Path) else source
        return seal(opened, self.folder / "sealed" / "snapshot.parquet", **options)

    def members(self, source: Source | Path, **options: Any) -> list[tuple[str | None, ...]]:
        """Seal and read back: user_id, anonymous_id, email, value, ordered."""
        return read(self.seal(source, **options))

    def user_ids(self, source: Source | Path, **options: Any) -> list[str | None]:
        return [row[0] for row in self.members(source, **options)]


def read(
    sealed: Sealed, columns: Sequence[str] = ("user_id", "anonymous_id", "email", "value")
) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        table = connection.read_parquet(str(sealed.path)).project(", ".join(columns))
        return sorted(table.fetchall(), key=repr)


def highest_mb() -> int:
    """What this program held in memory at most, in MB.

    Not what `resource` says: there a program counts the memory of the one that started it, until it was started.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))
