"""Paths and patterns: what a setting says may be a pattern; the folder that it counts from is a path, whatever it is called.

Both travel as one text: the folder, `/./`, and what the setting says. A text without that mark is all the person's own.
"""

import os.path
import re
from fnmatch import fnmatchcase
from pathlib import Path

_MAGIC = re.compile(r"[*?\[]")
"""The letters that make a path a pattern, for fsspec and for DuckDB."""

_BELOW = "/./"
_URL = re.compile(r"[a-z][a-z0-9+.-]*:(?:.*:)?//", re.ASCII | re.IGNORECASE)


def is_url(location: str) -> bool:
    """Whether a location is a URL (`s3://…`, `simplecache::s3://…`) and no local path."""
    return _URL.match(location) is not None


def has_magic(path: str) -> bool:
    """Whether a reader that takes patterns would take the path for one."""
    return _MAGIC.search(path) is not None


def is_match(path: str, pattern: str) -> bool:
    """Return whether a pattern takes a path: `*` and `?` stay within a name, `**` is any number of folders.

    The time grows with the product of the lengths, however many stars there are.
    """
    parts = [*pattern.split("/"), *(["*"] if pattern.endswith("**") else [])]
    places = _with_next({0}, parts)
    for name in path.split("/"):
        any_depth = {at for at in places if parts[at : at + 1] == ["**"]}
        taken = {at + 1 for at in places - any_depth if at < len(parts) and _is_name(name, parts[at])}
        places = _with_next(any_depth | taken, parts)
    return len(parts) in places


def _with_next(places: set[int], parts: list[str]) -> set[int]:
    """Return also the places behind `**`, which may stand for no folder."""
    for at, part in enumerate(parts):
        if part == "**" and at in places:
            places = places | {at + 1}
    return places


def _is_name(name: str, part: str) -> bool:
    return fnmatchcase(name, part) and bool(name or not part)


def literal(path: str) -> str:
    """Return the pattern that matches this path and no other."""
    return _MAGIC.sub(r"[\g<0>]", path)


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
