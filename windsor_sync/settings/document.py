"""`windsor.yaml` as a tree of texts, each with the line it stands in.

Every scalar stays the text that was written; a plain `null`, `~` or nothing is None. Tags are refused, an alias
stands for what it names, and a key that is given twice is a mistake where YAML would take the last one in silence.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import yaml

from windsor_sync.settings.mistakes import InvalidSettings, Mistake, SettingPlace, found_but
from windsor_sync.settings.readings import shown_text

Tree: TypeAlias = "str | list[Tree] | dict[str, Tree] | None"
Where: TypeAlias = tuple[str | int, ...]

_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}
_NULLS = ("", "~", "null", "Null", "NULL")
_MOST_VALUES = 200_000  # far above any real file; aliases of aliases can unfold a short one into billions
# What PyYAML quotes from the file, but not its own '<block end>' or a single character such as '%' or '\\t'.
_QUOTED = re.compile(r"""(['"])(?!<[a-z ]+>\1|\\?.\1).{2,}?\1""")


@dataclass(slots=True)
class Document:
    """The tree, where each value stands, and what was wrong before anyone asked what the values mean."""

    file: Path
    tree: dict[str, Tree] = field(default_factory=dict)
    places: dict[Where, SettingPlace] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    wrong: set[Where] = field(default_factory=set)  # where a mistake was noted

    def place(self, where: Where) -> SettingPlace:
        """Return where a value stands, or the nearest section around it that exists."""
        while where and where not in self.places:
            where = where[:-1]
        return self.places.get(where, SettingPlace(self.file.name, 1))

    def name(self, where: Where) -> str:
        """Spell a place as it is nested, list items by their name: `audiences['VIP'].trait`."""
        text = ""
        for depth, step in enumerate(where):
            if isinstance(step, int):
                item = self.at((*where[: depth + 1], "name"))
                text += f"[{shown_text(item)}]" if isinstance(item, str) else f"[item {step + 1}]"
            else:
                plain = step if re.fullmatch(r"[\w-]{1,60}", step) else shown_text(step)
                text += f".{plain}" if text else plain
        return text

    def at(self, where: Where) -> Tree:
        """Return the value at a place; None when there is none."""
        value: Tree = self.tree
        for step in where:
            if isinstance(value, dict) and isinstance(step, str):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def take_out(self, where: Where) -> None:
        """Remove what stands at a place, if anything does: the document is as if the file had not said it."""
        inside = self.at(where[:-1]) if where else None
        if isinstance(inside, dict):
            inside.pop(str(where[-1]), None)
        elif isinstance(inside, list) and isinstance(where[-1], int):
            del inside[where[-1]]

    def is_wrong_already(self, where: Where) -> bool:
        """Tell whether a place holds nothing because what stands there is a mistake that has been noted."""
        return where in self.wrong and self.at(where) is None

    def complain(self, where: Where, text: str) -> None:
        """Note a mistake at a place."""
        self.wrong.add(where)
        self.mistakes.append(Mistake(self.place(where), self.name(where), text))


def read_document(file: Path, text: str) -> Document:
    """Parse the file's text. Raises InvalidSettings, with the line, when it is not YAML."""
    root = _composed(text)
    if isinstance(root, tuple):
        line, problem = root
        raise InvalidSettings(
            file, [Mistake(SettingPlace(file.name, line), "", f"the file cannot be read as YAML: {problem}")]
        )
    document = Document(file)
    if root is not None:
        tree = _Unfolding(document).unfold(root, ())
        if not isinstance(tree, dict):
            document.complain((), found_but("a file that is no section", "keys such as destination and audiences"))
            raise InvalidSettings(file, document.mistakes)
        document.tree = tree
    return document


def _composed(text: str) -> yaml.Node | tuple[int, str] | None:
    """Return YAML's nodes, or the line and what is wrong in it, without a word of the file."""
    try:
        loader = yaml.BaseLoader(text)
    except yaml.reader.ReaderError as error:
        return text.count("\n", 0, error.position) + 1, "a control character; only text, tabs and line breaks may occur"
    try:
        node: yaml.Node | None = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        return _said(error, loader.line)
    except RecursionError:
        return loader.line + 1, "lists or sections are nested too deep"
    except (ValueError, OverflowError):  # an escape such as "\UFFFFFFFF", which PyYAML hands on to chr()
        return loader.line + 1, "a number or an escaped character that does not exist"
    return node


def _said(error: yaml.MarkedYAMLError, last_line: int) -> tuple[int, str]:
    """Return the line and the words of PyYAML, with where it begins and what usually helps."""
    context, problem = error.context or "", error.problem or ""
    if "flow" in context:  # the rest is a list of characters, of which nobody can say which are the file's
        problem = ""
    said = ", ".join(_QUOTED.sub("…", part) for part in (context, problem) if part)
    found = error.problem_mark or error.context_mark
    line = (found.line if found else last_line) + 1
    first = error.context_mark.line + 1 if error.context_mark else line
    begins = f" (it begins in line {first})" if first != line else ""
    return line, f"{said}{begins}{_hint(said)}"


_HINTS = (
    (r"'\t' that cannot start any token", "indent with spaces, not with tabs"),
    ("cannot start any token", "put the value in quotes"),
    ("could not find expected ':'", "a key needs a colon after it"),
    (
        "mapping values are not allowed",
        "give the key above its colon, mend the indentation, or put a value with a colon in quotes",
    ),
    ("<block end>", "what belongs together begins in the same column"),
    ("quoted scalar, found unexpected end", "a quote is opened and not closed"),
    ("a flow sequence", "a bracket is opened and not closed"),
    ("a flow mapping", "a brace is opened and not closed"),
)


def _hint(said: str) -> str:
    """Return what usually helps where YAML says this."""
    return next((f"; {hint}" for words, hint in _HINTS if words in said), "")


class _Unfolding:
    """Turns YAML's nodes into the document's tree, noting places and mistakes on the way."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._open: set[int] = set()  # nodes around the current one, to meet an alias that contains itself
        self._values = 0

    def unfold(self, node: yaml.Node, where: Where) -> Tree:
        """Return a node's value; where it is a mistake, None."""
        self._values += 1
        if where not in self._document.places:
            self._document.places[where] = self._place(node)
        problem = self._problem(node)
        if problem:
            self._document.complain(where, problem)
            return None
        if isinstance(node, yaml.ScalarNode):
            return None if node.style is None and node.value in _NULLS else str(node.value)
        self._open.add(id(node))
        value: Tree = self._section(node, where) if isinstance(node, yaml.MappingNode) else self._list(node, where)
        self._open.discard(id(node))
        return value

    def _problem(self, node: yaml.Node) -> str | None:
        if node.tag not in _PLAIN_TAGS:
            return found_but("a tag (!…)", "a plain value")
        if id(node) in self._open:
            return found_but("an alias that contains itself", "a value")
        if self._values == _MOST_VALUES:
            return found_but("aliases that unfold into too many values", f"fewer than {_MOST_VALUES} values")
        if isinstance(node, yaml.ScalarNode) and re.search("[\ud800-\udfff]", node.value):
            return found_but("half of a surrogate pair", "whole characters")
        return None

    def _section(self, node: yaml.MappingNode, where: Where) -> dict[str, Tree]:
        section: dict[str, Tree] = {}
        for key_node, value_node in node.value:
            if self._values >= _MOST_VALUES:
                break
            if not isinstance(key_node, yaml.ScalarNode) or self._problem(key_node):
                self._complain_at(key_node, where, found_but("a key that is no plain text", "a name"))
                continue
            key = str(key_node.value)
            if key in section:
                first = self._document.place((*where, key)).line
                text = found_but(f"a second time (first in line {first})", "each key once")
                self._complain_at(key_node, (*where, key), text)
                continue
            self._document.places[(*where, key)] = self._place(key_node)
            section[key] = self.unfold(value_node, (*where, key))
        return section

    def _list(self, node: yaml.Node, where: Where) -> list[Tree]:
        items: list[Tree] = []
        for position, item in enumerate(node.value):
            if self._values >= _MOST_VALUES:
                break
            items.append(self.unfold(item, (*where, position)))
        return items

    def _complain_at(self, key_node: yaml.Node, where: Where, text: str) -> None:
        """Note a mistake at a key that has no place of its own in the tree."""
        self._document.mistakes.append(Mistake(self._place(key_node), self._document.name(where), text))

    def _place(self, node: yaml.Node) -> SettingPlace:
        return SettingPlace(self._document.file.name, node.start_mark.line + 1)
