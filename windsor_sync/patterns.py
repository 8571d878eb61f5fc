"""Paths and patterns: a path of ours never is a pattern, whatever the folder that it lies in is called."""

MAGIC = "*?["
"""What makes a path a pattern, for fsspec and for DuckDB."""


def has_magic(path: str) -> bool:
    """Whether a reader that takes patterns would take the path for one."""
    return any(letter in MAGIC for letter in path)


def literal(path: str) -> str:
    """Return the pattern that matches this path and no other."""
    return "".join(f"[{letter}]" if letter in MAGIC else letter for letter in path)
