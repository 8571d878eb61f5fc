"""Paths and patterns: what a setting says may be a pattern; the folder that it counts from is a path, whatever it is called.

Both travel as one text: the folder, `/./`, and what the setting says. A text without that mark is all the person's own.
"""

import os.path
import re
from pathlib import Path

MAGIC = "*?["
"""What makes a path a pattern, for fsspec and for DuckDB."""

_BELOW = "/./"
_URL = re.compile(r"[a-z][a-z0-9+.-]*:(?:.*:)?//", re.ASCII | re.IGNORECASE)


def is_url(location: str) -> bool:
    """Whether a location is a URL (`s3://…`, `simplecache::s3://…`) and no local path."""
    return _URL.match(location) is not None


def has_magic(path: str) -> bool:
    """Whether a reader that takes patterns would take the path for one."""
    return any(letter in MAGIC for letter in path)


def literal(path: str) -> str:
    """Return the pattern that matches this path and no other."""
    return "".join(f"[{letter}]" if letter in MAGIC else letter for letter in path)


def below(folder: Path, text: str) -> str:
    """Return the pattern `text` as it counts from `folder`; a URL or an absolute path counts from nowhere."""
    if is_url(text):
        return text
    slash = "/" if text.endswith("/") else ""
    base, rest = os.path.abspath(folder), os.path.normpath(text)  # noqa: PTH100  # .. without links
    if rest.startswith("~"):
        home, _, rest = rest.partition("/")
        base = os.path.expanduser(home)  # noqa: PTH111
    while rest == ".." or rest.startswith("../"):
        base, rest = os.path.dirname(base), rest[len("../") :]  # noqa: PTH120
    if rest.startswith("/") or base == "/":
        return "/" + rest.strip("/") + slash
    return base + _BELOW + ("" if rest == "." else rest) + slash


def folder_and_text(pattern: str) -> tuple[str, str]:
    """Return the folder that a pattern counts from ("" for none), and what the setting says."""
    folder, mark, text = ("", "", "") if is_url(pattern) else pattern.partition(_BELOW)
    return (folder, text) if mark else ("", pattern)


def shown_pattern(pattern: str) -> str:
    """Return the pattern as a person reads it."""
    folder, text = folder_and_text(pattern)
    return f"{folder}/{text}" if folder else text
