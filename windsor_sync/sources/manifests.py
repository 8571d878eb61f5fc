"""Reads the files that exporters write about their exports: manifests, commit markers, logs of table formats."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from windsor_sync.sources.names import folder_of
from windsor_sync.sources.refusal import AGAIN, unusable

MAX_MANIFEST_BYTES = 64 << 20
"""A larger file is no list of files."""

_ENDINGS = ("manifest", "manifest.json", "manifest.csv", "manifest.txt")
_TABLES = {"_delta_log": "a Delta table", ".hoodie": "a Hudi table", "metadata/version-hint.text": "an Iceberg table"}


@dataclass(frozen=True, slots=True)
class Manifest:
    """A list of the files of one export, which its writer left beside them."""

    path: str
    sizes: Mapping[str, int | None]
    """in bytes, by the name of the file; None where it is not said"""


def is_called_manifest(path: str) -> bool:
    """Whether the file may be a manifest by its name; what is in it decides."""
    return path.lower().endswith(_ENDINGS)


def read_manifest(fs: Any, path: str) -> Manifest | None:
    """Read a manifest of Redshift, Athena or S3 Inventory; None for a file that is something else."""
    if fs.info(path)["size"] > MAX_MANIFEST_BYTES:
        return None
    text = fs.cat_file(path).decode("utf-8", "replace").strip()
    sizes = _entries(text) if text.startswith("{") else _addresses(text)
    return Manifest(path, sizes) if sizes else None


def confirm_manifest(manifest: Manifest, sizes: Mapping[str, int]) -> None:
    """Raise SnapshotError unless every file of the manifest is there, in the size that it says."""
    name = PurePosixPath(manifest.path).name
    for file, size in manifest.sizes.items():
        if file not in sizes:
            raise unusable(
                f"{folder_of(manifest.path)} is not complete: {name} names {file!r}, which is not there.", AGAIN
            )
        if size is not None and sizes[file] != size:
            raise unusable(
                f"{folder_of(manifest.path)}/{file} has {sizes[file]} bytes, but {name} says {size}: it was cut short or "
                "written over.",
                AGAIN,
            )


def committed(fs: Any, paths: Iterable[str]) -> tuple[frozenset[str] | None, str | None]:
    """Return the names of the files that Databricks' commit markers leave in force, and a write that is not committed.

    None for the names in a folder without such markers.
    """
    added: set[str] = set()
    removed: set[str] = set()
    started: set[str] = set()
    done: set[str] = set()
    for path in sorted(paths):
        kind, _, transaction = PurePosixPath(path).name.removeprefix("_").partition("_")
        if kind == "started":
            started.add(transaction)
        elif kind == "committed":
            found = json.loads(fs.cat_file(path))
            done.add(transaction)
            added.update(map(str, found.get("added", ())))
            removed.update(map(str, found.get("removed", ())))
    open_write = next(iter(sorted(started - done)), None)
    return (frozenset(added - removed) if done else None), open_write


def refuse_table(fs: Any, folders: Iterable[str]) -> None:
    """Raise SnapshotError for the folder of a table format: its files hold rows that the table has deleted."""
    for folder in folders:
        for mark, kind in _TABLES.items():
            if fs.exists(f"{folder}/{mark}"):
                raise unusable(
                    f"{folder} is {kind}: its files also hold rows that the table no longer has.",
                    "Read it with a query, or export it as plain files into a folder of its own.",
                )


def _entries(text: str) -> dict[str, int | None]:
    """Redshift: {"entries": [{"url", "meta": {"content_length"}}]}; S3 Inventory: {"files": [{"key", "size"}]}."""
    try:
        found = json.loads(text)
        if "entries" in found:
            return {_name(each["url"]): each.get("meta", {}).get("content_length") for each in found["entries"]}
        return {_name(each["key"]): each.get("size") for each in found["files"]}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _addresses(text: str) -> dict[str, int | None]:
    """Athena: an address a line."""
    lines = [line.strip().strip('"') for line in text.splitlines()]
    return {_name(line): None for line in lines} if lines and all("://" in line for line in lines) else {}


def _name(address: str) -> str:
    return PurePosixPath(address).name
