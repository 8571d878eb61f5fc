"""Writes docs/configuration.md from the settings and docs/commands.md from the command line: `make docs`.

A test compares both pages with what this would write, so neither can fall behind the code.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from windsor_sync.cli import cli
from windsor_sync.settings import describe

DOCS = Path(__file__).parent
WIDTH = 96

CONFIGURATION = """\
# Configuration

`windsor.yaml` says what is synced, from where, and to where. `windsor-sync init` writes one that explains itself,
`windsor-sync check` reads it and names every mistake with its line. This page is made from the code (`make docs`).

- **Which file**: `--config FILE`, else the variable `WINDSOR_SYNC_CONFIG`, else `./windsor.yaml`.
- **Paths** that are relative count from the file's folder, also where they come from a variable.
- **Variables**: any value except those in `alerts` can come from the environment, as `WINDSOR_SYNC_` and the key in capitals,
  with `__` between section and key. A variable overrides the file. An empty variable counts as not set; `null` removes the
  value of the file. For a setting of an audience, write its trait key or name before the key:
  `WINDSOR_SYNC_AUDIENCES__VIP__SNAPSHOT__PATH`
  ([two environments](environments.md)).
- **Secrets** never stand in the file: Windsor's key is in an Airflow connection or in `WINDSOR_API_KEY`
  ([security](security.md)).
- **Text is text**: `name: NO`, `id: 00123` and `trait: 1e5` are what they look like.
- **A key that is not known** is a mistake, with the nearest known one.

The smallest file that does something:

```yaml
destination:
  url: https://windsor.example/segment
audiences:
  - name: Order Completed Last 30days
    snapshot: {path: "snapshots/order_completed/*.csv"}
```
"""

COMMANDS = """\
# Commands

What `windsor-sync COMMAND --help` says, for every command. This page is made from the code (`make docs`).

Every command that prints a table prints JSON with `--json`. Results go to standard output, everything else to standard error.

| exit status | meaning |
|---|---|
| 0 | Done. |
| 1 | Unexpected: a defect here, or something `audit` found. |
| 2 | Usage or configuration: a person has to change something. |
| 3 | Changes are withheld and need an approval; the others went out. |
| 4 | Done, with rejected messages; they are tried again. |
| 5 | Windsor, or Segment's Public API, refused the credentials. |
| 6 | Windsor, the state (its database or files) or Segment is out of reach; what is unsent stays owed. |
| 7 | Another run holds the lease on the audience. |
| 8 | The snapshot cannot be used; nothing was sent. |
| 9 | A stored file or the state is lost, damaged or not ours. The sentence names the command that heals it. |
| 130 | Stopped on request; what is unsent stays owed. |

Where several audiences end differently, the one that needs a person most decides.
"""


def pages() -> dict[Path, str]:
    """Each generated page with its text."""
    return {DOCS / "configuration.md": configuration(), DOCS / "commands.md": commands()}


def configuration() -> str:
    """The settings, a table for each section."""
    rows = describe()
    sections = [row["name"] for row in rows if _keys_of(row["name"], rows)]
    top = [row for row in rows if "." not in row["name"] and row["name"] not in sections]
    parts = [CONFIGURATION, _table("At the top", "", top)]
    told: dict[str, str] = {}
    for row in (row for row in rows if row["name"] in sections):
        keys = _keys_of(row["name"], rows)
        new = [key for key in keys if _line(key) not in told]
        known = {told[_line(key)] for key in keys if _line(key) in told}
        told.update({_line(key): row["name"] for key in new})
        alike = (
            [f"The same keys as in {', '.join(f'`{name}`' for name in sorted(known))}{', and' if new else ''}:"]
            if known
            else []
        )
        parts.append(_table(f"`{row['name']}`", " ".join([row["meaning"], *alike]), new))
    return "\n".join(parts)


def _keys_of(section: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that stand directly in a section, or in the items of a list."""
    return [row for row in rows if row["name"].rpartition(".")[0] in (section, f"{section}[]")]


def _table(title: str, meaning: str, rows: list[dict[str, Any]]) -> str:
    head = [f"## {title}", "", *([meaning, ""] if meaning else [])]
    if not rows:
        return "\n".join(head).rstrip(":\n") + ".\n"
    lines = ["| key | what it accepts | default | meaning |", "|---|---|---|---|", *map(_line, rows)]
    return "\n".join([*head, *lines, *_variables(rows)]) + "\n"


def _line(row: dict[str, Any]) -> str:
    key = row["name"].rpartition(".")[2]
    default = (
        "**required**" if row["required"] else "" if row["default"] in (None, []) else f"`{_plain(row['default'])}`"
    )
    return f"| `{key}` | {_cell(row['type'])} | {default} | {_cell(row['meaning'])} |"


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _variables(rows: list[dict[str, Any]]) -> list[str]:
    names = [f"`{row['variable']}`" for row in rows if row["variable"]]
    return ["", f"Variables: {', '.join(names)}"] if names else []


def commands() -> str:
    """The help of every command, in the order of `--help`."""
    parts = [COMMANDS]
    for path, command in _all_commands(cli, ("windsor-sync",)):
        parts.append(f"## {' '.join(path)}\n\n```text\n{_help(command, path)}\n```\n")
    return "\n".join(parts)


def _all_commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _all_commands(found, (*path, name))


def _help(command: click.Command, path: tuple[str, ...]) -> str:
    names = ["-h", "--help"]
    context = click.Context(command, info_name=" ".join(path), terminal_width=WIDTH, help_option_names=names)
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


def main() -> None:
    """Write both pages."""
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(DOCS.parent)}: {len(text.splitlines()):,} lines")


if __name__ == "__main__":
    main()
