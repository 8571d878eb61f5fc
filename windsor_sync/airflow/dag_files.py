"""The DAG files that come with the package, and how they get to where an Airflow looks for DAGs.

A file that is written ends with a line that has the digest of what stands above it, so that the next release knows whether
somebody has changed it.
"""

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

from windsor_sync.errors import ConfigError

PACKAGE = Path(__file__).parents[1]

MARK = b"# windsor-sync airflow-setup, sha256 of the lines above: "

_MARKED = re.compile(rb"(?s)(.*\n)" + re.escape(MARK) + rb"([0-9a-f]{64})\n*")

OF_BEFORE = frozenset(
    {
        "727d2365b9430f51d86220cda1eaabab386d2817da931e23bf3b47fee593cffd",
        "8cb0630ad24c19d21aada6f63f37a03f934a78f66ac3bae38d5ab335b7deca0f",
        "97b0d8ac03861d48d6ab52360b9716509332d51f0c23b8611483b69e0c3170bf",
        "ab6e02052c5eb46d2c66d87ce59745f55ebfc757b40d5d43fe8241c4903879f7",
        "e29b27e0122e93e6c95a3d0b8f1d78a95c9a35623516955f4c2c0d18fae63a40",
    }
)
"""Digests of the files that were written before they had such a line."""


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of writing one DAG file."""

    path: Path
    what: str
    """written, replaced, unchanged, or why another file was written"""
    differences: tuple[str, ...] = ()
    """the lines in which a file that a person changed and this version differ"""


def dags_folder() -> Path:
    """The folder they come in: inside an installed package, else the checkout's own."""
    installed = PACKAGE / "dags"
    return installed if installed.is_dir() else PACKAGE.parent / "dags"


def write_dags(target: Path) -> list[Written]:
    """Put every DAG file into `target`, over those of an earlier version; raises ConfigError when it cannot be written.

    A file that a person changed stays; this version is written beside it, under a name that Airflow does not read.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        return [_written(source, target / source.name) for source in sorted(dags_folder().glob("*.py"))]
    except OSError as error:
        raise ConfigError(
            f"The DAG files cannot be written to {target}: {error.strerror}. Some files there may be of this version, "
            "others of the one before; each is whole. Name a folder in which this user may write, then run this again."
        ) from None


def _written(source: Path, path: Path) -> Written:
    shipped = source.read_bytes()
    content = shipped + MARK + _digest(shipped) + b"\n"
    before = path.read_bytes().replace(b"\r\n", b"\n") if path.exists() else None
    if before in (content, shipped):
        return Written(path, "unchanged")
    if before is None or _is_ours(before):
        _write_whole(path.resolve(), content)
        return Written(path, "written" if before is None else "replaced")
    beside = path.with_name(f"{path.name}.new")
    _write_whole(beside, content)
    what = (
        f"changed by somebody, so it stays. {beside.name} beside it is this version: copy its changes, then remove it"
    )
    return Written(path, what, tuple(_differences(before, shipped, path.name, beside.name)))


def _write_whole(path: Path, content: bytes) -> None:
    """Put a file in the place of another one, whole or not at all; Airflow may read it at any moment."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        if path.exists():
            shutil.copymode(path, draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _is_ours(content: bytes) -> bool:
    """Tell whether a file is as a release wrote it."""
    marked = _MARKED.fullmatch(content)
    if marked:
        return _digest(marked[1]) == marked[2]
    return _digest(content).decode() in OF_BEFORE


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _differences(theirs: bytes, ours: bytes, name: str, beside: str) -> list[str]:
    before, now = (text.decode(errors="replace").splitlines() for text in (theirs, ours))
    found = unified_diff(before, now, name, beside, lineterm="", n=1)
    return [line for line in found if not line[1:].startswith(MARK.decode())]
