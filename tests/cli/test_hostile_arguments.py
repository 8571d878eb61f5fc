"""Whatever stands on the command line ends in a sentence: bytes that are no UTF-8, NUL, marks of direction, a mile of text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from tests.support.world import KEY, World
from windsor_sync.cli import cli, main

HOSTILE = {
    "no UTF-8": "caf\udce9\udcff",
    "a control character and marks": "a\x00b\x1b[31m\n\r\t\u202e\U0001f9ff",
    "a mile": "x" * 130_000,
    "a URL": "zip://*::missing",
    "a pattern": "[*?{]/**/../\\",
}
EXIT = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
SERVES = ("sandbox", "demo")
"""Commands that would run on; only their names' spelling is read before that."""
GIVEN = {"run": "no-such-run", "audience": KEY, "user": "ana", "url": "sqlite:///other.db"}


def commands(group: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Walk through every command of the program."""
    if not isinstance(group, click.Group):
        yield path, group
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield from commands(found, (*path, name))


def takes_text(parameter: click.Parameter) -> bool:
    return not getattr(parameter, "is_flag", False)


PLACES = [
    (path, str(parameter.name))
    for path, command in commands()
    if path[0] not in SERVES
    for parameter in command.params
    if takes_text(parameter)
]


def arguments(path: tuple[str, ...], attacked: str, text: str) -> list[str]:
    """Return a command with this text in one place, and something sensible where it has to be."""
    command = dict(commands())[path]
    options, positional = [], []
    for parameter in command.params:
        value: Any = text if parameter.name == attacked else GIVEN.get(str(parameter.name), KEY)
        if isinstance(parameter.type, click.Path):
            value = value.replace("\0", "")  # no system hands that on
        if not (parameter.required or parameter.name == attacked):
            continue
        if isinstance(parameter, click.Argument):
            positional.append(value)
        else:
            options += [parameter.opts[0], value]
    return [*path, *options, "--", *positional]


@pytest.mark.parametrize("what", HOSTILE)
def test_every_argument_of_every_command_ends_in_a_sentence_whatever_it_holds(
    world: World, what: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINDSOR_API_KEY", world.windsor.api_key)
    bad = []
    for path, place in PLACES:
        given = ["--config", str(world.config), *arguments(path, place, HOSTILE[what])]
        try:
            main(given)
        except SystemExit as ended:
            out, err = capsys.readouterr()
            if ended.code not in EXIT or "Traceback" in err or any(each in out + err for each in "\x00\x1b\u202e"):
                bad.append((path, place, ended.code, err[-300:]))
        except BaseException as error:
            capsys.readouterr()
            bad.append((path, place, repr(error)[:300]))
    assert bad == []
