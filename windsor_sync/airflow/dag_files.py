"""The DAG files that come with the package, and how they get to where an Airflow looks for DAGs."""

from dataclasses import dataclass
from pathlib import Path

from windsor_sync.errors import ConfigError

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of writing one DAG file."""

    path: Path
    what: str
    """written, replaced, or unchanged"""


def dags_folder() -> Path:
    """The folder they come in: inside an installed package, else the checkout's own."""
    installed = PACKAGE / "dags"
    return installed if installed.is_dir() else PACKAGE.parent / "dags"


def write_dags(target: Path) -> list[Written]:
    """Put every DAG file into `target`, over those of an earlier version; raises ConfigError when it cannot be written."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        return [_written(source, target / source.name) for source in sorted(dags_folder().glob("*.py"))]
    except OSError as error:
        raise ConfigError(
            f"The DAG files cannot be written to {target}: {error.strerror}. What was there before may be partly replaced. "
            "Name a folder in which this user may write, then run this again."
        ) from None


def _written(source: Path, path: Path) -> Written:
    content = source.read_bytes()
    before = path.read_bytes() if path.exists() else None
    if before == content:
        return Written(path, "unchanged")
    path.write_bytes(content)
    return Written(path, "written" if before is None else "replaced")
