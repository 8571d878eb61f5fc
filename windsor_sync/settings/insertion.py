"""Audiences added to a `windsor.yaml` that people keep by hand: lines are inserted, every other byte stays as it is.

Only the `[]` of an empty list gives way to the list.
"""

import os
import re
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from windsor_sync.errors import ConfigError
from windsor_sync.settings.loading import load
from windsor_sync.settings.mistakes import InvalidSettings
from windsor_sync.settings.model import Settings

_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_OTHER_LINE_ENDS = re.compile("\r(?!\n)|[\x85\u2028\u2029]")  # YAML counts lines by them too
_BOM = "\ufeff"
_ITEMS_AT = 2  # columns from the margin, where the file has no list to follow


@dataclass(frozen=True, slots=True)
class Entry:
    """An audience or computed trait to add, disabled until a person has said where its snapshots are."""

    section: str
    """`audiences` or `computed_traits`"""
    name: str
    id: str
    trait: str | None
    """None where Segment's rule makes the same key of the name"""
    path: str

    def lines(self, indent: int) -> list[str]:
        """Its lines in the file, without line breaks."""
        pairs = [("name", self.name), ("id", self.id), ("trait", self.trait)]
        said = [f"{key}: {scalar(value)}" for key, value in pairs if value is not None]
        rest = ["enabled: false", "snapshot:", f"  path: {scalar(self.path)}", "  format: engage_csv"]
        return [" " * indent + ("  " if number else "- ") + line for number, line in enumerate([*said, *rest])]


def as_yaml(entries: Sequence[Entry]) -> str:
    """The entries as they would stand in a file without any."""
    return _with_entries("", entries).lstrip("\n")


def add(settings: Settings, entries: Sequence[Entry], env: Mapping[str, str] = os.environ) -> None:
    """Add the entries to the file the settings were read from, in one step; comments, order and line ends stay.

    Raises ConfigError, with nothing changed, when there is no safe place for them or the result would not be valid.
    """
    file = settings.path
    if file.is_symlink():
        raise _refused(settings, "it is a link, and its target may be shared")
    try:
        before = file.read_bytes()
        text = before.decode("utf-8")
        after = _with_entries(text, entries).encode("utf-8")
        draft = _draft(file, after)
    except _Unplaceable as problem:
        raise _refused(settings, str(problem)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(settings, f"it cannot be rewritten ({type(error).__name__})") from None
    try:
        _require_same_but_for(settings, draft, entries, env)
        if file.read_bytes() != before:
            raise _refused(settings, "somebody else changed it meanwhile")
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


class _Unplaceable(ValueError):
    """The file is written in a way that leaves no safe place for new lines."""


def _refused(settings: Settings, why: str) -> ConfigError:
    return ConfigError(
        f"Nothing was added to {settings.path.name}, which is as it was: {why}. Run the command without --write and paste "
        "what it prints."
    )


def _draft(file: Path, content: bytes) -> Path:
    """The new content beside the file, with its permissions."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".new")
    with os.fdopen(handle, "wb") as draft:
        draft.write(content)
        draft.flush()
        os.fsync(draft.fileno())
    Path(name).chmod(stat.S_IMODE(file.stat().st_mode))
    return Path(name)


def _require_same_but_for(settings: Settings, draft: Path, entries: Sequence[Entry], env: Mapping[str, str]) -> None:
    """Raise ConfigError unless the draft is valid, says what the file said, and has the entries besides."""
    try:
        made = load(draft, env)
    except InvalidSettings as problem:
        mistakes = "; ".join(mistake.text for mistake in problem.mistakes)
        raise _refused(settings, f"with the new entries it would not be valid ({mistakes})") from None
    new = {entry.id for entry in entries}
    kept = made.model_copy(
        update={
            "path": settings.path,
            "warnings": settings.warnings,
            "audiences": tuple(one for one in made.audiences if one.id not in new),
            "computed_traits": tuple(one for one in made.computed_traits if one.id not in new),
        }
    )
    if kept != settings or len(made.computations) != len(settings.computations) + len(entries):
        raise _refused(settings, "the new entries would change what it says elsewhere")


def _with_entries(text: str, entries: Sequence[Entry]) -> str:
    """The text with the entries after the last one of their section, or in a new section at its end."""
    mark = _BOM if text.startswith(_BOM) else ""
    text = text.removeprefix(_BOM)
    end = "\r\n" if "\r\n" in text else "\n"
    for section in ("audiences", "computed_traits"):
        mine = [entry for entry in entries if entry.section == section]
        if mine:
            text = _with_section(text, section, mine, end)
    return mark + text


def _with_section(text: str, section: str, entries: Sequence[Entry], end: str) -> str:
    if _OTHER_LINE_ENDS.search(text):
        raise _Unplaceable("it has line ends that few editors know")
    found = _section(text, section)
    if found is not None and _is_empty_list(found[1]):
        start, stop = found[1].start_mark.index, found[1].end_mark.index
        text = text[:start].rstrip(" ") + text[stop:]
        found = _section(text, section)
    lines = _LINES.findall(text)
    if found is None:
        after, indent, heading = len(lines), _ITEMS_AT, ["", f"{section}:"]
    else:
        after, indent = _place(lines, *found)
        heading = []
    if after and not lines[after - 1].endswith("\n"):
        lines[after - 1] += end
    new = [*heading, *(line for entry in entries for line in entry.lines(indent))]
    return "".join([*lines[:after], *(line + end for line in new), *lines[after:]])


def _section(text: str, section: str) -> tuple[yaml.Node, yaml.Node] | None:
    """The key and the value of a section of the file."""
    root = yaml.compose(text, Loader=yaml.BaseLoader)
    if root is None:
        return None
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise _Unplaceable("it is written in braces")
    return next(((key, value) for key, value in root.value if key.value == section), None)


def _place(lines: Sequence[str], key: yaml.Node, value: yaml.Node) -> tuple[int, int]:
    """After how many lines the new ones go, and how far they are indented."""
    if isinstance(value, yaml.ScalarNode) and not value.value and value.style is None:
        return key.end_mark.line + 1, _ITEMS_AT
    if not isinstance(value, yaml.SequenceNode) or value.flow_style or value.start_mark.index < key.end_mark.index:
        raise _Unplaceable(f"its section {key.value} is not a list with one dash a line")
    indent = value.start_mark.column
    after = _last_line(value) + 1
    while after < len(lines) and _is_comment_below(lines[after], indent):  # it speaks of the entry above it
        after += 1
    return after, indent


def _is_empty_list(value: yaml.Node) -> bool:
    return isinstance(value, yaml.SequenceNode) and bool(value.flow_style) and not value.value


def _is_comment_below(line: str, indent: int) -> bool:
    text = line.lstrip(" ")
    return text.startswith("#") and len(line) - len(text) > indent


def _last_line(node: yaml.Node) -> int:
    """The line of the last character that belongs to a node; YAML itself counts the blank lines after it too."""
    inner: Iterable[yaml.Node] = ()
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        inner = (part for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode) and not node.flow_style:
        inner = node.value
    end = node.end_mark
    own = end.line if end.column else end.line - 1
    return max((_last_line(part) for part in inner), default=own)


def scalar(text: str) -> str:
    """Return a text on one line, which YAML reads back exactly."""
    return yaml.safe_dump(text, allow_unicode=text.isprintable(), width=10_000).removesuffix("\n").removesuffix("\n...")
